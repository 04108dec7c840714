/* Chat templates: parsing, and finding out what one can do. */
#include "chat/chat_template.h"

#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"

#define MAX_SOURCE_BYTES (4u << 20)
#define MAX_PARSE_BYTES ((size_t)512 << 20)
#define MAX_PARSE_STEPS 100000000u

bool nano_jinja_run(struct nano_jinja *j, void (*fn)(struct nano_jinja *j, void *arg), void *arg)
{
    jmp_buf here, *outer = j->unwind;
    j->unwind = &here;
    bool ok = setjmp(here) == 0;
    if (ok)
        fn(j, arg);
    j->unwind = outer;
    return ok;
}

/* ---- Parsing --------------------------------------------------------------------------------- */

struct parse {
    const char *source;
    size_t num_bytes;
    struct nano_token *tokens;
    size_t num_tokens;
    struct nano_program *program;
};

static void parse(struct nano_jinja *j, void *arg)
{
    struct parse *p = arg;
    nano_jinja_lex(j, p->source, p->num_bytes, &p->tokens, &p->num_tokens);
    p->program = nano_jinja_parse(j, p->tokens);
    nano_jinja_check(j, p->program);
}

enum nano_status nano_chat_template_parse(struct nano_chat_template *chat_template,
                                          struct nano_program **out, const char *source,
                                          size_t num_bytes, struct nano_error *err)
{
    struct nano_jinja j;
    struct nano_error error = {0};
    struct parse p = {.source = source, .num_bytes = num_bytes};
    if (num_bytes > MAX_SOURCE_BYTES)
        return nano_error_set(err, NANO_ERR_FORMAT, "chat template: %zu bytes, expected at most %u",
                              num_bytes, MAX_SOURCE_BYTES);
    if (nano_utf8_valid_prefix(source, num_bytes) < num_bytes)
        return nano_error_set(err, NANO_ERR_FORMAT, "chat template: invalid UTF-8 at byte %zu",
                              nano_utf8_valid_prefix(source, num_bytes));
    nano_jinja_init(&j, &error, MAX_PARSE_STEPS, MAX_PARSE_BYTES);
    j.arena = chat_template->arena; /* it goes there and comes back, larger */
    bool ok = nano_jinja_run(&j, parse, &p);
    chat_template->arena = j.arena;
    nano_arena_init(&j.arena);
    nano_jinja_deinit(&j);
    nano_mem_free(p.tokens);
    *out = p.program;
    if (ok)
        return NANO_OK;
    return nano_error_set(err, error.status == NANO_ERR_NO_MEMORY ? error.status : NANO_ERR_FORMAT,
                          "chat template: %s", error.message);
}

enum nano_status nano_chat_template_create(nano_chat_template **out, const char *source,
                                           size_t num_bytes, struct nano_error *err)
{
    enum nano_status status;
    struct nano_chat_template *t = nano_mem_calloc(1, sizeof *t);
    *out = NULL;
    if (!t)
        return nano_error_no_memory(err, "chat template", sizeof *t);
    nano_arena_init(&t->arena);
    NANO_TRY(nano_chat_template_parse(t, &t->program, source, num_bytes, err));
    NANO_TRY(nano_chat_template_probe(t, source, num_bytes, err));
    *out = t;
    return NANO_OK;
fail:
    nano_chat_template_destroy(t);
    return status;
}

void nano_chat_template_destroy(nano_chat_template *chat_template)
{
    if (!chat_template)
        return;
    nano_arena_deinit(&chat_template->arena);
    nano_mem_free(chat_template);
}

void nano_chat_template_get_info(const nano_chat_template *chat_template,
                                 struct nano_chat_template_info *out)
{
    *out = chat_template->info;
}

/* ---- Probing --------------------------------------------------------------------------------- */

#define MARKER "k7Qz9"

static bool contains(const char *text, size_t num_bytes, const char *part)
{
    size_t part_bytes = strlen(part);
    for (size_t i = 0; i + part_bytes <= num_bytes; i++)
        if (text[i] == part[0] && memcmp(text + i, part, part_bytes) == 0)
            return true;
    return false;
}

/* The text of parts is there because their list was printed, as Python or as JSON does. */
static bool is_printed_list(const char *prompt, size_t num_bytes)
{
    return contains(prompt, num_bytes, "'text'") || contains(prompt, num_bytes, "\"text\"");
}

/* *found: the conversation renders with the marker in it, with `of_parts` by itself. Only missing
 * memory is an error. */
static enum nano_status probe(const struct nano_chat_template *t, const char *request,
                              bool of_parts, bool *found, struct nano_error *err)
{
    struct nano_error error = {0};
    struct nano_chat_render_params params = nano_chat_render_params_default();
    char *prompt = NULL;
    size_t num_bytes = 0;
    params.bos_token = params.eos_token = "";
    params.now = "2026-01-01 00:00:00";
    params.max_steps = 200000;
    enum nano_status status = nano_chat_template_render(t, request, strlen(request), &params,
                                                        &prompt, &num_bytes, &error);
    *found = status == NANO_OK && contains(prompt, num_bytes, MARKER) &&
             !(of_parts && is_printed_list(prompt, num_bytes));
    nano_free(prompt);
    return status == NANO_ERR_NO_MEMORY ? nano_error_set(err, status, "%s", error.message)
                                        : NANO_OK;
}

/* Tags by which models set their reasoning apart. The closing one gives them away: templates that
 * only cut reasoning out of earlier answers have no other. */
static void find_reasoning(struct nano_chat_template_info *info, const char *source,
                           size_t num_bytes)
{
    static const struct {
        const char *start, *end;
        const char *in_source; /* NULL: the end */
    } pairs[] = {
        {"<seed:think>", "</seed:think>", NULL},
        {"<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>",
         "<|channel|>final"},
        {"<|channel>thought\n", "<channel|>", NULL},
        {"<|START_THINKING|>", "<|END_THINKING|>", NULL},
        {"<|inner_prefix|>", "<|inner_suffix|>", NULL},
        {"<|thought_start|>", "<|thought_end|>", NULL},
        {"[THINK]", "[/THINK]", NULL},
        {"<mm:think>", "</mm:think>", NULL},
        {"<|think|>", "<|/think|>", NULL},
        {"<think>", "</think>", NULL},
        {"<think_fast>", "</think_fast>", NULL},
        {"<thinking>", "</thinking>", NULL},
        {"<reasoning>", "</reasoning>", NULL},
        {"<thought>", "</thought>", NULL},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (contains(source, num_bytes, pairs[i].in_source ? pairs[i].in_source : pairs[i].end)) {
            info->reasoning_start = pairs[i].start;
            info->reasoning_end = pairs[i].end;
            return;
        }
    }
}

enum nano_status nano_chat_template_probe(struct nano_chat_template *t, const char *source,
                                          size_t num_bytes, struct nano_error *err)
{
    static const char parts[] = "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
                                "\"text\":\"" MARKER "\"}]}]}";
    static const char system[] = "{\"messages\":[{\"role\":\"system\",\"content\":\"" MARKER "\"},"
                                 "{\"role\":\"user\",\"content\":\"hi\"}]}";
    static const char tools[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"" MARKER "\",\"description\":"
        "\"d\",\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\","
        "\"description\":\"d\"}},\"required\":[\"a\"]}}}]}";
    enum nano_status status;
    NANO_TRY(probe(t, parts, true, &t->info.takes_content_parts, err));
    NANO_TRY(probe(t, system, false, &t->info.takes_system, err));
    NANO_TRY(probe(t, tools, false, &t->info.takes_tools, err));
    find_reasoning(&t->info, source, num_bytes);
fail:
    return status;
}
