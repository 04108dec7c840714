/* The engine's state, shared by engine.c (lifecycle, the clients' side) and engine_step.c and
 * engine_ahead.c (the engine thread's side).
 *
 *   clients ── lock ──▶ inbox, cancelled ─▶ step: schedule ▶ run ▶ postprocess ─▶ callbacks
 *
 * What stands under `lock` is shared; everything else belongs to whoever runs steps. Callbacks are
 * called without the lock, so they may submit and cancel. */
#ifndef NANO_ENGINE_ENGINE_STATE_H
#define NANO_ENGINE_ENGINE_STATE_H

#include <pthread.h>

#include "engine/memory_plan.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"

struct nano_engine {
    nano_model *model;
    const nano_tokenizer *tokenizer; /* borrowed; may be NULL */
    struct nano_program *program;
    struct nano_adapters adapters; /* names alone once it runs */
    struct nano_engine_params params;
    struct nano_engine_setup setup;
    void *runner_state;
    struct nano_runner_caps caps;
    enum nano_pooling pooling; /* what the model's file says, or its kind */
    struct nano_kernels kernels;
    struct nano_sampler sampler;
    struct nano_scheduler scheduler;
    struct nano_step_time step_time;
    struct nano_step_entry *step_entries; /* [max_num_seqs], when params.on_step is set */
    struct nano_output token_output;      /* what emit_token sends, as it is at rest */
    struct nano_stats totals;             /* the engine thread's own counts */
    uint64_t salt;                        /* of requests that share blocks with each other */

    bool runs_ahead; /* batches are begun while others compute: it is wanted, and the runner can */
    bool has_next;   /* the batch of scheduler.ahead is begun, */
    struct nano_error begin_error; /* if this is none */
    uint64_t ended_ns;             /* when the runner was through with the last batch */
    uint64_t num_steps_ahead;      /* begun before the one before them was over */

    pthread_t thread;
    bool thread_started;

    pthread_mutex_t runner_lock; /* the runner does one thing at a time: run, or tell its profile */

    /* Under the lock: */
    pthread_mutex_t lock;
    pthread_cond_t wake; /* there is something in the inboxes */
    pthread_cond_t idle; /* is_idle has become true */
    struct nano_request_state *inbox, **inbox_end;
    struct nano_request_state *cancelled;
    struct nano_request_state **table; /* unfinished requests by id: [table_mask + 1] chains */
    size_t table_mask;
    size_t num_live;        /* unfinished requests */
    size_t num_queued;      /* of them, those that have not been admitted yet */
    uint64_t request_bytes; /* that they hold */
    uint64_t last_id;
    bool is_idle; /* no unfinished request, and the step of the last one is over */
    bool stopping;
    struct nano_stats snapshot;
};

/* One step; false when there was nothing to do. */
bool nano_engine_run_step(struct nano_engine *engine, struct nano_error *err);

/* Computes the step's batch, which may have been begun already, and may begin the next one.
 * *schedule_ns: what it took to schedule that. */
enum nano_status nano_engine_compute(struct nano_engine *engine, uint64_t *schedule_ns,
                                     struct nano_error *err);

/* Makes the next step, if it has been begun, the one in work. */
bool nano_engine_take_next(struct nano_engine *engine);

/* Waits for the next step and forgets it, if none of its sequences is left. */
void nano_engine_drop_next(struct nano_engine *engine);

/* Ends every request with NANO_FINISH_CANCELLED. */
void nano_engine_cancel_all(struct nano_engine *engine);

/* Takes a request out of the table when its last sequence is finished. */
void nano_engine_forget_request(struct nano_engine *engine, struct nano_request_state *request);

#endif
