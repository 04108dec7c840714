/* Answers, as they stream, split into reasoning and content. */
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "chat/chat_template.h"

enum state { BEFORE, REASONING, CONTENT };

struct nano_chat_parser {
    const char *start, *end; /* tags; NULL: everything is content */
    enum state state;
    bool at_start;             /* of reasoning or content: white space is dropped */
    struct nano_buffer held;   /* not given out yet: perhaps a tag, or white space before one */
    struct nano_buffer out[2]; /* reasoning, content */
};

static enum nano_status append(struct nano_buffer *text, const char *s, size_t num_bytes,
                               struct nano_error *err)
{
    return nano_buffer_append(text, s, num_bytes) ? NANO_OK
                                                  : nano_error_no_memory(err, "answer", num_bytes);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static size_t trailing_space(const char *s, size_t num_bytes)
{
    size_t num = 0;
    while (num < num_bytes && is_space(s[num_bytes - 1 - num]))
        num++;
    return num;
}

/* Where the tag begins in the text, whole or only its first bytes at the text's end; num_bytes if
 * nowhere. */
static size_t find_tag(const char *s, size_t num_bytes, const char *tag, bool *whole)
{
    size_t tag_bytes = strlen(tag);
    for (size_t i = 0; i < num_bytes; i++) {
        size_t have = num_bytes - i < tag_bytes ? num_bytes - i : tag_bytes;
        if (s[i] == tag[0] && memcmp(s + i, tag, have) == 0) {
            *whole = have == tag_bytes;
            return i;
        }
    }
    *whole = false;
    return num_bytes;
}

/* The template wrote the opening tag itself, as the last thing in the prompt. */
static bool prompt_opens(const char *prompt, size_t num_bytes, const char *start)
{
    size_t num_space = trailing_space(prompt, num_bytes), start_bytes = strlen(start);
    while (start_bytes > 0 && is_space(start[start_bytes - 1]))
        start_bytes--;
    num_bytes -= num_space;
    return num_bytes >= start_bytes &&
           memcmp(prompt + num_bytes - start_bytes, start, start_bytes) == 0;
}

enum nano_status nano_chat_parser_create(nano_chat_parser **out,
                                         const nano_chat_template *chat_template,
                                         const char *prompt, size_t prompt_bytes,
                                         struct nano_error *err)
{
    struct nano_chat_parser *parser = nano_mem_calloc(1, sizeof *parser);
    *out = parser;
    if (!parser)
        return nano_error_no_memory(err, "parser of answers", sizeof *parser);
    parser->start = chat_template->info.reasoning_start;
    parser->end = chat_template->info.reasoning_end;
    if (!parser->start)
        parser->state = CONTENT;
    else if (prompt_opens(prompt, prompt_bytes, parser->start)) {
        parser->state = REASONING;
        parser->at_start = true;
    }
    return NANO_OK;
}

void nano_chat_parser_destroy(nano_chat_parser *parser)
{
    if (!parser)
        return;
    nano_buffer_deinit(&parser->held);
    nano_buffer_deinit(&parser->out[0]);
    nano_buffer_deinit(&parser->out[1]);
    nano_mem_free(parser);
}

static void drop_held(struct nano_chat_parser *parser, size_t num_bytes)
{
    if (num_bytes == 0)
        return;
    parser->held.num_bytes -= num_bytes;
    memmove(parser->held.data, parser->held.data + num_bytes, parser->held.num_bytes);
}

static void drop_space_at_start(struct nano_chat_parser *parser)
{
    size_t num = 0;
    while (parser->at_start && num < parser->held.num_bytes && is_space(parser->held.data[num]))
        num++;
    drop_held(parser, num);
    if (parser->held.num_bytes > 0)
        parser->at_start = false;
}

/* Before anything but white space has come, the answer may begin with the opening tag. Returns
 * false while that is not known. */
static bool decide_start(struct nano_chat_parser *parser, bool is_last)
{
    const struct nano_buffer *held = &parser->held;
    size_t space = 0, tag_bytes = strlen(parser->start);
    while (space < held->num_bytes && is_space(held->data[space]))
        space++;
    size_t have = held->num_bytes - space < tag_bytes ? held->num_bytes - space : tag_bytes;
    if (have == 0 || memcmp(held->data + space, parser->start, have) != 0) {
        if (have == 0 && !is_last)
            return false;
        parser->state = CONTENT;
        return true;
    }
    if (have < tag_bytes && !is_last)
        return false;
    if (have < tag_bytes) {
        parser->state = CONTENT;
        return true;
    }
    drop_held(parser, space + tag_bytes);
    parser->state = REASONING;
    parser->at_start = true;
    return true;
}

static enum nano_status push_reasoning(struct nano_chat_parser *parser, bool is_last,
                                       struct nano_error *err)
{
    enum nano_status status;
    bool whole;
    drop_space_at_start(parser);
    size_t tag = find_tag(parser->held.data ? parser->held.data : "", parser->held.num_bytes,
                          parser->end, &whole);
    size_t text = is_last && !whole ? parser->held.num_bytes : tag;
    size_t space = is_last && !whole ? 0 : trailing_space(parser->held.data, text);
    NANO_TRY(append(&parser->out[0], parser->held.data, text - space, err));
    if (!whole) {
        drop_held(parser, text - space);
        return NANO_OK;
    }
    drop_held(parser, tag + strlen(parser->end));
    parser->state = CONTENT;
    parser->at_start = true;
fail:
    return status;
}

enum nano_status nano_chat_parser_push(nano_chat_parser *parser, const char *text, size_t num_bytes,
                                       bool is_last, struct nano_chat_delta *out,
                                       struct nano_error *err)
{
    enum nano_status status;
    parser->out[0].num_bytes = parser->out[1].num_bytes = 0;
    NANO_TRY(append(&parser->held, text, num_bytes, err));
    NANO_TRY(append(&parser->out[0], "", 0, err));
    NANO_TRY(append(&parser->out[1], "", 0, err));
    if (parser->state == BEFORE)
        decide_start(parser, is_last);
    if (parser->state == REASONING)
        NANO_TRY(push_reasoning(parser, is_last, err));
    if (parser->state == CONTENT) {
        drop_space_at_start(parser);
        NANO_TRY(append(&parser->out[1], parser->held.data, parser->held.num_bytes, err));
        parser->held.num_bytes = 0;
    }
    *out = (struct nano_chat_delta){parser->out[0].data, parser->out[1].data,
                                    parser->out[0].num_bytes, parser->out[1].num_bytes};
    return NANO_OK;
fail:
    return status;
}
