/* Rendering: a request's JSON to the prompt's text. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "chat/chat_template.h"
#include "chat/eval.h"

#define DEFAULT_MAX_STEPS 20000000u
#define DEFAULT_MAX_OUTPUT_BYTES ((size_t)32 << 20)
#define MAX_RENDER_BYTES ((size_t)512 << 20)

struct nano_chat_render_params nano_chat_render_params_default(void)
{
    return (struct nano_chat_render_params){.add_generation_prompt = true};
}

struct render {
    const struct nano_chat_template *chat_template;
    const char *json;
    size_t json_bytes;
    const struct nano_chat_render_params *params;
};

/* ---- Time ------------------------------------------------------------------------------------ */

static int days_before(int year, int month, int day) /* since 1 January of year 1 */
{
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    int y = year - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 + before[month - 1] + (leap && month > 2) + day - 1;
}

static bool parse_now(const char *text, struct tm *out)
{
    int year, month, day, hour, minute, second, end = 0;
    if (sscanf(text, "%4d-%2d-%2d %2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second,
               &end) != 6 ||
        text[end] != '\0' || year < 1 || month < 1 || month > 12 || day < 1 || day > 31 ||
        hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
        return false;
    *out = (struct tm){.tm_year = year - 1900,
                       .tm_mon = month - 1,
                       .tm_mday = day,
                       .tm_hour = hour,
                       .tm_min = minute,
                       .tm_sec = second};
    out->tm_yday = days_before(year, month, day) - days_before(year, 1, 1);
    out->tm_wday = (days_before(year, month, day) + 1) % 7;
    return true;
}

static void set_now(struct nano_jinja *j, const char *text)
{
    time_t seconds = time(NULL);
    if (!text && !localtime_r(&seconds, &j->now))
        nano_jinja_fail(j, "the system does not know the time");
    if (text && !parse_now(text, &j->now))
        nano_jinja_fail(j, "now: expected \"YYYY-MM-DD HH:MM:SS\"");
}

/* ---- The request ----------------------------------------------------------------------------- */

static void set_variable(struct nano_jinja *j, const struct nano_str *name, struct nano_value value)
{
    for (size_t i = 0; i < j->program->num_names; i++)
        if (j->program->names[i]->num_bytes == name->num_bytes &&
            memcmp(j->program->names[i]->s, name->s, name->num_bytes) == 0)
            j->globals->vars[i].value = value;
}

static void set_named(struct nano_jinja *j, const char *name, struct nano_value value)
{
    struct nano_str str = {name, strlen(name), SIZE_MAX, false};
    set_variable(j, &str, value);
}

static void set_all(struct nano_jinja *j, struct nano_value dict)
{
    for (size_t i = 0; i < dict.dict->num; i++)
        set_variable(j, dict.dict->entries[i].key.str, dict.dict->entries[i].value);
}

/* The member, None if it is absent or null; of another kind it is an error. */
static struct nano_value member(struct nano_jinja *j, const struct nano_dict *request,
                                const char *name, enum nano_kind kind, const char *expected)
{
    struct nano_value *found = nano_dict_find_str(j, request, name);
    if (!found || found->kind == NANO_NONE)
        return nano_value_none();
    if (found->kind != kind)
        nano_jinja_fail(j, "%s: expected %s", name, expected);
    return *found;
}

static void set_variables(struct nano_jinja *j, const struct render *r,
                          const struct nano_dict *request)
{
    struct nano_value messages = member(j, request, "messages", NANO_LIST, "an array");
    struct nano_value kwargs = member(j, request, "chat_template_kwargs", NANO_DICT, "an object");
    struct nano_value add = member(j, request, "add_generation_prompt", NANO_BOOL, "true or false");
    if (r->params->normalize_messages && messages.kind == NANO_LIST)
        messages = nano_chat_normalize(j, messages, r->chat_template->info.takes_content_parts);
    if (messages.kind == NANO_LIST)
        set_named(j, "messages", messages);
    set_named(j, "tools", member(j, request, "tools", NANO_LIST, "an array"));
    set_named(j, "documents", member(j, request, "documents", NANO_LIST, "an array"));
    set_named(j, "add_generation_prompt",
              add.kind == NANO_BOOL ? add : nano_value_bool(r->params->add_generation_prompt));
    if (r->params->bos_token)
        set_named(j, "bos_token", nano_value_cstr(j, r->params->bos_token));
    if (r->params->eos_token)
        set_named(j, "eos_token", nano_value_cstr(j, r->params->eos_token));
    if (r->params->kwargs_json) {
        struct nano_value more =
            nano_json_parse(j, r->params->kwargs_json, strlen(r->params->kwargs_json));
        if (more.kind != NANO_DICT)
            nano_jinja_fail(j, "variables of the template: expected a JSON object");
        set_all(j, more);
    }
    if (kwargs.kind == NANO_DICT)
        set_all(j, kwargs);
}

static void render(struct nano_jinja *j, void *arg)
{
    const struct render *r = arg;
    struct nano_value request = nano_json_parse(j, r->json, r->json_bytes);
    if (request.kind != NANO_DICT)
        nano_jinja_fail(j, "the request is no JSON object");
    struct nano_value tools = member(j, request.dict, "tools", NANO_LIST, "an array");
    bool has_tools = tools.kind == NANO_LIST && tools.list->num > 0;
    j->program = has_tools && r->chat_template->tool_use ? r->chat_template->tool_use
                                                         : r->chat_template->program;
    j->globals = nano_jinja_alloc(j, 1, sizeof *j->globals);
    j->globals->is_indexed = true;
    j->globals->vars = nano_jinja_alloc(j, j->program->num_names, sizeof *j->globals->vars);
    j->scope = j->globals;
    set_now(j, r->params->now);
    set_variables(j, r, request.dict);
    if (r->params->max_output_bytes)
        j->max_out_bytes = r->params->max_output_bytes;
    else
        j->max_out_bytes = DEFAULT_MAX_OUTPUT_BYTES;
    nano_jinja_exec(j, j->program->body);
    nano_jinja_write(j, "", 1);
}

enum nano_status nano_chat_template_render(const nano_chat_template *chat_template,
                                           const char *request_json, size_t json_bytes,
                                           const struct nano_chat_render_params *params,
                                           char **prompt, size_t *prompt_bytes,
                                           struct nano_error *err)
{
    struct nano_jinja j;
    struct nano_error error = {0};
    const struct nano_chat_render_params defaults = nano_chat_render_params_default();
    struct render r = {chat_template, request_json, json_bytes, params ? params : &defaults};
    nano_jinja_init(&j, &error, r.params->max_steps ? r.params->max_steps : DEFAULT_MAX_STEPS,
                    MAX_RENDER_BYTES);
    if (nano_jinja_run(&j, render, &r)) {
        *prompt = j.out;
        *prompt_bytes = j.out_bytes - 1;
        j.out = NULL;
    } else {
        nano_error_set(err, error.status, "%s", error.message);
    }
    nano_jinja_deinit(&j);
    return error.status;
}
