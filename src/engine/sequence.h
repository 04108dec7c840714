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
#include "engine/embedding.h"
#include "engine/speculative.h"
#include "engine/text_output.h"

enum nano_sequence_state {
    NANO_SEQUENCE_WAITING,
    NANO_SEQUENCE_RUNNING,
    NANO_SEQUENCE_PREEMPTED, /* waiting again */
    NANO_SEQUENCE_FINISHED
};

/* A step touches little of each sequence: the first cache line, one line of the request and one of
 * the tokens. At hundreds of sequences those cache misses are most of what scheduling costs. */
struct nano_sequence {
    int32_t *tokens;      /* [max_length]: prompt, then output */
    int32_t *block_table; /* [num_kv_groups, table_stride]; -1: behind its group's window */
    struct nano_request_state *request;
    int num_tokens, num_computed_tokens;
    int num_blocks;    /* leading entries of the tables that every group has its blocks for */
    int num_published; /* leading entries whose blocks' content the block manager knows */
    int num_prompt_tokens;
    int max_length;             /* of prompt and output: it is finished then */
    int num_cached_tokens;      /* of the prompt, found in the cache when it was first admitted */
    uint8_t index;              /* which completion of the request */
    uint8_t state;              /* enum nano_sequence_state */
    bool in_prefill;            /* the next token it samples ends a prefill (or a recomputation) */
    bool greedy;                /* nano_sampling_is_greedy */
    bool shares_blocks;         /* its full blocks may be found by others */
    bool wants_prompt_logprobs; /* and has not sent them; only completion 0 does */
    uint8_t pooling;            /* enum nano_pooling of an embedding; 0: it generates */
    bool plain; /* neither text nor logprobs nor anything that could stop it early */
    bool draws; /* nano_sampling_is_draw, and the runner can */

    uint64_t block_hash;  /* of the last published block; the salt when there is none */
    uint64_t parent_hash; /* of the block before that */
    int table_stride;
    /* Where groups have windows: the entries of the others' tables, which are num_blocks or more.
     */
    int num_full_blocks;
    int32_t state_slot; /* of its recurrent state, if it has one */
    int rolling_entry;  /* whose block has the state that is kept until the next one; -1: none */
    /* So many tokens of the prompt are known, but the state behind them was not kept; 0: none. */
    int branch_tokens;
    uint64_t branch_hash;
    uint64_t admitted_ns, first_token_ns;                     /* 0: not yet */
    struct nano_sequence *heap_child, *heap_next, *heap_prev; /* in the waiting queue */

    struct nano_text_output text;     /* when the request is detokenized */
    struct nano_embedding *embedding; /* NULL: it generates */
    struct nano_draft *draft;         /* NULL without speculative decoding */
    /* Of the newest token, and in a step of the tokens behind its proposals: */
    struct nano_token_logprobs *logprobs;        /* [1 + proposals] */
    struct nano_top_logprob *top;                /* [1 + proposals, params.logprobs] */
    struct nano_token_logprobs *prompt_logprobs; /* [num_prompt_tokens] */
    struct nano_top_logprob *prompt_top;         /* [num_prompt_tokens, params.prompt_logprobs] */
};

struct nano_request_state {
    uint64_t id, arrival; /* arrival: the order of submission */
    nano_output_fn on_output;
    void *user_data;
    const int32_t *stop_tokens; /* params' and, unless ignore_eos, the model's */
    int num_stop_tokens;
    int priority;
    int32_t adapter; /* as nano_batch_seq's */
    int num_unfinished;
    bool admitted; /* one of its sequences has left the queue once */
    uint64_t salt; /* begins its block hashes: equal salts share blocks */
    uint64_t submitted_ns;
    struct nano_sequence *sequences;    /* [params.n] */
    struct nano_sampling_params params; /* arrays and strings copied */
    struct nano_arena arena;

    /* Under the engine's lock: */
    struct nano_request_state *next, *next_cancelled; /* the engine's inboxes */
    struct nano_request_state *next_in_table;
    bool cancel_requested;
};

/* Limits that a request is checked against. */
struct nano_request_limits {
    const nano_tokenizer *tokenizer; /* may be NULL */
    int64_t vocab_size;
    int max_model_len, block_size, num_kv_groups;
    int64_t hidden_size;
    bool runner_draws;
    enum nano_pooling pooling; /* of the model */
    const char *encoder_name;  /* of a model that makes only embeddings; else NULL */
    const struct nano_speculative_config *speculative; /* borrowed for as long as the request */
};

/* Checks and copies a request. `prompt` are its token ids, already encoded. Errors name the
 * parameter. */
enum nano_status nano_request_create(struct nano_request_state **out,
                                     const struct nano_request *request, const int32_t *prompt,
                                     size_t num_prompt_tokens,
                                     const struct nano_request_limits *limits,
                                     struct nano_error *err);
void nano_request_destroy(struct nano_request_state *request);

/* Bytes that the request holds. */
size_t nano_request_bytes(const struct nano_request_state *request);

/* Checks the values that do not depend on the model; the message names the parameter. */
enum nano_status nano_sampling_params_check(const struct nano_sampling_params *params,
                                            struct nano_error *err);

#endif
