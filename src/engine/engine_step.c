/* The engine's step: schedule, run, sample, postprocess (append, finish, emit). Sampling happens
 * inside run, on the runner's threads, row by row as logits are ready. With a runner that can, the
 * next step is scheduled and begun while one runs (engine_ahead.c). */
#include <assert.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/os.h"
#include "engine/engine_state.h"

/* ---- Sampling -------------------------------------------------------------------------------- */

static void on_logits(void *context, int output, float *logits)
{
    struct nano_engine *engine = context;
    const struct nano_scheduled_output *target = &engine->scheduler.step.targets[output];
    struct nano_sequence *seq = target->sequence;
    const struct nano_request_state *request = seq->request;
    if (target->prompt_position > 0) {
        int position = target->prompt_position, num_top = request->params.prompt_logprobs;
        nano_sampler_logprobs(&engine->sampler, logits, seq->tokens[position], num_top,
                              &seq->prompt_logprobs[position],
                              seq->prompt_top + (size_t)position * (size_t)num_top);
        return;
    }
    /* Proposed tokens stand behind the sequence's: if they are not what is drawn before this row,
     * its own draw is not looked at. */
    int num_ahead = target->num_ahead, num_tokens = seq->num_tokens + num_ahead;
    bool too_short = num_tokens - seq->num_prompt_tokens < request->params.min_tokens;
    struct nano_sampler_input input = {
        .params = &request->params,
        .tokens = seq->tokens,
        .num_prompt_tokens = seq->num_prompt_tokens,
        .num_tokens = num_tokens,
        .completion = seq->index,
        .banned = request->stop_tokens,
        .num_banned = too_short ? request->num_stop_tokens : 0,
    };
    struct nano_token_logprobs *logprobs = seq->logprobs ? &seq->logprobs[num_ahead] : NULL;
    struct nano_top_logprob *top =
        seq->logprobs ? &seq->top[num_ahead * request->params.logprobs] : NULL;
    engine->scheduler.step.outputs[output].token =
        nano_sampler_sample(&engine->sampler, &input, logits, logprobs, top);
}

static void on_hidden(void *context, int output, const float *row, int64_t first_column,
                      int64_t end_column)
{
    const struct nano_engine *engine = context;
    const struct nano_scheduled_output *target = &engine->scheduler.step.targets[output];
    const struct nano_sequence *seq = target->sequence;
    bool is_first = seq->pooling != NANO_POOLING_MEAN || target->prompt_position == 1;
    nano_embedding_add(seq->embedding, row, is_first, first_column, end_column);
}

/* ---- Emitting -------------------------------------------------------------------------------- */

struct ending {
    enum nano_finish_reason reason;
    const char *stop_string;
    int32_t stop_token;
    const struct nano_error *error;
};

static const struct ending not_ended = {.stop_token = -1};

/* One token of a plain sequence in the middle of its output, which is what nearly all calls are. */
static void emit_token(struct nano_engine *engine, const struct nano_sequence *seq)
{
    const struct nano_request_state *request = seq->request;
    struct nano_output *output = &engine->token_output; /* the other fields stay as they are */
    output->request_id = request->id;
    output->index = seq->index;
    output->token_ids = seq->tokens + seq->num_tokens - 1;
    output->num_prompt_tokens = seq->num_prompt_tokens;
    output->num_cached_tokens = seq->num_cached_tokens;
    output->num_completion_tokens = seq->num_tokens - seq->num_prompt_tokens;
    nano_mem_forbid_end(); /* the client's code may allocate */
    request->on_output(output, request->user_data);
    nano_mem_forbid_begin();
}

/* Sends the last num_new tokens and the text that is ready. */
static void emit(const struct nano_engine *engine, struct nano_sequence *seq, int num_new,
                 const struct ending *ending)
{
    const struct nano_request_state *request = seq->request;
    int num_output = seq->num_tokens - seq->num_prompt_tokens;
    struct nano_output output = {
        .request_id = request->id,
        .index = seq->index,
        .token_ids = seq->tokens + seq->num_tokens - num_new,
        .num_tokens = num_new,
        .text = "",
        .finish_reason = ending->reason,
        .stop_reason = ending->stop_string,
        .stop_token_id = ending->stop_token,
        .error = ending->error,
        .num_prompt_tokens = seq->num_prompt_tokens,
        .num_cached_tokens = seq->num_cached_tokens,
        .num_completion_tokens = num_output,
        .time_ns = engine->token_output.time_ns,
    };
    if (num_new > 0 && request->params.logprobs >= 0)
        output.logprobs = seq->logprobs; /* num_new is 1: every token is sent alone */
    if (seq->wants_prompt_logprobs && seq->num_computed_tokens >= seq->num_prompt_tokens) {
        output.prompt_logprobs = seq->prompt_logprobs;
        output.num_prompt_logprobs = seq->num_prompt_tokens;
        seq->wants_prompt_logprobs = false;
    }
    if (seq->embedding && ending->reason == NANO_FINISH_STOP) {
        output.embedding = seq->embedding->values;
        output.embedding_size = seq->embedding->size;
    }
    if (ending->reason != NANO_FINISH_NONE) {
        uint64_t now = nano_os_clock_ns();
        uint64_t admitted = seq->admitted_ns ? seq->admitted_ns : now;
        uint64_t first = seq->first_token_ns ? seq->first_token_ns : now;
        output.queued_ns = admitted - request->submitted_ns;
        output.prefill_ns = first - admitted;
        output.decode_ns = now - first;
    }
    char after = '\0';
    struct nano_text_output *text = request->params.detokenize ? &seq->text : NULL;
    if (text) {
        output.text = text->held;
        output.text_bytes = text->num_ready;
        after = text->held[text->num_ready];
        text->held[text->num_ready] = '\0';
    }
    nano_mem_forbid_end();
    request->on_output(&output, request->user_data);
    nano_mem_forbid_begin();
    if (text) {
        text->held[text->num_ready] = after;
        nano_text_output_take(text);
    }
}

/* Sends what is left, takes the sequence out of the scheduler and drops the request with its last.
 */
static void finish(struct nano_engine *engine, struct nano_sequence *seq, int num_new,
                   const struct ending *ending)
{
    struct nano_request_state *request = seq->request;
    if (request->params.detokenize)
        nano_text_output_flush(&seq->text);
    emit(engine, seq, num_new, ending);
    nano_scheduler_finish(&engine->scheduler, seq);
    if (--request->num_unfinished > 0)
        return;
    if (ending->reason == NANO_FINISH_CANCELLED)
        engine->totals.num_requests_cancelled++;
    engine->totals.num_requests_finished++;
    nano_engine_forget_request(engine, request);
    nano_request_destroy(request);
}

/* ---- Postprocessing -------------------------------------------------------------------------- */

static bool is_stop_token(const struct nano_request_state *request, int32_t token)
{
    for (int i = 0; i < request->num_stop_tokens; i++)
        if (request->stop_tokens[i] == token)
            return true;
    return false;
}

/* Finds out whether the newest token ends the sequence, and makes its text. */
static struct ending check_end(struct nano_sequence *seq, int32_t token)
{
    const struct nano_request_state *request = seq->request;
    struct ending ending = not_ended;
    if (seq->plain) {
        if (seq->num_tokens >= seq->max_length)
            ending.reason = NANO_FINISH_LENGTH;
        return ending;
    }
    bool may_stop = seq->num_tokens - seq->num_prompt_tokens > request->params.min_tokens;
    if (may_stop && is_stop_token(request, token)) {
        ending.reason = NANO_FINISH_STOP;
        ending.stop_token = token;
    } else {
        if (request->params.detokenize)
            ending.stop_string = nano_text_output_push(&seq->text, token, may_stop);
        if (ending.stop_string)
            ending.reason = NANO_FINISH_STOP;
        else if (seq->num_tokens >= seq->max_length)
            ending.reason = NANO_FINISH_LENGTH;
    }
    return ending;
}

/* False when the sequence is finished, and with it perhaps its request. */
static inline bool append(struct nano_engine *engine, struct nano_sequence *seq, int32_t token,
                          uint64_t now_ns)
{
    seq->tokens[seq->num_tokens++] = token;
    engine->totals.generation_tokens_total++;
    if (seq->in_prefill) {
        seq->in_prefill = false;
        if (seq->first_token_ns == 0)
            seq->first_token_ns = now_ns;
    }
    if (seq->plain && seq->num_tokens < seq->max_length) {
        emit_token(engine, seq);
        return true;
    }
    struct ending ending = check_end(seq, token);
    if (ending.reason == NANO_FINISH_NONE)
        emit(engine, seq, 1, &ending);
    else
        finish(engine, seq, 1, &ending);
    return ending.reason == NANO_FINISH_NONE;
}

/* The step's token and, as long as the proposals were right, those behind them. */
static void append_speculated(struct nano_engine *engine, struct nano_sequence *seq,
                              const struct nano_batch_output *outputs, int num_outputs,
                              uint64_t now_ns)
{
    int32_t first_token = outputs[0].token;
    int num_accepted = 0, num_tokens = 1;
    while (num_accepted + 1 < num_outputs &&
           seq->tokens[seq->num_tokens + num_accepted] == outputs[num_accepted].token)
        num_accepted++;
    engine->totals.draft_tokens_total += (uint64_t)num_outputs - 1;
    engine->totals.accepted_tokens_total += (uint64_t)num_accepted;
    bool goes_on = append(engine, seq, first_token, now_ns);
    for (; goes_on && num_tokens <= num_accepted; num_tokens++) {
        nano_scheduler_accept(&engine->scheduler, seq);
        if (seq->logprobs)
            seq->logprobs[0] = seq->logprobs[num_tokens];
        goes_on = append(engine, seq, outputs[num_tokens].token, now_ns);
    }
    if (!goes_on)
        return;
    nano_scheduler_drop_proposals(&engine->scheduler, seq);
    nano_draft_observe(seq->draft, first_token, num_accepted);
}

static void append_all_speculated(struct nano_engine *engine, uint64_t now_ns)
{
    const struct nano_scheduler *s = &engine->scheduler;
    for (int i = 0, count; i < s->step.batch.num_outputs; i += count) {
        count = 1;
        while (i + count < s->step.batch.num_outputs && s->step.targets[i + count].num_ahead > 0)
            count++;
        if (s->step.targets[i].prompt_position == 0)
            append_speculated(engine, s->step.targets[i].sequence, &s->step.outputs[i], count,
                              now_ns);
    }
}

/* Sequences of which only the prompt was asked for, or its embedding, end without a token. */
static void finish_prompts(struct nano_engine *engine)
{
    const struct nano_scheduler *s = &engine->scheduler;
    for (int i = 0; i < s->step.batch.num_seqs; i++) {
        struct nano_sequence *seq = s->step.scheduled[i];
        struct ending ending = {.reason = NANO_FINISH_LENGTH, .stop_token = -1};
        if (seq->num_computed_tokens < seq->max_length)
            continue;
        if (seq->embedding) {
            nano_embedding_finish(seq->embedding,
                                  seq->pooling == NANO_POOLING_MEAN ? seq->num_prompt_tokens : 1);
            ending.reason = NANO_FINISH_STOP;
        }
        finish(engine, seq, 0, &ending);
    }
}

static void postprocess(struct nano_engine *engine, uint64_t now_ns)
{
    struct nano_scheduler *s = &engine->scheduler;
    nano_scheduler_commit(s);
    if (s->step.num_prefill_tokens > 0)
        finish_prompts(engine);
    if (s->config.speculative.num_speculative_tokens > 0) {
        append_all_speculated(engine, now_ns);
        return;
    }
    const struct nano_scheduled_output *target = s->step.targets;
    const struct nano_batch_output *output = s->step.outputs;
    for (int left = s->step.batch.num_outputs; left > 0; left--, target++, output++)
        if (target->prompt_position == 0)
            append(engine, target->sequence, output->token, now_ns);
}

/* The runner failed: whatever was in the batch cannot go on, and no content of the pool is sure. */
static void fail_batch(struct nano_engine *engine, const struct nano_error *error)
{
    struct nano_scheduler *s = &engine->scheduler;
    struct ending ending = {.reason = NANO_FINISH_ERROR, .stop_token = -1, .error = error};
    nano_log(NANO_LOG_ERROR, "a step failed: %s", error->message);
    for (int i = 0; i < s->step.batch.num_seqs; i++)
        if (s->step.scheduled[i])
            finish(engine, s->step.scheduled[i], 0, &ending);
    nano_block_manager_forget(&s->blocks);
}

/* ---- The clients' side ----------------------------------------------------------------------- */

static void finish_all_sequences(struct nano_engine *engine, struct nano_request_state *request,
                                 const struct ending *ending)
{
    int n = request->params.n;
    for (int i = 0, left = request->num_unfinished; i < n && left > 0; i++) {
        if (request->sequences[i].state == NANO_SEQUENCE_FINISHED)
            continue;
        left--; /* the request is gone after its last one */
        finish(engine, &request->sequences[i], 0, ending);
    }
}

/* Queues what was submitted and ends what was cancelled since the last step. */
static void take_inboxes(struct nano_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    struct nano_request_state *added = engine->inbox, *cancelled = engine->cancelled;
    engine->inbox = NULL;
    engine->inbox_end = &engine->inbox;
    engine->cancelled = NULL;
    pthread_mutex_unlock(&engine->lock);
    for (struct nano_request_state *request = added, *next; request; request = next) {
        next = request->next;
        nano_scheduler_add(&engine->scheduler, request);
    }
    const struct ending ending = {.reason = NANO_FINISH_CANCELLED, .stop_token = -1};
    for (struct nano_request_state *request = cancelled, *next; request; request = next) {
        next = request->next_cancelled;
        finish_all_sequences(engine, request, &ending);
    }
}

void nano_engine_cancel_all(struct nano_engine *engine)
{
    nano_mem_forbid_begin();
    const struct ending ending = {.reason = NANO_FINISH_CANCELLED, .stop_token = -1};
    take_inboxes(engine);
    struct nano_scheduler *s = &engine->scheduler;
    while (s->num_running > 0)
        finish_all_sequences(engine, s->running[0]->request, &ending);
    while (s->waiting.first)
        finish_all_sequences(engine, s->waiting.first->request, &ending);
    nano_engine_drop_next(engine);
    nano_mem_forbid_end();
}

static void count_admitted(struct nano_engine *engine)
{
    const struct nano_scheduled_step *step = &engine->scheduler.step;
    size_t num_admitted = 0;
    for (int i = 0; i < step->batch.num_seqs; i++) {
        struct nano_request_state *request = step->scheduled[i]->request;
        if (request->admitted)
            continue;
        request->admitted = true;
        num_admitted++;
    }
    if (num_admitted > 0) {
        pthread_mutex_lock(&engine->lock);
        engine->num_queued -= num_admitted;
        pthread_mutex_unlock(&engine->lock);
    }
}

static void publish_stats(struct nano_engine *engine)
{
    const struct nano_scheduler *s = &engine->scheduler;
    struct nano_stats *t = &engine->totals;
    t->num_requests_running = s->num_running;
    t->num_requests_waiting = s->waiting.num_sequences;
    t->prompt_tokens_total = s->prompt_tokens_total;
    t->prefix_cache_queries_total = s->prefix_queries_total;
    t->prefix_cache_hits_total = s->prefix_hits_total;
    t->num_preemptions_total = s->num_preemptions_total;
    t->num_blocks_used = s->blocks.num_blocks - s->blocks.num_free;
    t->num_blocks_cached = s->blocks.num_free_cached;
    t->num_blocks_shared = s->blocks.num_shared;
    t->max_blocks_used = s->blocks.max_used;
    pthread_mutex_lock(&engine->lock);
    engine->snapshot = *t;
    engine->snapshot.num_requests_submitted = engine->last_id;
    pthread_mutex_unlock(&engine->lock);
}

/* The last thing in a step, so that who waited has its numbers and its on_step. */
static void report_idle(struct nano_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    if (engine->num_live == 0) {
        engine->is_idle = true;
        pthread_cond_broadcast(&engine->idle);
    }
    pthread_mutex_unlock(&engine->lock);
}

/* on_step sees the batch as it was scheduled, before finished sequences disappear. */
static int fill_step_entries(struct nano_engine *engine)
{
    const struct nano_scheduled_step *s = &engine->scheduler.step;
    int num_entries = 0;
    if (!engine->params.on_step)
        return 0;
    for (int i = 0; i < s->batch.num_seqs; i++) {
        const struct nano_sequence *seq = s->scheduled[i];
        if (!seq)
            continue;
        engine->step_entries[num_entries++] = (struct nano_step_entry){
            .request_id = seq->request->id,
            .index = seq->index,
            .num_computed_tokens = seq->num_computed_tokens,
            .num_scheduled_tokens = s->seqs[i].num_tokens,
            .is_prefill = seq->in_prefill,
        };
    }
    return num_entries;
}

static void call_on_step(struct nano_engine *engine, struct nano_step *step)
{
    nano_mem_forbid_end();
    engine->params.on_step(step, engine->params.on_step_user_data);
    nano_mem_forbid_begin();
}

static struct nano_step_limits step_limits(const struct nano_engine *engine)
{
    struct nano_step_limits limits = {.num_prefill_tokens =
                                          engine->scheduler.config.max_num_batched_tokens,
                                      .time = &engine->step_time};
    if (engine->params.itl_target_ms > 0)
        limits.num_prefill_tokens = nano_step_time_prefill_limit(
            &engine->step_time, (double)engine->params.itl_target_ms * 1e6,
            limits.num_prefill_tokens);
    return limits;
}

/* The batch of this step, if it was not begun in the one before. False when there is nothing to do.
 */
static bool schedule(struct nano_engine *engine, uint64_t now_ns)
{
    if (nano_engine_take_next(engine))
        return true;
    struct nano_step_limits limits = step_limits(engine);
    if (!nano_scheduler_schedule(&engine->scheduler, &limits, now_ns))
        return false;
    count_admitted(engine);
    return true;
}

bool nano_engine_run_step(struct nano_engine *engine, struct nano_error *err)
{
    struct nano_scheduler *s = &engine->scheduler;
    nano_mem_forbid_begin();
    take_inboxes(engine);
    nano_engine_drop_next(engine);
    uint64_t start = nano_os_clock_ns(); /* nothing is admitted before it was submitted */
    if (!schedule(engine, start)) {
        assert(s->num_running == 0 && !s->waiting.first);
        publish_stats(engine);
        nano_mem_forbid_end();
        report_idle(engine);
        return false;
    }
    struct nano_step step = {
        .step = engine->totals.num_steps_total,
        .num_prefill_tokens = s->step.num_prefill_tokens,
        .num_decode_tokens = s->step.num_decode_tokens,
        .num_speculated_tokens = s->step.num_speculated_tokens,
        .num_running = s->num_running,
        .num_waiting = s->waiting.num_sequences,
        .num_preempted = s->step.num_preempted,
        .num_blocks_used = s->blocks.num_blocks - s->blocks.num_free,
        .num_blocks_shared = s->blocks.num_shared,
        .num_blocks = s->blocks.num_blocks,
        .entries = engine->step_entries,
        .num_entries = fill_step_entries(engine),
    };
    engine->totals.computed_tokens_total += (uint64_t)s->step.batch.num_tokens;
    engine->totals.num_steps_total++;
    s->step.batch.on_logits = on_logits;
    s->step.batch.on_hidden = on_hidden;
    s->step.batch.context = engine;
    const uint64_t scheduled = nano_os_clock_ns();
    uint64_t next_schedule_ns;
    struct nano_error run_error = {0};
    enum nano_status status = nano_engine_compute(engine, &next_schedule_ns, &run_error);
    const uint64_t ran = nano_os_clock_ns();
    engine->token_output.time_ns = ran;
    if (status == NANO_OK)
        postprocess(engine, ran);
    else
        fail_batch(engine, &run_error);
    step.schedule_ns = scheduled - start + next_schedule_ns;
    step.run_ns = ran - scheduled - next_schedule_ns;
    /* Ahead, the runner came to it when it was through with the step before. If it hardly had to be
     * waited for, the time is somebody else's: a caller's who was away, or a slow client's. */
    const uint64_t took_ns = ran - (s->step.is_ahead ? engine->ended_ns : scheduled);
    if (status == NANO_OK && !(s->step.is_ahead && step.run_ns < took_ns / 16))
        nano_step_time_add(&engine->step_time, step.num_prefill_tokens, step.num_decode_tokens,
                           step.num_speculated_tokens, took_ns);
    engine->ended_ns = ran;
    step.postprocess_ns = nano_os_clock_ns() - ran;
    engine->totals.schedule_ns_total += step.schedule_ns;
    engine->totals.run_ns_total += step.run_ns;
    engine->totals.postprocess_ns_total += step.postprocess_ns;
    nano_engine_drop_next(engine);
    publish_stats(engine);
    if (engine->params.on_step)
        call_on_step(engine, &step);
    nano_mem_forbid_end();
    report_idle(engine);
    if (status != NANO_OK && err)
        *err = run_error;
    return true;
}
