/* Embeddings: the route, and the part of an answer that is theirs. */
#include <string.h>

#include "server/api_answer.h"
#include "server/api_call.h"

#define ARRAY_SIZE(table) (sizeof(table) / sizeof *(table))

struct embeddings_params {
    struct nano_api_params params;
    const char *encoding_format, *pooling;
};

#define AT(member) offsetof(struct embeddings_params, member)

static const struct nano_api_field embeddings_fields[] = {
    {"model", nano_api_read_string, AT(params.model), 0, 0, false, NULL},
    {"input", nano_api_read_any, AT(params.prompt), 0, 0, false, NULL},
    {"encoding_format", nano_api_read_string, AT(encoding_format), 0, 0, false, NULL},
    {"dimensions", nano_api_read_refused, 0, 0, 0, false,
     "embeddings have the model's size, expected it not to be set"},
    {"pooling", nano_api_read_string, AT(pooling), 0, 0, false, NULL},
    {"embd_normalize", nano_api_read_int, AT(params.embedding.normalize), -1, NANO_API_NO_MAX,
     false, NULL},
    {"add_special_tokens", nano_api_read_bool, AT(params.add_special_tokens), 0, 0, false, NULL},
    {"priority", nano_api_read_int, AT(params.priority), INT32_MIN, NANO_API_NO_MAX, false, NULL},
    {"cache_salt", nano_api_read_string, AT(params.cache_salt), 0, 0, false, NULL},
};

/* The index of the name among the names; -1, and the problem, if it is none of them. */
static int choose(struct nano_api_call *call, const char *param, const char *name,
                  const char *const *names, int num_names, const char *expected)
{
    for (int i = 0; i < num_names; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    nano_api_refuse(&call->problem, 400, param, "expected %s, got \"%.40s\"", expected, name);
    return -1;
}

bool nano_api_embeddings(struct nano_api_call *call)
{
    static const char *const formats[] = {"float", "base64"};
    static const char *const poolings[] = {"mean", "cls", "last"};
    struct embeddings_params raw = {.params = {.kind = NANO_API_EMBEDDING,
                                               .sampling = nano_sampling_params_default(),
                                               .embedding = nano_embedding_params_default(),
                                               .logprobs = -1,
                                               .prompt_logprobs = -1,
                                               .add_special_tokens = true},
                                    .encoding_format = "float"};
    struct nano_api_params *params = &raw.params;
    struct nano_api_prompt *prompts;
    int num_prompts;
    params->sampling.max_tokens = 0;
    if (!nano_api_read_fields(&call->reader, embeddings_fields, ARRAY_SIZE(embeddings_fields),
                              call->root, &raw) ||
        !nano_api_settle_model(&call->reader, call->api, params))
        return false;
    const int format = choose(call, "encoding_format", raw.encoding_format, formats,
                              ARRAY_SIZE(formats), "\"float\" or \"base64\"");
    if (format < 0)
        return false;
    params->base64 = format == 1;
    if (raw.pooling) {
        const int pooling = choose(call, "pooling", raw.pooling, poolings, ARRAY_SIZE(poolings),
                                   "\"mean\", \"cls\" or \"last\"");
        if (pooling < 0)
            return false;
        params->embedding.pooling = (enum nano_pooling)(NANO_POOLING_MEAN + pooling);
    }
    if (!nano_api_read_prompts(call, params, "input", &prompts, &num_prompts))
        return false;
    nano_api_answer(call->api, call->exchange, params, prompts, num_prompts);
    return true;
}

/* ---- The answer ------------------------------------------------------------------------------ */

/* RFC 4648 of the values as little-endian floats. */
static void print_base64(const float *values, int size, struct nano_json_out *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t group = 0;
    int num_bytes = 0;
    NANO_JSON_LIT(out, "\"");
    for (int i = 0; i < size; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        for (int shift = 0; shift < 32; shift += 8) {
            group = group << 8 | (bits >> shift & 0xFF);
            if (++num_bytes % 3 == 0) {
                const char text[4] = {digits[group >> 18 & 63], digits[group >> 12 & 63],
                                      digits[group >> 6 & 63], digits[group & 63]};
                nano_json_raw(out, text, sizeof text);
            }
        }
    }
    if (num_bytes % 3 > 0) {
        const int missing = 3 - num_bytes % 3;
        group <<= 8 * missing;
        const char text[4] = {digits[group >> 18 & 63], digits[group >> 12 & 63],
                              missing == 1 ? digits[group >> 6 & 63] : '=', '='};
        nano_json_raw(out, text, sizeof text);
    }
    NANO_JSON_LIT(out, "\"");
}

void nano_api_embedding_news(struct nano_api_answer *answer, const struct nano_api_news *news)
{
    struct nano_json_out *out = &news->choice->text;
    const struct nano_output *output = news->output;
    if (!output->embedding)
        return;
    if (answer->base64) {
        print_base64(output->embedding, output->embedding_size, out);
        return;
    }
    for (int i = 0; i < output->embedding_size; i++) {
        nano_json_raw(out, i == 0 ? "[" : ",", 1);
        nano_json_float(out, (double)output->embedding[i]);
    }
    NANO_JSON_LIT(out, "]");
}

void nano_api_embedding_print(struct nano_api_answer *answer)
{
    struct nano_json_out *out = &answer->out;
    int num_cached, num_completion;
    const int num_tokens = nano_api_count_usage(answer, &num_cached, &num_completion);
    NANO_JSON_LIT(out, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < answer->num_prompts; i++) {
        if (i > 0)
            NANO_JSON_LIT(out, ",");
        NANO_JSON_LIT(out, "{\"object\":\"embedding\",\"index\":");
        nano_json_int(out, i);
        NANO_JSON_LIT(out, ",\"embedding\":");
        nano_json_append(out, &answer->choices[i].text);
        NANO_JSON_LIT(out, "}");
    }
    NANO_JSON_LIT(out, "],\"model\":");
    nano_json_cstring(out, answer->served_name);
    NANO_JSON_LIT(out, ",\"usage\":{\"prompt_tokens\":");
    nano_json_int(out, num_tokens);
    NANO_JSON_LIT(out, ",\"total_tokens\":");
    nano_json_int(out, num_tokens);
    NANO_JSON_LIT(out, "}}");
}
