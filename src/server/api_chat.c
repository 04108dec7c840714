/* Conversations: checked, and written as a prompt by the model's template. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "server/api_call.h"

/* ---- Checks ---------------------------------------------------------------------------------- */

static bool wrong(struct nano_api_call *call, size_t index, const char *member,
                  const char *expected, const json_t *value)
{
    char name[96], got[40];
    snprintf(name, sizeof name, "messages[%zu]%s", index, member);
    return nano_api_refuse(&call->problem, 400, name, "expected %s, got %s", expected,
                           value ? nano_api_describe(value, got) : "nothing");
}

static bool check_parts(struct nano_api_call *call, size_t index, const json_t *parts)
{
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *text = json_object_get(part, "text");
        char member[48];
        snprintf(member, sizeof member, ".content[%zu]", i);
        if (!json_is_object(part) || !type)
            return wrong(call, index, member, "an object with a type", part);
        if (strcmp(type, "text") != 0)
            return nano_api_refuse(&call->problem, 400, "messages",
                                   "message %zu has a part of type '%.40s', this model takes text",
                                   index, type);
        if (!json_is_string(text)) {
            snprintf(member, sizeof member, ".content[%zu].text", i);
            return wrong(call, index, member, "a string", text);
        }
    }
    return true;
}

static bool check_message(struct nano_api_call *call, size_t index, const json_t *message)
{
    if (!json_is_object(message))
        return wrong(call, index, "", "an object", message);
    const json_t *role = json_object_get(message, "role");
    const json_t *content = json_object_get(message, "content");
    const json_t *tool_calls = json_object_get(message, "tool_calls");
    if (!json_is_string(role))
        return wrong(call, index, ".role", "a string", role);
    bool may_be_missing = strcmp(json_string_value(role), "assistant") == 0;
    if (json_is_array(content))
        return check_parts(call, index, content);
    if (!json_is_string(content) && !(may_be_missing && (!content || json_is_null(content))))
        return wrong(call, index, ".content", "a string or a list of parts", content);
    if (tool_calls && !json_is_null(tool_calls) && !json_is_array(tool_calls))
        return wrong(call, index, ".tool_calls", "a list", tool_calls);
    return true;
}

static bool check_messages(struct nano_api_call *call, const json_t *messages)
{
    if (json_array_size(messages) == 0)
        return nano_api_refuse(&call->problem, 400, "messages",
                               "expected a list of at least one message");
    for (size_t i = 0; i < json_array_size(messages); i++)
        if (!check_message(call, i, json_array_get(messages, i)))
            return false;
    return true;
}

/* ---- Rendering ------------------------------------------------------------------------------- */

/* The request's variables. NULL without memory. */
static json_t *make_kwargs(const struct nano_api_params *params)
{
    json_t *kwargs = json_object();
    bool ok = kwargs != NULL;
    if (params->reasoning_effort)
        ok = ok && json_object_set_new(kwargs, "reasoning_effort",
                                       json_string(params->reasoning_effort)) == 0;
    if (params->chat_template_kwargs)
        ok = ok && json_object_update(kwargs, (json_t *)params->chat_template_kwargs) == 0;
    if (ok)
        return kwargs;
    json_decref(kwargs);
    return NULL;
}

/* The object that the template renders, printed; released with free. NULL without memory. */
static char *print_request(const struct nano_api_params *params)
{
    char *text = NULL;
    json_t *request = json_object(), *kwargs = make_kwargs(params);
    bool ok = request && kwargs &&
              json_object_set(request, "messages", (json_t *)params->messages) == 0 &&
              json_object_set(request, "chat_template_kwargs", kwargs) == 0;
    if (params->tools)
        ok = ok && json_object_set(request, "tools", (json_t *)params->tools) == 0;
    if (params->documents)
        ok = ok && json_object_set(request, "documents", (json_t *)params->documents) == 0;
    if (ok)
        text = json_dumps(request, JSON_COMPACT);
    json_decref(kwargs);
    json_decref(request);
    return text;
}

/* Where `part` stands last in the text; NULL: nowhere. */
static const char *find_last(const char *text, size_t num_bytes, const char *part,
                             size_t part_bytes)
{
    for (size_t at = num_bytes; at-- > 0 && part_bytes > 0;)
        if (part_bytes <= num_bytes - at && memcmp(text + at, part, part_bytes) == 0)
            return text + at;
    return NULL;
}

/* Cuts the prompt behind the last message's content, which the answer then goes on with. Templates
 * may have taken white space off it. */
static bool cut_after_content(struct nano_api_call *call, const struct nano_api_params *params,
                              char *prompt, size_t *prompt_bytes)
{
    const json_t *messages = params->messages;
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const json_t *content = json_object_get(last, "content");
    if (json_is_array(content))
        content = json_object_get(json_array_get(content, json_array_size(content) - 1), "text");
    const char *text = json_string_value(content);
    size_t num_bytes = json_string_length(content), num_left = num_bytes;
    const char *found = NULL;
    if (text)
        found = find_last(prompt, *prompt_bytes, text, num_bytes);
    if (text && !found) {
        while (num_left > 0 && strchr(" \t\r\n", text[num_left - 1]) && text[num_left - 1])
            num_left--;
        while (num_left > 0 && strchr(" \t\r\n", *text) && *text)
            text++, num_left--;
        found = find_last(prompt, *prompt_bytes, text, num_left);
    }
    if (!found)
        return nano_api_refuse(&call->problem, 400, "continue_final_message",
                               "expected the last message to have content that the template "
                               "writes as it is");
    *prompt_bytes = (size_t)(found - prompt) + num_left;
    prompt[*prompt_bytes] = '\0';
    return true;
}

bool nano_api_render(struct nano_api_call *call, const struct nano_api_params *params,
                     char **prompt, size_t *prompt_bytes)
{
    const struct nano_api *api = call->api;
    struct nano_chat_render_params render = nano_chat_render_params_default();
    struct nano_error err;
    if (!api->chat_template || !api->tokenizer)
        return nano_api_refuse(&call->problem, 400, "messages",
                               "this model has no chat template, use /v1/completions");
    if (!check_messages(call, params->messages))
        return false;
    char *request = print_request(params);
    if (!request)
        return nano_api_refuse(&call->problem, 503, NULL, "there is no memory for the request");
    render.bos_token = api->bos_token;
    render.eos_token = api->eos_token;
    render.kwargs_json = api->chat_template_kwargs;
    render.add_generation_prompt = params->add_generation_prompt;
    render.normalize_messages = true;
    enum nano_status status = nano_chat_template_render(
        api->chat_template, request, strlen(request), &render, prompt, prompt_bytes, &err);
    free(request); /* jansson's */
    if (status != NANO_OK)
        return nano_api_refuse_error(&call->problem, "messages", &err);
    if (!params->continue_final_message || cut_after_content(call, params, *prompt, prompt_bytes))
        return true;
    nano_free(*prompt);
    *prompt = NULL;
    return false;
}
