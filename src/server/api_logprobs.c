/* Log-probabilities in the forms of OpenAI's two APIs and of vLLM's prompt_logprobs. */
#include <math.h>
#include <stdio.h>

#include "base/utf8.h"
#include "server/api_answer.h"

#define LEAST_LOGPROB (-9999.0) /* JSON has no infinity */

size_t nano_api_count_characters(const char *text, size_t num_bytes)
{
    size_t num = 0;
    for (size_t i = 0; i < num_bytes; i++)
        num += ((unsigned char)text[i] & 0xC0) != 0x80;
    return num;
}

static void comma(struct nano_json_out *out)
{
    if (out->num_bytes > 0)
        NANO_JSON_LIT(out, ",");
}

static void print_logprob(struct nano_json_out *out, float logprob)
{
    nano_json_float(out, logprob > LEAST_LOGPROB ? (double)logprob : LEAST_LOGPROB);
}

/* A token's bytes; without a tokenizer it has none. */
static const char *piece_of(const struct nano_api_answer *answer, int32_t token_id,
                            size_t *num_bytes)
{
    const nano_tokenizer *tokenizer = answer->api->tokenizer;
    const char *piece = "";
    *num_bytes = 0;
    if (tokenizer)
        nano_tokenizer_get_piece(tokenizer, token_id, &piece, num_bytes);
    return piece;
}

/* What is no text by itself is spelled in bytes, so that two such tokens are not the same. */
static void print_token(struct nano_json_out *out, const char *piece, size_t num_bytes)
{
    if (nano_utf8_valid_prefix(piece, num_bytes) == num_bytes) {
        nano_json_string(out, piece, num_bytes);
        return;
    }
    NANO_JSON_LIT(out, "\"bytes:");
    for (size_t i = 0; i < num_bytes; i++) {
        char byte[8];
        snprintf(byte, sizeof byte, "\\\\x%02x", (unsigned)(unsigned char)piece[i]);
        nano_json_raw(out, byte, 5);
    }
    NANO_JSON_LIT(out, "\"");
}

/* "token":…,"logprob":…,"bytes":[…] of a chat's entry. */
static void print_chat_token(struct nano_json_out *out, const struct nano_api_answer *answer,
                             int32_t token_id, float logprob)
{
    size_t num_bytes;
    const char *piece = piece_of(answer, token_id, &num_bytes);
    NANO_JSON_LIT(out, "{\"token\":");
    print_token(out, piece, num_bytes);
    NANO_JSON_LIT(out, ",\"logprob\":");
    print_logprob(out, logprob);
    NANO_JSON_LIT(out, ",\"bytes\":[");
    for (size_t i = 0; i < num_bytes; i++) {
        if (i > 0)
            NANO_JSON_LIT(out, ",");
        nano_json_int(out, (unsigned char)piece[i]);
    }
    NANO_JSON_LIT(out, "]");
}

static int num_shown(const struct nano_token_logprobs *logprobs, int limit)
{
    return logprobs->num_top < limit ? logprobs->num_top : limit;
}

static void add_to_chat(struct nano_json_out *out, const struct nano_api_answer *answer,
                        const struct nano_token_logprobs *logprobs)
{
    comma(out);
    print_chat_token(out, answer, logprobs->token_id, logprobs->logprob);
    NANO_JSON_LIT(out, ",\"top_logprobs\":[");
    for (int i = 0; i < num_shown(logprobs, answer->logprobs); i++) {
        if (i > 0)
            NANO_JSON_LIT(out, ",");
        print_chat_token(out, answer, logprobs->top[i].token_id, logprobs->top[i].logprob);
        NANO_JSON_LIT(out, "}");
    }
    NANO_JSON_LIT(out, "]}");
}

static void print_named(struct nano_json_out *out, const struct nano_api_answer *answer,
                        int32_t token_id, float logprob)
{
    size_t num_bytes;
    const char *piece = piece_of(answer, token_id, &num_bytes);
    print_token(out, piece, num_bytes);
    NANO_JSON_LIT(out, ":");
    print_logprob(out, logprob);
}

/* {"token":logprob,…}: the most likely ones, and the chosen one if it is not among them. */
static void print_top(struct nano_json_out *out, const struct nano_api_answer *answer,
                      const struct nano_token_logprobs *logprobs)
{
    bool chosen_shown = false;
    int num = num_shown(logprobs, answer->logprobs);
    NANO_JSON_LIT(out, "{");
    for (int i = 0; i < num; i++) {
        if (i > 0)
            NANO_JSON_LIT(out, ",");
        print_named(out, answer, logprobs->top[i].token_id, logprobs->top[i].logprob);
        chosen_shown |= logprobs->top[i].token_id == logprobs->token_id;
    }
    if (!chosen_shown) {
        if (num > 0)
            NANO_JSON_LIT(out, ",");
        print_named(out, answer, logprobs->token_id, logprobs->logprob);
    }
    NANO_JSON_LIT(out, "}");
}

/* An entry in each of the four lists; `logprobs` NULL: nothing predicted the token. */
static void add_to_lists(struct nano_api_logprobs *lists, const struct nano_api_answer *answer,
                         int32_t token_id, const struct nano_token_logprobs *logprobs, size_t at)
{
    size_t num_bytes;
    const char *piece = piece_of(answer, token_id, &num_bytes);
    comma(&lists->tokens);
    comma(&lists->token_logprobs);
    comma(&lists->top_logprobs);
    comma(&lists->text_offsets);
    print_token(&lists->tokens, piece, num_bytes);
    nano_json_int(&lists->text_offsets, (int64_t)at);
    if (logprobs) {
        print_logprob(&lists->token_logprobs, logprobs->logprob);
        print_top(&lists->top_logprobs, answer, logprobs);
    } else {
        NANO_JSON_LIT(&lists->token_logprobs, "null");
        NANO_JSON_LIT(&lists->top_logprobs, "null");
    }
}

void nano_api_logprobs_add(struct nano_api_choice *choice, const struct nano_api_answer *answer,
                           const struct nano_output *output)
{
    for (int i = 0; output->logprobs && i < output->num_tokens; i++) {
        const struct nano_token_logprobs *logprobs = &output->logprobs[i];
        size_t num_bytes;
        const char *piece = piece_of(answer, logprobs->token_id, &num_bytes);
        if (answer->kind == NANO_API_CHAT)
            add_to_chat(&choice->logprobs.tokens, answer, logprobs);
        else
            add_to_lists(&choice->logprobs, answer, logprobs->token_id, logprobs,
                         choice->text_offset);
        choice->text_offset += nano_api_count_characters(piece, num_bytes);
    }
}

void nano_api_logprobs_echo(struct nano_api_prompt *prompt, const struct nano_api_answer *answer,
                            const struct nano_output *output)
{
    struct nano_tokenizer_info info = {.bos_token_id = -1};
    size_t at = 0, num_bytes;
    bool at_start = true;
    if (answer->api->tokenizer)
        nano_tokenizer_get_info(answer->api->tokenizer, &info);
    for (int i = 0; i < output->num_prompt_logprobs; i++) {
        int32_t token_id = prompt->token_ids[i];
        const char *piece = piece_of(answer, token_id, &num_bytes);
        add_to_lists(&prompt->echoed, answer, token_id, i > 0 ? &output->prompt_logprobs[i] : NULL,
                     at);
        if (i == 0 && token_id == info.bos_token_id)
            continue; /* it is not in the text */
        at += nano_api_count_characters(piece, num_bytes);
        bool space_dropped = at_start && num_bytes > 0 && piece[0] == ' ' &&
                             (prompt->text_bytes == 0 || prompt->text[0] != ' ');
        at -= space_dropped;
        at_start = false;
    }
}

/* "5":{"logprob":…,"rank":…,"decoded_token":…}; rank 0: it is unknown. */
static void print_ranked(struct nano_json_out *out, const struct nano_api_answer *answer,
                         int32_t token_id, float logprob, int rank)
{
    size_t num_bytes;
    const char *piece = piece_of(answer, token_id, &num_bytes);
    NANO_JSON_LIT(out, "\"");
    nano_json_int(out, token_id);
    NANO_JSON_LIT(out, "\":{\"logprob\":");
    print_logprob(out, logprob);
    NANO_JSON_LIT(out, ",\"rank\":");
    if (rank > 0)
        nano_json_int(out, rank);
    else
        NANO_JSON_LIT(out, "null");
    NANO_JSON_LIT(out, ",\"decoded_token\":");
    print_token(out, piece, num_bytes);
    NANO_JSON_LIT(out, "}");
}

void nano_api_logprobs_prompt(struct nano_api_prompt *prompt, const struct nano_api_answer *answer,
                              const struct nano_output *output)
{
    struct nano_json_out *out = &prompt->prompt_logprobs;
    NANO_JSON_LIT(out, "[null");
    for (int i = 1; i < output->num_prompt_logprobs; i++) {
        const struct nano_token_logprobs *logprobs = &output->prompt_logprobs[i];
        int num = num_shown(logprobs, answer->num_prompt_logprobs);
        bool chosen_shown = false;
        NANO_JSON_LIT(out, ",{");
        for (int k = 0; k < num; k++) {
            if (k > 0)
                NANO_JSON_LIT(out, ",");
            print_ranked(out, answer, logprobs->top[k].token_id, logprobs->top[k].logprob, k + 1);
            chosen_shown |= logprobs->top[k].token_id == logprobs->token_id;
        }
        if (!chosen_shown) {
            if (num > 0)
                NANO_JSON_LIT(out, ",");
            print_ranked(out, answer, logprobs->token_id, logprobs->logprob, 0);
        }
        NANO_JSON_LIT(out, "}");
    }
    NANO_JSON_LIT(out, "]");
}

static void print_list(struct nano_json_out *out, const struct nano_json_out *echoed,
                       const struct nano_json_out *list)
{
    NANO_JSON_LIT(out, "[");
    if (echoed) {
        nano_json_append(out, echoed);
        if (echoed->num_bytes > 0 && list->num_bytes > 0)
            NANO_JSON_LIT(out, ",");
    }
    nano_json_append(out, list);
    NANO_JSON_LIT(out, "]");
}

void nano_api_logprobs_print(const struct nano_api_answer *answer,
                             const struct nano_api_logprobs *echoed,
                             const struct nano_api_logprobs *lists, struct nano_json_out *out)
{
    if (answer->logprobs < 0) {
        NANO_JSON_LIT(out, "null");
    } else if (answer->kind == NANO_API_CHAT) {
        NANO_JSON_LIT(out, "{\"content\":");
        print_list(out, NULL, &lists->tokens);
        NANO_JSON_LIT(out, ",\"refusal\":null}");
    } else {
        NANO_JSON_LIT(out, "{\"text_offset\":");
        print_list(out, echoed ? &echoed->text_offsets : NULL, &lists->text_offsets);
        NANO_JSON_LIT(out, ",\"token_logprobs\":");
        print_list(out, echoed ? &echoed->token_logprobs : NULL, &lists->token_logprobs);
        NANO_JSON_LIT(out, ",\"tokens\":");
        print_list(out, echoed ? &echoed->tokens : NULL, &lists->tokens);
        NANO_JSON_LIT(out, ",\"top_logprobs\":");
        print_list(out, echoed ? &echoed->top_logprobs : NULL, &lists->top_logprobs);
        NANO_JSON_LIT(out, "}");
    }
}

void nano_api_logprobs_reset(struct nano_api_logprobs *lists)
{
    nano_json_reset(&lists->tokens);
    nano_json_reset(&lists->token_logprobs);
    nano_json_reset(&lists->top_logprobs);
    nano_json_reset(&lists->text_offsets);
}

void nano_api_logprobs_deinit(struct nano_api_logprobs *lists)
{
    nano_json_deinit(&lists->tokens);
    nano_json_deinit(&lists->token_logprobs);
    nano_json_deinit(&lists->top_logprobs);
    nano_json_deinit(&lists->text_offsets);
}
