/* Scheduler: decides what one step computes.
 *
 *   waiting ──admit──▶ running ──▶ batch: tokens, block tables, rows to sample
 *      ▲                  │
 *      └────preempt───────┘  when the pool has no free block, the last one in order loses its own
 *
 * One order, (priority, arrival), decides everything: who is admitted first, who computes first,
 * who is preempted last. A step has a budget of max_num_batched_tokens. Running sequences come
 * first; each has one token of the budget for sure, which is all that decoding needs; prefills take
 * the rest in chunks, and what is left then admits waiting ones. So a long prompt never stops the
 * others.
 *
 * Proposed tokens (speculative.h) are rows behind a decoding sequence's own. They take what nobody
 * else could use: budget only in steps without prefill, blocks only while one is left free for
 * each running sequence, and blocks that hold no accepted token go back after the step. Blocks are
 * published for the sequence's own tokens only.
 *
 * Admission takes the blocks of the whole prompt at once (of groups with windows those of a chunk):
 * leading blocks whose content is in the pool already are shared, and only the rest is computed. A
 * block is published when the step that completes it is scheduled, not when it has run: a runner
 * stores K and V of the whole batch before any of its attention reads them, so even sequences of
 * the same step share it. A recurrent state is there only after the step: who could begin with it
 * waits.
 *
 * Running ahead (scheduler_ahead.c): while a batch of nothing but decoding computes, the next one
 * is filled with the same sequences' next tokens, whose ids are yet to come. Blocks that these
 * complete are published when the step is over, and their ids are known.
 *
 * Embeddings are prefills whose hidden rows are outputs. An encoder's are admitted only where the
 * step has room for the whole prompt, so none is ever in the middle of one between two steps.
 *
 * Progress: the pool holds at least one sequence of max_model_len, so the first one in order can
 * always run; there is a state slot for each sequence that runs. It belongs to the engine's thread;
 * a step allocates nothing. */
#ifndef NANO_ENGINE_SCHEDULER_H
#define NANO_ENGINE_SCHEDULER_H

#include "engine/block_manager.h"
#include "engine/kv_shape.h"
#include "engine/step_time.h"
#include "engine/waiting_queue.h"
#include "runner/runner.h"

struct nano_scheduler_config {
    int max_num_seqs, max_num_batched_tokens;
    int num_blocks;
    struct nano_kv_shape kv;
    bool whole_prompts; /* a prompt is one step: the model is bidirectional */
    bool runs_ahead;    /* there is room for a second batch */
    struct nano_speculative_config speculative;
};

/* What an output row of the batch is for. */
struct nano_scheduled_output {
    struct nano_sequence *sequence;
    int prompt_position; /* its logits predict this prompt token, or its hidden row is that of the
                            one before it; 0: they are sampled; -1: the row is dead */
    int num_ahead;       /* proposed tokens between the sequence's last one and what is sampled */
};

/* What one step computes: batch points into the arrays. */
struct nano_scheduled_step {
    struct nano_batch batch;
    struct nano_sequence **scheduled;      /* [max_num_seqs], as batch.seqs */
    int32_t *tokens;                       /* [max_num_batched_tokens] */
    struct nano_batch_seq *seqs;           /* [max_num_seqs] */
    struct nano_batch_output *outputs;     /* [max_num_batched_tokens] */
    struct nano_scheduled_output *targets; /* [max_num_batched_tokens], as outputs */
    int num_prefill_tokens, num_decode_tokens, num_speculated_tokens, num_preempted;
    /* It was filled while the step before it computed. Row, sequence and output i are one; a row
     * whose sequence has ended since then is dead: scheduled and its target's sequence are NULL. */
    bool is_ahead;
    int num_live; /* of those the others */
};

struct nano_scheduler {
    struct nano_scheduler_config config;
    bool plain; /* one KV group that sees everything, no recurrent state */
    struct nano_block_manager blocks;
    struct nano_waiting_queue waiting;
    struct nano_sequence **running; /* [max_num_seqs], in order */
    int num_running;

    struct nano_scheduled_step step;  /* the one in work */
    struct nano_scheduled_step ahead; /* the next, of no sequences when there is none; its memory is
                                         there when config.runs_ahead */

    /* Set by the owner where there are recurrent states; called between runs of the runner. */
    void (*copy_state)(void *runner_state, int32_t src_state, int32_t dst_state);
    void *runner_state;

    uint64_t num_preemptions_total, prefix_queries_total, prefix_hits_total, prompt_tokens_total;
};

size_t nano_scheduler_bytes(const struct nano_scheduler_config *config);
enum nano_status nano_scheduler_init(struct nano_scheduler *scheduler,
                                     const struct nano_scheduler_config *config,
                                     struct nano_error *err);
void nano_scheduler_deinit(struct nano_scheduler *scheduler);

/* Queues all sequences of a request. */
void nano_scheduler_add(struct nano_scheduler *scheduler, struct nano_request_state *request);

/* What a step may do, beside the fixed limits. */
struct nano_step_limits {
    int num_prefill_tokens;            /* at least 1; it counts while other sequences decode */
    const struct nano_step_time *time; /* what proposals are weighed with */
};

/* Fills scheduler->step; there must be no next one. False when there is nothing to compute. */
bool nano_scheduler_schedule(struct nano_scheduler *scheduler,
                             const struct nano_step_limits *limits, uint64_t now_ns);

/* After the step's batch has run: its tokens are computed, but for the proposed ones. */
void nano_scheduler_commit(struct nano_scheduler *scheduler);

/* The next proposed token of a sequence in the batch was right: it is computed, too. */
void nano_scheduler_accept(struct nano_scheduler *scheduler, struct nano_sequence *sequence);

/* Takes back the blocks that were for proposals and hold no computed token. */
void nano_scheduler_drop_proposals(struct nano_scheduler *scheduler,
                                   struct nano_sequence *sequence);

/* Takes a waiting or running sequence out and releases its blocks; its state becomes finished, and
 * its row of the next step dead. */
void nano_scheduler_finish(struct nano_scheduler *scheduler, struct nano_sequence *sequence);

/* ---- running ahead ---- */

/* True if the step is one token of each running sequence, chosen by the runner: what comes next can
 * be scheduled before they are known. */
bool nano_scheduler_may_run_ahead(const struct nano_scheduler *scheduler);

/* Of such a step: fills scheduler->ahead with all sequences that are not surely over with it. Token
 * -1 - k is the one that output k of the step will give. False when that should wait for the step's
 * end: there are no blocks for it, or somebody who waits could come in. Blocks behind windows may
 * have been given back then; the step's batch has begun, and does not need its tables any more. */
bool nano_scheduler_run_ahead(struct nano_scheduler *scheduler);

/* The step is over and the next one takes its place. */
void nano_scheduler_advance(struct nano_scheduler *scheduler);

/* There is no next step any more. */
void nano_scheduler_drop_ahead(struct nano_scheduler *scheduler);

/* True if the invariants of running list and blocks hold between two steps (tests). */
bool nano_scheduler_check(const struct nano_scheduler *scheduler);

#endif
