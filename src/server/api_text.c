/* Completions of prompts and of conversations: from the body to prompts in tokens. */
#include <string.h>

#include "base/memory.h"
#include "server/api_answer.h"
#include "server/api_call.h"

#define MAX_CHOICES 4096 /* of one request: prompts x n */

/* ---- Prompts --------------------------------------------------------------------------------- */

bool nano_api_check_length(struct nano_api_call *call, const char *param, size_t num_tokens,
                           int room, bool at_least)
{
    size_t limit = (size_t)nano_api_max_model_len(call->api);
    if (room < 0 || num_tokens + (size_t)room <= limit)
        return true;
    nano_api_refuse(&call->problem, 400, param,
                    "this model's maximum context length is %zu tokens, but the prompt has %s%zu "
                    "tokens%s",
                    limit, at_least ? "at least " : "", num_tokens,
                    num_tokens == limit ? ", which leaves none for the answer" : "");
    call->problem.code = "context_length_exceeded";
    return false;
}

bool nano_api_encode(struct nano_api_call *call, const char *param, const char *text,
                     size_t num_bytes, unsigned flags, int room, int32_t **token_ids,
                     size_t *num_tokens)
{
    const nano_tokenizer *tokenizer = call->api->tokenizer;
    struct nano_error err;
    if (!tokenizer)
        return nano_api_refuse(&call->problem, 400, param,
                               "this model has no tokenizer, expected token ids");
    if (!nano_api_check_length(call, param, nano_tokenizer_min_tokens(tokenizer, num_bytes), room,
                               true))
        return false;
    if (nano_tokenizer_encode(tokenizer, text, num_bytes, flags, token_ids, num_tokens, &err) !=
        NANO_OK)
        return nano_api_refuse_error(&call->problem, param, &err);
    if (nano_api_check_length(call, param, *num_tokens, room, false))
        return true;
    nano_free(*token_ids);
    *token_ids = NULL;
    return false;
}

static bool no_memory(struct nano_api_call *call)
{
    return nano_api_refuse(&call->problem, 503, NULL, "there is no memory for the request");
}

static bool take_text(struct nano_api_call *call, const struct nano_api_params *params,
                      const char *param, const json_t *value, struct nano_api_prompt *prompt)
{
    const char *text = json_string_value(value);
    size_t num_bytes = json_string_length(value);
    unsigned flags = NANO_ENCODE_PARSE_SPECIAL |
                     (params->add_special_tokens ? (unsigned)NANO_ENCODE_ADD_SPECIAL : 0);
    if (!nano_api_encode(call, param, text, num_bytes, flags, params->sampling.max_tokens != 0,
                         &prompt->token_ids, &prompt->num_token_ids))
        return false;
    if (!params->echo)
        return true;
    prompt->text_bytes = num_bytes;
    prompt->text = nano_mem_strdup(text, num_bytes);
    return prompt->text || no_memory(call);
}

static bool take_ids(struct nano_api_call *call, const struct nano_api_params *params,
                     const char *param, const json_t *list, struct nano_api_prompt *prompt)
{
    int32_t *ids;
    struct nano_error err;
    const nano_tokenizer *tokenizer = call->api->tokenizer;
    if (!nano_api_check_length(call, param, json_array_size(list), params->sampling.max_tokens != 0,
                               false) ||
        !nano_api_read_token_ids(&call->reader, param, list, &ids, &prompt->num_token_ids))
        return false;
    struct nano_tokenizer_info info = {.vocab_size = INT32_MAX};
    if (tokenizer)
        nano_tokenizer_get_info(tokenizer, &info);
    for (size_t i = 0; i < prompt->num_token_ids; i++)
        if (ids[i] < 0 || ids[i] >= info.vocab_size)
            return nano_api_refuse(&call->problem, 400, param, "token id %d, expected 0 to %d",
                                   ids[i], info.vocab_size - 1);
    prompt->token_ids = nano_mem_alloc(prompt->num_token_ids, sizeof *ids);
    if (!prompt->token_ids)
        return no_memory(call);
    memcpy(prompt->token_ids, ids, prompt->num_token_ids * sizeof *ids);
    if (!params->echo || !tokenizer)
        return true;
    if (nano_tokenizer_decode(tokenizer, ids, prompt->num_token_ids,
                              params->sampling.skip_special_tokens, &prompt->text,
                              &prompt->text_bytes, &err) != NANO_OK)
        return nano_api_refuse_error(&call->problem, param, &err);
    return true;
}

/* Whether a list is one prompt in tokens; else each entry is a prompt. */
static bool is_ids(const json_t *prompt)
{
    return json_is_array(prompt) && json_is_number(json_array_get(prompt, 0));
}

bool nano_api_read_prompts(struct nano_api_call *call, const struct nano_api_params *params,
                           const char *param, struct nano_api_prompt **out, int *num_prompts)
{
    const json_t *value = params->prompt;
    if (!value)
        return nano_api_refuse(&call->problem, 400, param,
                               "expected a string, a list of strings, or token ids");
    bool is_list = json_is_array(value) && !is_ids(value);
    size_t num = is_list ? json_array_size(value) : 1;
    if (num == 0 || num * (size_t)params->sampling.n > MAX_CHOICES)
        return nano_api_refuse(&call->problem, 400, param,
                               "expected at least one and at most %d completions (prompts x n)",
                               MAX_CHOICES);
    struct nano_api_prompt *prompts = nano_mem_calloc(num, sizeof *prompts);
    if (!prompts)
        return no_memory(call);
    bool ok = true;
    for (size_t i = 0; i < num && ok; i++) {
        const json_t *item = is_list ? json_array_get(value, i) : value;
        char got[40];
        if (json_is_string(item))
            ok = take_text(call, params, param, item, &prompts[i]);
        else if (json_is_array(item))
            ok = take_ids(call, params, param, item, &prompts[i]);
        else
            ok = nano_api_refuse(&call->problem, 400, param,
                                 "expected a string, a list of strings, or token ids, got %s%s",
                                 is_list ? "a list with " : "", nano_api_describe(item, got));
    }
    if (!ok) {
        nano_api_prompts_destroy(prompts, (int)num);
        return false;
    }
    *out = prompts;
    *num_prompts = (int)num;
    return true;
}

/* ---- Routes ---------------------------------------------------------------------------------- */

bool nano_api_completions(struct nano_api_call *call)
{
    struct nano_api_params params;
    struct nano_api_prompt *prompts = NULL;
    int num_prompts = 0;
    if (!nano_api_read_params(&call->reader, call->api, NANO_API_COMPLETION, call->root, &params) ||
        !nano_api_read_prompts(call, &params, "prompt", &prompts, &num_prompts))
        return false;
    nano_api_answer(call->api, call->exchange, &params, prompts, num_prompts);
    return true;
}

bool nano_api_chat(struct nano_api_call *call)
{
    struct nano_api_params params;
    if (!nano_api_read_params(&call->reader, call->api, NANO_API_CHAT, call->root, &params))
        return false;
    struct nano_api_prompt *prompt = nano_mem_calloc(1, sizeof *prompt);
    if (!prompt)
        return no_memory(call);
    unsigned flags = NANO_ENCODE_PARSE_SPECIAL |
                     (params.add_special_tokens ? (unsigned)NANO_ENCODE_ADD_SPECIAL : 0);
    if (!nano_api_render(call, &params, &prompt->text, &prompt->text_bytes) ||
        !nano_api_encode(call, "messages", prompt->text, prompt->text_bytes, flags,
                         params.sampling.max_tokens != 0, &prompt->token_ids,
                         &prompt->num_token_ids)) {
        nano_api_prompts_destroy(prompt, 1);
        return false;
    }
    nano_api_answer(call->api, call->exchange, &params, prompt, 1);
    return true;
}
