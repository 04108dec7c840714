#include "load_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void load_answer_begin(struct load_answer *answer)
{
    memset(answer, 0, offsetof(struct load_answer, line));
    answer->keep_alive = true;
    answer->text_hash = 14695981039346656037u;
}

/* ---- JSON --------------------------------------------------------------------------------------
 */

static long find_number(const char *line, const char *name)
{
    const char *found = strstr(line, name);
    return found ? strtol(found + strlen(name), NULL, 10) : 0;
}

/* FNV-1a over what stands between the quotes, escapes as they are. */
static void take_text(struct load_answer *answer, const char *line)
{
    const char *text = strstr(line, "\"text\":\"");
    if (text)
        text += 8;
    else if ((text = strstr(line, "content\":\"")))
        text += 10;
    if (!text || *text == '"')
        return;
    answer->num_texts++;
    for (; *text && *text != '"'; text++) {
        answer->text_hash = (answer->text_hash ^ (unsigned char)*text) * 1099511628211u;
        if (*text == '\\' && text[1]) {
            text++;
            answer->text_hash = (answer->text_hash ^ (unsigned char)*text) * 1099511628211u;
        }
    }
}

static void take_json(struct load_answer *answer)
{
    const char *line = answer->line;
    const char *usage = strstr(line, "\"usage\":{");
    if (strstr(line, "\"error\":{"))
        answer->has_error = true;
    take_text(answer, line);
    if (!usage)
        return;
    answer->has_usage = true;
    answer->prompt_tokens = find_number(usage, "\"prompt_tokens\":");
    answer->completion_tokens = find_number(usage, "\"completion_tokens\":");
    answer->cached_tokens = find_number(usage, "\"cached_tokens\":");
}

/* ---- Lines -------------------------------------------------------------------------------------
 */

static void keep(struct load_answer *answer, const char *data, size_t num_bytes)
{
    size_t capacity = sizeof answer->line - 1;
    if (num_bytes > capacity) {
        data += num_bytes - capacity;
        num_bytes = capacity;
    }
    if (answer->line_bytes + num_bytes > capacity) {
        size_t num_dropped = answer->line_bytes + num_bytes - capacity;
        answer->line_bytes -= num_dropped;
        memmove(answer->line, answer->line + num_dropped, answer->line_bytes);
    }
    memcpy(answer->line + answer->line_bytes, data, num_bytes);
    answer->line_bytes += num_bytes;
}

/* Takes the bytes of one line; true once it is whole and stands in answer->line without its end. */
static bool take_line(struct load_answer *answer, const char *data, size_t num_bytes, size_t *taken)
{
    const char *end = memchr(data, '\n', num_bytes);
    *taken = end ? (size_t)(end - data) + 1 : num_bytes;
    keep(answer, data, end ? *taken - 1 : *taken);
    if (!end)
        return false;
    if (answer->line_bytes > 0 && answer->line[answer->line_bytes - 1] == '\r')
        answer->line_bytes--;
    answer->line[answer->line_bytes] = '\0';
    answer->line_bytes = 0;
    return true;
}

static void take_event(struct load_answer *answer)
{
    if (strncmp(answer->line, "data: [DONE]", 12) == 0)
        answer->is_done = true;
    else if (answer->line[0] != '\0')
        take_json(answer);
}

static void feed_body(struct load_answer *answer, const char *data, size_t num_bytes)
{
    size_t taken;
    for (; num_bytes > 0; data += taken, num_bytes -= taken)
        if (take_line(answer, data, num_bytes, &taken))
            take_event(answer);
}

static void complete(struct load_answer *answer)
{
    answer->state = LOAD_COMPLETE;
    answer->line[answer->line_bytes] = '\0';
    if (answer->line_bytes > 0) /* a whole answer, which has no end of line */
        take_event(answer);
    answer->line_bytes = 0;
}

/* ---- HTTP --------------------------------------------------------------------------------------
 */

static const char *header_value(const char *line, const char *name)
{
    size_t length = strlen(name);
    if (strncasecmp(line, name, length) != 0 || line[length] != ':')
        return NULL;
    return line + length + 1 + strspn(line + length + 1, " \t");
}

static void take_head_line(struct load_answer *answer)
{
    const char *line = answer->line, *value;
    if (answer->status == 0) {
        if (sscanf(line, "HTTP/1.1 %3d", &answer->status) != 1 || answer->status < 100)
            answer->state = LOAD_BROKEN;
    } else if ((value = header_value(line, "Content-Length"))) {
        answer->has_length = true;
        answer->num_left = strtoull(value, NULL, 10);
    } else if ((value = header_value(line, "Transfer-Encoding"))) {
        answer->is_chunked = strcasecmp(value, "chunked") == 0;
    } else if ((value = header_value(line, "Connection"))) {
        answer->keep_alive = strcasecmp(value, "close") != 0;
    } else if (*line == '\0' && answer->status < 200) {
        answer->status = 0; /* "100 Continue": the answer follows */
    } else if (*line == '\0') {
        answer->state = answer->is_chunked ? LOAD_CHUNK_SIZE : LOAD_BODY;
        if (!answer->is_chunked && answer->has_length && answer->num_left == 0)
            complete(answer);
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Lines around chunks do not go through answer->line: an event may go on in the next chunk. */
static void take_chunk_frame(struct load_answer *answer, char c)
{
    if (answer->state == LOAD_CHUNK_SIZE) {
        int digit = answer->in_extension ? -1 : hex_digit(c);
        if (digit >= 0)
            answer->num_left = answer->num_left * 16 + (unsigned)digit;
        else
            answer->in_extension = true;
        if (c == '\n')
            answer->state = answer->num_left > 0 ? LOAD_CHUNK : LOAD_TRAILER;
    } else if (answer->state == LOAD_CHUNK_END) {
        if (c == '\n')
            answer->state = LOAD_CHUNK_SIZE;
        else if (c != '\r')
            answer->state = LOAD_BROKEN;
    } else if (c == '\n') {
        if (answer->is_empty_line)
            complete(answer);
        answer->is_empty_line = true;
        return;
    } else if (c != '\r') {
        answer->is_empty_line = false;
        return;
    }
    if (answer->state != LOAD_CHUNK_SIZE) {
        answer->in_extension = false;
        answer->is_empty_line = true;
    }
}

static size_t take_body(struct load_answer *answer, const char *data, size_t num_bytes)
{
    bool until_end = answer->state == LOAD_BODY && !answer->has_length;
    size_t taken = until_end || num_bytes < answer->num_left ? num_bytes : (size_t)answer->num_left;
    feed_body(answer, data, taken);
    if (until_end)
        return taken;
    answer->num_left -= taken;
    if (answer->num_left == 0 && answer->state == LOAD_CHUNK)
        answer->state = LOAD_CHUNK_END;
    else if (answer->num_left == 0)
        complete(answer);
    return taken;
}

size_t load_answer_feed(struct load_answer *answer, const char *data, size_t num_bytes)
{
    size_t at = 0, taken;
    while (at < num_bytes && answer->state != LOAD_COMPLETE && answer->state != LOAD_BROKEN) {
        if (answer->state == LOAD_HEAD) {
            if (take_line(answer, data + at, num_bytes - at, &taken))
                take_head_line(answer);
            at += taken;
        } else if (answer->state == LOAD_BODY || answer->state == LOAD_CHUNK) {
            at += take_body(answer, data + at, num_bytes - at);
        } else {
            take_chunk_frame(answer, data[at++]);
        }
    }
    return at;
}

void load_answer_end(struct load_answer *answer)
{
    if (answer->state == LOAD_BODY && !answer->has_length)
        complete(answer);
}
