/* The API: OpenAI's routes (and ours beside them) on top of an engine. */
#ifndef NANO_SERVER_API_H
#define NANO_SERVER_API_H

#include "server/http.h"
#include "server/metrics.h"

/* What the routes work on; filled by the server when the model is loaded, constant from then on. */
struct nano_api {
    nano_engine *engine;
    nano_model *model;                 /* NULL with the mock runner */
    const nano_tokenizer *tokenizer;   /* may be NULL */
    nano_chat_template *chat_template; /* NULL: no chat */
    const char *bos_token, *eos_token; /* as templates write them; NULL: there is none */
    struct nano_metrics *metrics;
    const char *const *served_model_names; /* the first is the one that answers carry */
    int num_served_model_names;
    const char *lora;              /* the engine's adapter of requests for the model; NULL: none */
    const char *const *lora_names; /* adapters that requests may name as their model */
    int num_lora_names;
    int max_logprobs;                     /* most that a request may ask for */
    uint64_t created_s;                   /* when the model was loaded, Unix time */
    bool reasoning;                       /* split reasoning from content */
    struct nano_sampling_params sampling; /* what a request does not say */
    const char
        *chat_template_kwargs; /* JSON object of the operator's, or NULL; a request's override it */
};

/* Answers a request whose path is one of the API's (/v1/…, /tokenize, /detokenize,
 * /apply-template); false, and nothing done, for other paths. A known path with another method gets
 * 405. */
bool nano_api_handle(const struct nano_api *api, struct nano_http_exchange *exchange);

/* {"error":{"message","type","param","code"}}; `param` may be NULL. `type` follows from the status.
 */
void nano_api_error(struct nano_http_exchange *exchange, int status, const char *param,
                    const char *fmt, ...) NANO_PRINTF(4, 5);

#endif
