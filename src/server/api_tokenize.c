/* Text to tokens and back, and conversations to prompts. Both llama.cpp's and vLLM's names are
 * read, and both kinds of client find theirs in the answer. */
#include <string.h>

#include "base/utf8.h"
#include "server/api_call.h"

#define ARRAY_SIZE(table) (sizeof(table) / sizeof *(table))

struct tokenize_params {
    const json_t *content, *prompt;
    bool add_special, add_special_tokens, parse_special;
    bool with_pieces, return_token_strs;
};

#define AT(member) offsetof(struct tokenize_params, member)

static const struct nano_api_field tokenize_fields[] = {
    {"content", nano_api_read_any, AT(content), 0, 0, false, NULL},
    {"prompt", nano_api_read_any, AT(prompt), 0, 0, false, NULL},
    {"add_special", nano_api_read_bool, AT(add_special), 0, 0, false, NULL},
    {"add_special_tokens", nano_api_read_bool, AT(add_special_tokens), 0, 0, false, NULL},
    {"parse_special", nano_api_read_bool, AT(parse_special), 0, 0, false, NULL},
    {"with_pieces", nano_api_read_bool, AT(with_pieces), 0, 0, false, NULL},
    {"return_token_strs", nano_api_read_bool, AT(return_token_strs), 0, 0, false, NULL},
};

/* A text if the bytes are one, else their list, as llama.cpp gives pieces. */
static void print_piece(struct nano_json_out *out, const char *piece, size_t num_bytes)
{
    if (nano_utf8_valid_prefix(piece, num_bytes) == num_bytes) {
        nano_json_string(out, piece, num_bytes);
        return;
    }
    NANO_JSON_LIT(out, "[");
    for (size_t i = 0; i < num_bytes; i++) {
        if (i > 0)
            NANO_JSON_LIT(out, ",");
        nano_json_int(out, (unsigned char)piece[i]);
    }
    NANO_JSON_LIT(out, "]");
}

static void print_tokens(const nano_tokenizer *tokenizer, const int32_t *ids, size_t num_ids,
                         const struct tokenize_params *params, struct nano_json_out *out)
{
    const char *piece;
    size_t num_bytes;
    if (!params->with_pieces) {
        nano_json_ints(out, ids, num_ids);
        return;
    }
    NANO_JSON_LIT(out, "[");
    for (size_t i = 0; i < num_ids; i++) {
        if (i > 0)
            NANO_JSON_LIT(out, ",");
        nano_tokenizer_get_piece(tokenizer, ids[i], &piece, &num_bytes);
        NANO_JSON_LIT(out, "{\"id\":");
        nano_json_int(out, ids[i]);
        NANO_JSON_LIT(out, ",\"piece\":");
        print_piece(out, piece, num_bytes);
        NANO_JSON_LIT(out, "}");
    }
    NANO_JSON_LIT(out, "]");
}

static bool reply_tokens(struct nano_api_call *call, const struct tokenize_params *params,
                         const char *param, const char *text, size_t num_bytes, unsigned flags)
{
    const nano_tokenizer *tokenizer = call->api->tokenizer;
    struct nano_json_out out = {0};
    int32_t *ids;
    size_t num_ids;
    if (!nano_api_encode(call, param, text, num_bytes, flags, -1, &ids, &num_ids))
        return false;
    NANO_JSON_LIT(&out, "{\"count\":");
    nano_json_int(&out, (int64_t)num_ids);
    NANO_JSON_LIT(&out, ",\"max_model_len\":");
    nano_json_int(&out, nano_api_max_model_len(call->api));
    NANO_JSON_LIT(&out, ",\"tokens\":");
    print_tokens(tokenizer, ids, num_ids, params, &out);
    NANO_JSON_LIT(&out, ",\"token_strs\":");
    if (params->return_token_strs) {
        NANO_JSON_LIT(&out, "[");
        for (size_t i = 0; i < num_ids; i++) {
            const char *piece;
            if (i > 0)
                NANO_JSON_LIT(&out, ",");
            nano_tokenizer_get_piece(tokenizer, ids[i], &piece, &num_bytes);
            nano_json_string(&out, piece, num_bytes);
        }
        NANO_JSON_LIT(&out, "]");
    } else {
        NANO_JSON_LIT(&out, "null");
    }
    NANO_JSON_LIT(&out, "}");
    nano_free(ids);
    return nano_api_reply(call, &out);
}

static bool tokenize_messages(struct nano_api_call *call, const struct tokenize_params *params)
{
    struct nano_api_params chat;
    char *prompt;
    size_t prompt_bytes;
    if (!nano_api_read_chat_params(&call->reader, call->root, &chat) ||
        !nano_api_render(call, &chat, &prompt, &prompt_bytes))
        return false;
    unsigned flags =
        NANO_ENCODE_PARSE_SPECIAL |
        (json_is_true(json_object_get(call->root, "add_special_tokens")) ? NANO_ENCODE_ADD_SPECIAL
                                                                         : 0u);
    bool ok = reply_tokens(call, params, "messages", prompt, prompt_bytes, flags);
    nano_free(prompt);
    return ok;
}

bool nano_api_tokenize(struct nano_api_call *call)
{
    struct tokenize_params params = {.add_special_tokens = true, .parse_special = true};
    if (!nano_api_read_fields(&call->reader, tokenize_fields, ARRAY_SIZE(tokenize_fields),
                              call->root, &params))
        return false;
    const json_t *messages = json_object_get(call->root, "messages");
    if (messages && !json_is_null(messages))
        return tokenize_messages(call, &params);
    const json_t *text = params.content ? params.content : params.prompt;
    const char *name = params.content ? "content" : "prompt";
    char got[40];
    if (!json_is_string(text))
        return nano_api_refuse(&call->problem, 400, name, "expected a string (or messages), got %s",
                               text ? nano_api_describe(text, got) : "nothing");
    bool add_special = params.content ? params.add_special : params.add_special_tokens;
    unsigned flags = (add_special ? (unsigned)NANO_ENCODE_ADD_SPECIAL : 0) |
                     (params.parse_special ? (unsigned)NANO_ENCODE_PARSE_SPECIAL : 0);
    return reply_tokens(call, &params, name, json_string_value(text), json_string_length(text),
                        flags);
}

bool nano_api_detokenize(struct nano_api_call *call)
{
    const json_t *tokens = json_object_get(call->root, "tokens");
    struct nano_json_out out = {0};
    struct nano_error err;
    int32_t *ids;
    size_t num_ids, num_bytes;
    char *text;
    if (!call->api->tokenizer)
        return nano_api_refuse(&call->problem, 400, "tokens", "this model has no tokenizer");
    if (!json_is_array(tokens))
        return nano_api_refuse(&call->problem, 400, "tokens", "expected a list of token ids");
    if (!nano_api_read_token_ids(&call->reader, "tokens", tokens, &ids, &num_ids))
        return false;
    if (nano_tokenizer_decode(call->api->tokenizer, ids, num_ids, false, &text, &num_bytes, &err) !=
        NANO_OK)
        return nano_api_refuse_error(&call->problem, "tokens", &err);
    NANO_JSON_LIT(&out, "{\"prompt\":");
    nano_json_string(&out, text, num_bytes);
    NANO_JSON_LIT(&out, ",\"content\":");
    nano_json_string(&out, text, num_bytes);
    NANO_JSON_LIT(&out, "}");
    nano_free(text);
    return nano_api_reply(call, &out);
}

bool nano_api_apply_template(struct nano_api_call *call)
{
    struct nano_api_params params;
    struct nano_json_out out = {0};
    char *prompt;
    size_t prompt_bytes;
    if (!nano_api_read_chat_params(&call->reader, call->root, &params) ||
        !nano_api_render(call, &params, &prompt, &prompt_bytes))
        return false;
    NANO_JSON_LIT(&out, "{\"prompt\":");
    nano_json_string(&out, prompt, prompt_bytes);
    NANO_JSON_LIT(&out, "}");
    nano_free(prompt);
    return nano_api_reply(call, &out);
}
