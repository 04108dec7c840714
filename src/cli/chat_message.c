/* Messages. */
#include "cli/chat_message.h"

#include <string.h>

#include "base/memory.h"

#define QUOTES "\"\"\""
#define QUOTES_BYTES (sizeof QUOTES - 1)

struct message {
    void *text;
    size_t length, capacity;
};

static bool append(struct message *message, const char *text, size_t num_bytes)
{
    if (!nano_mem_grow(&message->text, &message->capacity, message->length + num_bytes + 1, 1))
        return false;
    memcpy((char *)message->text + message->length, text, num_bytes);
    message->length += num_bytes;
    ((char *)message->text)[message->length] = '\0';
    return true;
}

/* Adds what the line says; *more tells whether the next one belongs to the message, too. */
static bool add_line(struct message *message, const char *line, bool *quoted, bool *more)
{
    size_t length = strlen(line);
    if (!message->text && !*quoted && strncmp(line, QUOTES, QUOTES_BYTES) == 0) {
        *quoted = true;
        line += QUOTES_BYTES;
        length -= QUOTES_BYTES;
        if (length == 0) { /* the text begins in the next line */
            *more = true;
            return true;
        }
    }
    if (*quoted) {
        *more = length < QUOTES_BYTES || strcmp(line + length - QUOTES_BYTES, QUOTES) != 0;
        length -= *more ? 0 : QUOTES_BYTES;
        if (!*more && length == 0 && message->length > 0) { /* quotes alone: so does the text end */
            message->length--;
            ((char *)message->text)[message->length] = '\0';
        }
    } else {
        *more = length > 0 && line[length - 1] == '\\';
        length -= *more;
    }
    return append(message, line, length) && (!*more || append(message, "\n", 1));
}

enum nano_chat_line nano_chat_message_read(struct nano_chat_lines *lines, char **out)
{
    struct message message = {0};
    enum nano_chat_line result;
    bool quoted = false, more = true, begun = false;
    *out = NULL;
    while (more) {
        char *line;
        result = nano_chat_lines_read(lines, begun ? ". " : "> ", &line);
        if (result == NANO_CHAT_LINE_END && begun)
            break;
        if (result == NANO_CHAT_LINE_TEXT && !add_line(&message, line, &quoted, &more))
            result = NANO_CHAT_LINE_NO_MEMORY;
        nano_mem_free(line);
        if (result != NANO_CHAT_LINE_TEXT) {
            nano_mem_free(message.text);
            return result;
        }
        begun = true;
    }
    *out = message.text ? message.text : nano_mem_strdup("", 0);
    return *out ? NANO_CHAT_LINE_TEXT : NANO_CHAT_LINE_NO_MEMORY;
}
