/* Messages. */
#include "cli/chat_message.h"

#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"

#define QUOTES "\"\"\""
#define QUOTES_BYTES (sizeof QUOTES - 1)

/* Adds what the line says; *more tells whether the next one belongs to the message, too. */
static bool add_line(struct nano_buffer *message, const char *line, bool *quoted, bool *more)
{
    size_t length = strlen(line);
    if (!message->data && !*quoted && strncmp(line, QUOTES, QUOTES_BYTES) == 0) {
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
        if (!*more && length == 0 &&
            message->num_bytes > 0) { /* quotes alone: so does the text end */
            message->num_bytes--;
            message->data[message->num_bytes] = '\0';
        }
    } else {
        *more = length > 0 && line[length - 1] == '\\';
        length -= *more;
    }
    return nano_buffer_append(message, line, length) &&
           (!*more || nano_buffer_append(message, "\n", 1));
}

enum nano_chat_line nano_chat_message_read(struct nano_chat_lines *lines, char **out)
{
    struct nano_buffer message = {0};
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
            nano_buffer_deinit(&message);
            return result;
        }
        begun = true;
    }
    *out = message.data ? message.data : nano_mem_strdup("", 0);
    return *out ? NANO_CHAT_LINE_TEXT : NANO_CHAT_LINE_NO_MEMORY;
}
