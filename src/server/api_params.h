/* Parameters: what a request for text says, from its JSON. */
#ifndef NANO_SERVER_API_PARAMS_H
#define NANO_SERVER_API_PARAMS_H

#include "server/api.h"
#include "server/api_fields.h"

enum nano_api_kind { NANO_API_COMPLETION, NANO_API_CHAT, NANO_API_EMBEDDING };

/* Strings and values are borrowed from the JSON, lists live in the reader's arena: all of it lives
 * during the handler's call. What was not given is NULL, false, 0 or the default. */
struct nano_api_params {
    enum nano_api_kind kind;
    const char *model;
    const char *served_name, *lora; /* what the answer calls the model; the engine's adapter */
    struct nano_sampling_params sampling; /* complete, as the engine takes it */
    int priority;
    const char *cache_salt;
    bool stream, include_usage, continuous_usage;
    bool echo, return_token_ids;
    int logprobs;        /* how many to print per token; -1: none */
    int prompt_logprobs; /* the same for the prompt, in a list of its own; -1: none */
    bool add_special_tokens;

    const json_t *prompt; /* of completions, the input of embeddings */

    struct nano_embedding_params embedding;
    bool base64;

    const json_t *messages, *tools, *documents, *chat_template_kwargs; /* of chats */
    const char *reasoning_effort;
    bool add_generation_prompt, continue_final_message;
};

/* Reads and checks everything but the prompt. False with the problem set. */
bool nano_api_read_params(const struct nano_api_reader *reader, const struct nano_api *api,
                          enum nano_api_kind kind, const json_t *root, struct nano_api_params *out);

/* Finds out which of the model's names, or which adapter, params->model is (NULL is fine); false,
 * with the problem, for a name that is not served. */
bool nano_api_settle_model(const struct nano_api_reader *reader, const struct nano_api *api,
                           struct nano_api_params *params);

/* Whether the answers of chats have reasoning that is set apart. */
bool nano_api_splits_reasoning(const struct nano_api *api);

/* Reads only what makes the prompt of a chat (for /tokenize and /apply-template). */
bool nano_api_read_chat_params(const struct nano_api_reader *reader, const json_t *root,
                               struct nano_api_params *out);

#endif
