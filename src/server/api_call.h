/* Call: what the routes of the API share while they handle one request, on the server's thread. */
#ifndef NANO_SERVER_API_CALL_H
#define NANO_SERVER_API_CALL_H

#include "server/api_params.h"
#include "server/json_out.h"

struct nano_api_call {
    const struct nano_api *api;
    struct nano_http_exchange *exchange;
    const json_t *root; /* the body, an object; NULL for GET */
    struct nano_arena arena;
    struct nano_api_problem problem;
    struct nano_api_reader reader;
};

/* Routes: true when the exchange is answered (or will be: it must not be touched any more), false
 * when the problem is set and the answer. */
bool nano_api_completions(struct nano_api_call *call);
bool nano_api_chat(struct nano_api_call *call);
bool nano_api_models(struct nano_api_call *call);
bool nano_api_embeddings(struct nano_api_call *call);
bool nano_api_tokenize(struct nano_api_call *call);
bool nano_api_detokenize(struct nano_api_call *call);
bool nano_api_apply_template(struct nano_api_call *call);

/* Replies with what was written, or refuses if memory did not suffice for it; releases `out`. */
bool nano_api_reply(struct nano_api_call *call, struct nano_json_out *out);

/* Encodes a text; release *token_ids with nano_free. `room` is for the output: prompts that leave
 * less are refused, the much too long ones without encoding them. -1: any length is fine. */
bool nano_api_encode(struct nano_api_call *call, const char *param, const char *text,
                     size_t num_bytes, unsigned flags, int room, int32_t **token_ids,
                     size_t *num_tokens);

/* The prompts that params->prompt holds: strings, token ids, or lists of them; `param` is the
 * field's name. The caller releases them with nano_api_prompts_destroy. */
struct nano_api_prompt;
bool nano_api_read_prompts(struct nano_api_call *call, const struct nano_api_params *params,
                           const char *param, struct nano_api_prompt **out, int *num_prompts);

/* The same check of a prompt that is given in tokens; `at_least`: there may be more. */
bool nano_api_check_length(struct nano_api_call *call, const char *param, size_t num_tokens,
                           int room, bool at_least);

int nano_api_max_model_len(const struct nano_api *api);

/* Writes a conversation as the model's prompt; release *prompt with nano_free. */
bool nano_api_render(struct nano_api_call *call, const struct nano_api_params *params,
                     char **prompt, size_t *prompt_bytes);

#endif
