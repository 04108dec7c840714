/* Parameters: the tables of fields, and what depends on more than one of them. */
#include "server/api_params.h"

#include <string.h>

#define MAX_STOPS 64 /* strings: all are looked for at every token */
#define MAX_STOP_TOKENS 1024
#define MAX_BIASES 4096
#define COMPLETION_MAX_TOKENS 16 /* what OpenAI's completions give without max_tokens */
#define ARRAY_SIZE(table) (sizeof(table) / sizeof *(table))
#define NO_GRAMMAR "answers cannot be constrained, expected it not to be set"

/* Fields as they are written, before they are put together. */
struct raw {
    struct nano_api_params params;
    int max_tokens, max_completion_tokens, n_predict; /* UNSET: not given */
    int logprobs;
    bool chat_logprobs;
    int top_logprobs, best_of;
    struct nano_api_int64 seed;
    struct nano_api_strings stop;
    struct nano_api_ints stop_token_ids;
    struct nano_api_biases logit_bias;
    const json_t *stream_options, *response_format, *tool_choice;
};

#define UNSET (-2)
#define AT(member) offsetof(struct raw, member)
#define SAMPLING(member) offsetof(struct raw, params.sampling.member)
#define MAX NANO_API_NO_MAX

static const struct nano_api_field common_fields[] = {
    {"model", nano_api_read_string, AT(params.model), 0, 0, false, NULL},
    {"max_tokens", nano_api_read_int, AT(max_tokens), 0, MAX, false, NULL},
    {"n_predict", nano_api_read_int, AT(n_predict), -1, MAX, false, NULL},
    {"min_tokens", nano_api_read_int, SAMPLING(min_tokens), 0, MAX, false, NULL},
    {"n", nano_api_read_int, SAMPLING(n), 1, 64, false, NULL},
    {"temperature", nano_api_read_float, SAMPLING(temperature), 0, 2, false, NULL},
    {"top_p", nano_api_read_float, SAMPLING(top_p), 0, 1, true, NULL},
    {"top_k", nano_api_read_int, SAMPLING(top_k), -1, MAX, false, NULL},
    {"min_p", nano_api_read_float, SAMPLING(min_p), 0, 1, false, NULL},
    {"repetition_penalty", nano_api_read_float, SAMPLING(repetition_penalty), 0, 10, true, NULL},
    {"presence_penalty", nano_api_read_float, SAMPLING(presence_penalty), -2, 2, false, NULL},
    {"frequency_penalty", nano_api_read_float, SAMPLING(frequency_penalty), -2, 2, false, NULL},
    {"seed", nano_api_read_int64, AT(seed), 0, 0, false, NULL},
    {"stop", nano_api_read_strings, AT(stop), 0, MAX_STOPS, false, NULL},
    {"stop_token_ids", nano_api_read_ints, AT(stop_token_ids), 0, MAX_STOP_TOKENS, false, NULL},
    {"logit_bias", nano_api_read_biases, AT(logit_bias), 0, MAX_BIASES, false, NULL},
    {"ignore_eos", nano_api_read_bool, SAMPLING(ignore_eos), 0, 0, false, NULL},
    {"skip_special_tokens", nano_api_read_bool, SAMPLING(skip_special_tokens), 0, 0, false, NULL},
    {"include_stop_str_in_output", nano_api_read_bool, SAMPLING(include_stop_str_in_output), 0, 0,
     false, NULL},
    {"prompt_logprobs", nano_api_read_int, AT(params.prompt_logprobs), 0, MAX, false, NULL},
    {"priority", nano_api_read_int, AT(params.priority), INT32_MIN, MAX, false, NULL},
    {"cache_salt", nano_api_read_string, AT(params.cache_salt), 0, 0, false, NULL},
    {"stream", nano_api_read_bool, AT(params.stream), 0, 0, false, NULL},
    {"stream_options", nano_api_read_object, AT(stream_options), 0, 0, false, NULL},
    {"return_token_ids", nano_api_read_bool, AT(params.return_token_ids), 0, 0, false, NULL},
    {"add_special_tokens", nano_api_read_bool, AT(params.add_special_tokens), 0, 0, false, NULL},
    {"response_format", nano_api_read_object, AT(response_format), 0, 0, false, NULL},
    {"structured_outputs", nano_api_read_refused, 0, 0, 0, false, NO_GRAMMAR},
    {"guided_json", nano_api_read_refused, 0, 0, 0, false, NO_GRAMMAR},
    {"guided_regex", nano_api_read_refused, 0, 0, 0, false, NO_GRAMMAR},
    {"guided_choice", nano_api_read_refused, 0, 0, 0, false, NO_GRAMMAR},
    {"guided_grammar", nano_api_read_refused, 0, 0, 0, false, NO_GRAMMAR},
    {"json_schema", nano_api_read_refused, 0, 0, 0, false, NO_GRAMMAR},
    {"grammar", nano_api_read_refused, 0, 0, 0, false, NO_GRAMMAR},
    {"use_beam_search", nano_api_read_refused, 0, 0, 0, false, "expected false"},
};

static const struct nano_api_field completion_fields[] = {
    {"prompt", nano_api_read_any, AT(params.prompt), 0, 0, false, NULL},
    {"echo", nano_api_read_bool, AT(params.echo), 0, 0, false, NULL},
    {"logprobs", nano_api_read_int, AT(logprobs), 0, MAX, false, NULL},
    {"best_of", nano_api_read_int, AT(best_of), 1, 64, false, NULL},
    {"suffix", nano_api_read_refused, 0, 0, 0, false, "text cannot be inserted, expected null"},
};

static const struct nano_api_field chat_fields[] = {
    {"max_completion_tokens", nano_api_read_int, AT(max_completion_tokens), 0, MAX, false, NULL},
    {"logprobs", nano_api_read_bool, AT(chat_logprobs), 0, 0, false, NULL},
    {"top_logprobs", nano_api_read_int, AT(top_logprobs), 0, MAX, false, NULL},
    {"echo", nano_api_read_refused, 0, 0, 0, false, "only /v1/completions can"},
    {"functions", nano_api_read_refused, 0, 0, 0, false, "expected tools instead"},
};

static const struct nano_api_field template_fields[] = {
    {"messages", nano_api_read_array, AT(params.messages), 0, 0, false, NULL},
    {"tools", nano_api_read_array, AT(params.tools), 0, 0, false, NULL},
    {"tool_choice", nano_api_read_any, AT(tool_choice), 0, 0, false, NULL},
    {"documents", nano_api_read_array, AT(params.documents), 0, 0, false, NULL},
    {"chat_template_kwargs", nano_api_read_object, AT(params.chat_template_kwargs), 0, 0, false,
     NULL},
    {"reasoning_effort", nano_api_read_string, AT(params.reasoning_effort), 0, 0, false, NULL},
    {"add_generation_prompt", nano_api_read_bool, AT(params.add_generation_prompt), 0, 0, false,
     NULL},
    {"continue_final_message", nano_api_read_bool, AT(params.continue_final_message), 0, 0, false,
     NULL},
};

static const struct nano_api_field stream_fields[] = {
    {"include_usage", nano_api_read_bool, AT(params.include_usage), 0, 0, false, NULL},
    {"continuous_usage_stats", nano_api_read_bool, AT(params.continuous_usage), 0, 0, false, NULL},
};

static bool read_tool_choice(const struct nano_api_reader *reader, struct raw *raw)
{
    const char *choice = json_string_value(raw->tool_choice);
    for (size_t i = 0; i < json_array_size(raw->params.tools); i++)
        if (!json_is_object(json_array_get(raw->params.tools, i)))
            return nano_api_refuse(reader->problem, 400, "tools", "expected a list of objects");
    if (!raw->tool_choice || (choice && strcmp(choice, "auto") == 0))
        return true;
    if (!choice || strcmp(choice, "none") != 0)
        return nano_api_refuse(reader->problem, 400, "tool_choice",
                               "the model cannot be made to call a tool, expected \"auto\" or "
                               "\"none\"");
    raw->params.tools = NULL;
    return true;
}

static bool read_template_fields(const struct nano_api_reader *reader, const json_t *root,
                                 struct raw *raw)
{
    raw->params.add_generation_prompt = true;
    if (!nano_api_read_fields(reader, template_fields, ARRAY_SIZE(template_fields), root, raw) ||
        !read_tool_choice(reader, raw))
        return false;
    const json_t *generation = json_object_get(root, "add_generation_prompt");
    if (raw->params.continue_final_message && json_is_true(generation))
        return nano_api_refuse(reader->problem, 400, "continue_final_message",
                               "expected add_generation_prompt to be false with it");
    if (raw->params.continue_final_message)
        raw->params.add_generation_prompt = false;
    return true;
}

bool nano_api_read_chat_params(const struct nano_api_reader *reader, const json_t *root,
                               struct nano_api_params *out)
{
    struct raw raw = {.params = {.kind = NANO_API_CHAT}};
    bool ok = read_template_fields(reader, root, &raw);
    *out = raw.params;
    return ok;
}

bool nano_api_settle_model(const struct nano_api_reader *reader, const struct nano_api *api,
                           struct nano_api_params *params)
{
    const char *model = params->model;
    params->served_name = api->served_model_names[0];
    params->lora = api->lora;
    for (int i = 0; model && i < api->num_served_model_names; i++)
        if (strcmp(api->served_model_names[i], model) == 0)
            return true;
    if (!model)
        return true;
    for (int i = 0; i < api->num_lora_names; i++) {
        if (strcmp(api->lora_names[i], model) == 0) {
            params->served_name = params->lora = api->lora_names[i];
            return true;
        }
    }
    nano_api_refuse(reader->problem, 404, "model", "there is no '%.200s' here, expected '%.200s'",
                    model, api->served_model_names[0]);
    reader->problem->code = "model_not_found";
    return false;
}

/* What is asked of log-probabilities, whichever way it is written. */
static bool settle_logprobs(const struct nano_api_reader *reader, const struct nano_api *api,
                            struct raw *raw)
{
    struct nano_api_params *p = &raw->params;
    bool is_chat = p->kind == NANO_API_CHAT;
    if (raw->top_logprobs > 0 && !raw->chat_logprobs)
        return nano_api_refuse(reader->problem, 400, "top_logprobs",
                               "expected logprobs to be true with it");
    p->logprobs = !is_chat ? raw->logprobs : raw->chat_logprobs ? raw->top_logprobs : -1;
    if (p->logprobs > api->max_logprobs)
        return nano_api_refuse(reader->problem, 400, is_chat ? "top_logprobs" : "logprobs",
                               "expected at most %d, got %d", api->max_logprobs, p->logprobs);
    if (p->prompt_logprobs > api->max_logprobs)
        return nano_api_refuse(reader->problem, 400, "prompt_logprobs",
                               "expected at most %d, got %d", api->max_logprobs,
                               p->prompt_logprobs);
    if (p->prompt_logprobs >= 0 && p->stream)
        return nano_api_refuse(reader->problem, 400, "prompt_logprobs",
                               "expected stream to be false with it");
    if (p->echo && p->logprobs >= 0 && p->stream && p->sampling.n > 1)
        return nano_api_refuse(reader->problem, 400, "n",
                               "expected 1 with echo, logprobs and stream");
    p->sampling.logprobs = p->logprobs;
    p->sampling.prompt_logprobs = p->prompt_logprobs;
    if (p->echo && p->logprobs > p->prompt_logprobs)
        p->sampling.prompt_logprobs = p->logprobs;
    return true;
}

static void settle_sampling(const struct nano_api *api, struct raw *raw)
{
    struct nano_sampling_params *s = &raw->params.sampling;
    if (raw->max_completion_tokens != UNSET)
        s->max_tokens = raw->max_completion_tokens;
    else if (raw->max_tokens != UNSET)
        s->max_tokens = raw->max_tokens;
    else if (raw->n_predict != UNSET)
        s->max_tokens = raw->n_predict;
    else if (s->max_tokens < 0 && raw->params.kind == NANO_API_COMPLETION)
        s->max_tokens =
            s->min_tokens > COMPLETION_MAX_TOKENS ? s->min_tokens : COMPLETION_MAX_TOKENS;
    if (raw->seed.given) {
        s->has_seed = true;
        s->seed = (uint64_t)raw->seed.value;
    }
    if (raw->stop.items) {
        s->stop = raw->stop.items;
        s->num_stop = raw->stop.num;
    }
    if (raw->stop_token_ids.items) {
        s->stop_token_ids = raw->stop_token_ids.items;
        s->num_stop_token_ids = raw->stop_token_ids.num;
    }
    if (raw->logit_bias.items) {
        s->logit_bias = raw->logit_bias.items;
        s->num_logit_bias = raw->logit_bias.num;
    }
    s->detokenize = api->tokenizer != NULL;
}

static bool read_stream_options(const struct nano_api_reader *reader, struct raw *raw)
{
    struct nano_api_reader nested = *reader;
    nested.prefix = "stream_options.";
    if (!raw->stream_options)
        return true;
    if (!raw->params.stream)
        return nano_api_refuse(reader->problem, 400, "stream_options",
                               "expected stream to be true with it");
    return nano_api_read_fields(&nested, stream_fields, ARRAY_SIZE(stream_fields),
                                raw->stream_options, raw);
}

static bool check_response_format(const struct nano_api_reader *reader, const struct raw *raw)
{
    const char *type = json_string_value(json_object_get(raw->response_format, "type"));
    if (!raw->response_format || (type && strcmp(type, "text") == 0))
        return true;
    return nano_api_refuse(reader->problem, 400, "response_format",
                           "answers cannot be constrained, expected {\"type\": \"text\"}");
}

bool nano_api_splits_reasoning(const struct nano_api *api)
{
    struct nano_chat_template_info info = {0};
    if (api->reasoning && api->chat_template)
        nano_chat_template_get_info(api->chat_template, &info);
    return info.reasoning_start != NULL;
}

bool nano_api_read_params(const struct nano_api_reader *reader, const struct nano_api *api,
                          enum nano_api_kind kind, const json_t *root, struct nano_api_params *out)
{
    bool is_chat = kind == NANO_API_CHAT;
    struct raw raw = {
        .params = {.kind = kind,
                   .sampling = api->sampling,
                   .prompt_logprobs = -1,
                   .add_special_tokens = !is_chat},
        .max_tokens = UNSET,
        .max_completion_tokens = UNSET,
        .n_predict = UNSET,
        .logprobs = -1,
        .best_of = UNSET,
    };
    if (is_chat && nano_api_splits_reasoning(api))
        raw.params.sampling.skip_special_tokens = false; /* its tags may be such tokens */
    if (!nano_api_read_fields(reader, common_fields, ARRAY_SIZE(common_fields), root, &raw) ||
        !nano_api_read_fields(reader, is_chat ? chat_fields : completion_fields,
                              is_chat ? ARRAY_SIZE(chat_fields) : ARRAY_SIZE(completion_fields),
                              root, &raw))
        return false;
    if (is_chat && !read_template_fields(reader, root, &raw))
        return false;
    if (raw.best_of != UNSET && raw.best_of != raw.params.sampling.n)
        return nano_api_refuse(reader->problem, 400, "best_of", "expected it to be equal to n");
    if (!nano_api_settle_model(reader, api, &raw.params) || !read_stream_options(reader, &raw) ||
        !check_response_format(reader, &raw) || !settle_logprobs(reader, api, &raw))
        return false;
    settle_sampling(api, &raw);
    *out = raw.params;
    return true;
}
