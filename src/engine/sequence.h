/* Requests and sequences: what a client sent, and its state in the engine.
 *
 *   request ─┬─ sequence 0   waiting ─▶ running ─▶ finished
 *            ├─ sequence 1      ▲          │
 *            └─ … n-1           └ preempted┘   (its blocks are gone, its tokens are not)
 *
 * A request and everything in it is one arena, made on the client's thread in nano_request_create,
 * which is the last time that memory is allocated for it. After submission it belongs to the
 * engine's thread. */
#ifndef NANO_ENGINE_SEQUENCE_H
#define NANO_ENGINE_SEQUENCE_H

#include "base/arena.h"
#include "engine/text_output.h"

enum nano_sequence_state {
    NANO_SEQUENCE_WAITING,
    NANO_SEQUENCE_RUNNING,
    NANO_SEQUENCE_PREEMPTED, /* waiting again */
    NANO_SEQUENCE_FINISHED
};

struct nano_sequence {
    /* What the scheduler reads in every step. */
    int32_t *tokens; /* [max_length]: prompt, then output */
    int num_tokens, num_computed_tokens, num_scheduled_tokens;
    int num_blocks;
    int32_t *block_table;  /* [blocks for max_length] */
    int num_prompt_tokens;
    int max_length;        /* of prompt and output: it is finished then */
    int num_published;     /* leading blocks whose content the block manager knows */
    uint64_t block_hash;   /* of the last published block; the salt when there is none */
    struct nano_request_state *request;
    enum nano_sequence_state state;
    int index;             /* which completion of the request */
    bool in_prefill;       /* the next token it samples ends a prefill (or a recomputation) */
    struct nano_sequence *heap_child, *heap_next, *heap_prev; /* in the waiting queue */

    bool prompt_logprobs_sent;

    int num_cached_tokens; /* of the prompt, found in the cache when it was first admitted */
    int num_sent_tokens;   /* output tokens given to the client */
    struct nano_text_output text; /* when the request is detokenized */
    struct nano_token_logprobs logprobs;         /* of the newest token */
    struct nano_top_logprob *top;
    struct nano_token_logprobs *prompt_logprobs; /* [num_prompt_tokens] */
    struct nano_top_logprob *prompt_top;         /* [num_prompt_tokens, num_prompt_top] */
    uint64_t admitted_ns, first_token_ns;        /* 0: not yet */
};

struct nano_request_state {
    struct nano_arena arena;
    struct nano_sampling_params params; /* arrays and strings copied */
    const int32_t *stop_tokens;         /* params' and, unless ignore_eos, the model's */
    int num_stop_tokens;
    bool greedy;                        /* nano_sampling_is_greedy */
    bool shares_blocks;                 /* its full blocks may be found by others */
    uint64_t id, arrival;               /* arrival: the order of submission */
    int priority;
    uint64_t salt;                      /* begins its block hashes: equal salts share blocks */
    nano_output_fn on_output;
    void *user_data;
    uint64_t submitted_ns;
    int num_unfinished;
    struct nano_sequence *sequences;    /* [params.n] */
    bool admitted;                      /* one of its sequences has left the queue once */

    /* Under the engine's lock: */
    struct nano_request_state *next, *next_cancelled; /* the engine's inboxes */
    struct nano_request_state *next_in_table;
    bool cancel_requested;
};

/* Limits that a request is checked against. */
struct nano_request_limits {
    const nano_tokenizer *tokenizer; /* may be NULL */
    int64_t vocab_size;
    int max_model_len, block_size;
};

/* Checks and copies a request. `prompt` are its token ids, already encoded. Errors name the parameter. */
enum nano_status nano_request_create(struct nano_request_state **out, const struct nano_request *request,
                                     const int32_t *prompt, size_t num_prompt_tokens,
                                     const struct nano_request_limits *limits, struct nano_error *err);
void nano_request_destroy(struct nano_request_state *request);

/* Bytes that the request holds. */
size_t nano_request_bytes(const struct nano_request_state *request);

/* Checks the values that do not depend on the model; the message names the parameter. */
enum nano_status nano_sampling_params_check(const struct nano_sampling_params *params, struct nano_error *err);

#endif
