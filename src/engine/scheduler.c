/* Scheduler. */
#include "engine/scheduler.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "engine/sampler.h"
#include "engine/scheduler_blocks.h"

size_t nano_scheduler_bytes(const struct nano_scheduler_config *c)
{
    size_t per_seq = sizeof(struct nano_sequence *) + sizeof(struct nano_batch_seq);
    size_t per_token =
        sizeof(int32_t) + sizeof(struct nano_batch_output) + sizeof(struct nano_scheduled_output);
    size_t per_step =
        (size_t)c->max_num_seqs * per_seq + (size_t)c->max_num_batched_tokens * per_token;
    return (size_t)c->max_num_seqs * sizeof(struct nano_sequence *) +
           (c->runs_ahead ? 2 : 1) * per_step +
           nano_block_manager_bytes(c->num_blocks, c->kv.block_size, c->kv.num_states);
}

static bool init_step(struct nano_scheduled_step *step, const struct nano_scheduler_config *config)
{
    size_t num_seqs = (size_t)config->max_num_seqs,
           num_tokens = (size_t)config->max_num_batched_tokens;
    step->scheduled = nano_mem_calloc(num_seqs, sizeof *step->scheduled);
    step->seqs = nano_mem_calloc(num_seqs, sizeof *step->seqs);
    step->tokens = nano_mem_calloc(num_tokens, sizeof *step->tokens);
    step->outputs = nano_mem_calloc(num_tokens, sizeof *step->outputs);
    step->targets = nano_mem_calloc(num_tokens, sizeof *step->targets);
    step->batch =
        (struct nano_batch){.tokens = step->tokens, .seqs = step->seqs, .outputs = step->outputs};
    return step->scheduled && step->seqs && step->tokens && step->outputs && step->targets;
}

static void deinit_step(struct nano_scheduled_step *step)
{
    nano_mem_free(step->scheduled);
    nano_mem_free(step->seqs);
    nano_mem_free(step->tokens);
    nano_mem_free(step->outputs);
    nano_mem_free(step->targets);
}

enum nano_status nano_scheduler_init(struct nano_scheduler *s,
                                     const struct nano_scheduler_config *config,
                                     struct nano_error *err)
{
    *s = (struct nano_scheduler){.config = *config,
                                 .plain = config->kv.num_groups == 1 &&
                                          config->kv.num_windowed == 0 &&
                                          config->kv.num_states == 0};
    enum nano_status status = nano_block_manager_init(
        &s->blocks, config->num_blocks, config->kv.block_size, config->kv.num_states, err);
    if (status != NANO_OK)
        return status;
    s->running = nano_mem_calloc((size_t)config->max_num_seqs, sizeof *s->running);
    if (!s->running || !init_step(&s->step, config) ||
        (config->runs_ahead && !init_step(&s->ahead, config))) {
        nano_scheduler_deinit(s);
        return nano_error_no_memory(err, "the scheduler", nano_scheduler_bytes(config));
    }
    return NANO_OK;
}

void nano_scheduler_deinit(struct nano_scheduler *s)
{
    nano_block_manager_deinit(&s->blocks);
    nano_mem_free(s->running);
    deinit_step(&s->step);
    deinit_step(&s->ahead);
    *s = (struct nano_scheduler){0};
}

/* How many sequences ahead the loop below asks for tokens that are not in the cache. */
#define PREFETCH_DISTANCE 4

void nano_scheduler_add(struct nano_scheduler *s, struct nano_request_state *request)
{
    for (int i = 0; i < request->params.n; i++) {
        struct nano_sequence *seq = &request->sequences[i];
        seq->state = NANO_SEQUENCE_WAITING;
        seq->block_hash = request->salt;
        nano_waiting_queue_push(&s->waiting, seq);
    }
}

static void preempt_last(struct nano_scheduler *s)
{
    struct nano_sequence *seq = s->running[--s->num_running];
    nano_scheduler_release(s, seq);
    seq->state = NANO_SEQUENCE_PREEMPTED;
    nano_waiting_queue_push(&s->waiting, seq);
    s->step.num_preempted++;
    s->num_preemptions_total++;
}

/* True if num_tokens computed tokens fill a block that is not published yet. */
static inline bool completes_block(const struct nano_scheduler *s, const struct nano_sequence *seq,
                                   int num_tokens)
{
    return (seq->num_published + 1) * s->config.kv.block_size <= num_tokens;
}

/* Makes the blocks findable that are full once num_tokens tokens are computed. */
static void publish_blocks(struct nano_scheduler *s, struct nano_sequence *seq, int num_tokens)
{
    int block_size = s->config.kv.block_size;
    while (completes_block(s, seq, num_tokens)) {
        const int32_t *tokens = seq->tokens + (size_t)seq->num_published * (size_t)block_size;
        uint64_t hash = nano_block_hash(seq->block_hash, tokens, block_size);
        const int32_t *block = seq->block_table + seq->num_published;
        for (int g = 0; g < s->config.kv.num_groups; g++, block += seq->table_stride)
            nano_block_publish(&s->blocks, *block, g, hash, seq->block_hash, tokens);
        seq->parent_hash = seq->block_hash;
        seq->block_hash = hash;
        seq->num_published++;
    }
}

/* False where only the sampler knows what to do: until there are min_tokens, some are banned. */
static bool make_draw(const struct nano_sequence *seq, int num_ahead, struct nano_draw *out)
{
    const struct nano_sampling_params *params = &seq->request->params;
    int position = seq->num_tokens + num_ahead - seq->num_prompt_tokens;
    if (position < params->min_tokens)
        return false;
    *out = nano_sampling_draw(params, seq->index, position);
    return true;
}

static inline void add_output(struct nano_scheduler *s, struct nano_sequence *seq, int row,
                              int prompt_position, int num_ahead)
{
    int i = s->step.batch.num_outputs++;
    s->step.outputs[i].row = row;
    s->step.outputs[i].greedy = prompt_position == 0 && seq->greedy;
    s->step.outputs[i].draws =
        prompt_position == 0 && seq->draws && make_draw(seq, num_ahead, &s->step.outputs[i].draw);
    s->step.outputs[i].hidden = seq->pooling != NANO_POOLING_DEFAULT;
    s->step.targets[i] = (struct nano_scheduled_output){seq, prompt_position, num_ahead};
}

/* A sequence's next num_tokens tokens become the last rows of the batch. */
static inline void add_rows(struct nano_scheduler *s, struct nano_sequence *seq, int num_tokens)
{
    struct nano_batch *batch = &s->step.batch;
    int first = seq->num_computed_tokens, i = batch->num_seqs++;
    int first_row = batch->num_tokens;
    batch->num_tokens += num_tokens;
    s->step.seqs[i] = (struct nano_batch_seq){.first_token = first_row,
                                              .num_tokens = num_tokens,
                                              .first_position = first,
                                              .block_table = seq->block_table,
                                              .adapter = seq->request->adapter};
    if (!s->plain) {
        s->step.seqs[i].table_stride = seq->table_stride;
        s->step.seqs[i].state = seq->state_slot;
    }
    s->step.scheduled[i] = seq;
    if (seq->shares_blocks && completes_block(s, seq, first + num_tokens))
        publish_blocks(s, seq, first + num_tokens);
}

static inline void add_decode(struct nano_scheduler *s, struct nano_sequence *seq)
{
    int row = s->step.batch.num_tokens;
    s->step.tokens[row] = seq->tokens[seq->num_computed_tokens];
    s->step.num_decode_tokens++;
    add_rows(s, seq, 1);
    add_output(s, seq, row, 0, 0);
}

/* The hidden rows that an embedding takes, of the prompt's positions [first, end). */
static void add_hidden_rows(struct nano_scheduler *s, struct nano_sequence *seq, int first_row,
                            int first, int end)
{
    int last = seq->num_prompt_tokens - 1;
    for (int p = first; p < end; p++)
        if (seq->pooling == NANO_POOLING_MEAN || p == (seq->pooling == NANO_POOLING_CLS ? 0 : last))
            add_output(s, seq, first_row + p - first, p + 1, 0);
}

static void add_prefill(struct nano_scheduler *s, struct nano_sequence *seq, int num_tokens)
{
    int first_row = s->step.batch.num_tokens;
    int first = seq->num_computed_tokens, end = first + num_tokens;
    memcpy(s->step.tokens + first_row, seq->tokens + first,
           (size_t)num_tokens * sizeof *s->step.tokens);
    s->step.num_prefill_tokens += num_tokens;
    add_rows(s, seq, num_tokens);
    if (seq->wants_prompt_logprobs)
        for (int p = first; p < end && p + 1 < seq->num_prompt_tokens; p++)
            add_output(s, seq, first_row + p - first, p + 1, 0);
    if (seq->embedding)
        add_hidden_rows(s, seq, first_row, first, end);
    if (end == seq->num_tokens && end < seq->max_length)
        add_output(s, seq, first_row + num_tokens - 1, 0, 0);
}

/* Gives the sequence the blocks for num_tokens tokens, preempting from the end of the running list.
 * False when it was preempted itself. */
static bool grow(struct nano_scheduler *s, struct nano_sequence *seq, int num_tokens)
{
    if (s->config.kv.num_windowed > 0)
        nano_scheduler_leave_blocks(s, seq);
    for (int needed = nano_kv_entries(&s->config.kv, num_tokens); seq->num_blocks < needed;) {
        if (s->blocks.num_free >= nano_scheduler_entry_blocks(s, seq)) {
            nano_scheduler_add_entry(s, seq);
            continue;
        }
        const struct nano_sequence *victim = s->running[s->num_running - 1];
        preempt_last(s);
        if (victim == seq)
            return false;
    }
    return true;
}

/* Adds at most `limit` proposals behind the sequence that was added last and decodes; returns how
 * many. They may have blocks as long as one is left free for each running sequence. */
static int speculate(struct nano_scheduler *s, struct nano_sequence *seq, int limit,
                     double row_cost)
{
    int room = seq->max_length - seq->num_tokens - 1; /* one token comes in any case */
    int num_proposed = nano_draft_propose(seq->draft, seq->tokens, seq->num_tokens,
                                          limit < room ? limit : room, row_cost);
    int needed = nano_kv_entries(&s->config.kv, seq->num_tokens + num_proposed);
    if (s->config.kv.num_windowed > 0 && seq->num_blocks < needed)
        nano_scheduler_leave_blocks(s, seq);
    while (seq->num_blocks < needed &&
           s->blocks.num_free >= (s->num_running + 1) * s->config.kv.num_groups)
        nano_scheduler_add_entry(s, seq);
    int fitting = seq->num_blocks * s->config.kv.block_size - seq->num_tokens;
    if (fitting < num_proposed)
        seq->draft->num_proposed = num_proposed = fitting;
    for (int i = 0; i < num_proposed; i++) {
        int row = s->step.batch.num_tokens++;
        s->step.tokens[row] = seq->tokens[seq->num_tokens + i];
        add_output(s, seq, row, 0, 1 + i);
    }
    s->step.seqs[s->step.batch.num_seqs - 1].num_tokens += num_proposed;
    s->step.num_decode_tokens += num_proposed;
    s->step.num_speculated_tokens += num_proposed;
    return num_proposed;
}

/* Tokens of this step that nothing but proposals can use; none where no proposal can be worth it.
 */
static int speculation_budget(const struct nano_scheduler *s, int num_decoding, double row_cost,
                              int budget)
{
    bool may_admit = s->waiting.first && s->num_running < s->config.max_num_seqs;
    if (s->config.speculative.num_speculative_tokens == 0 || num_decoding < s->num_running ||
        may_admit || row_cost >= 1.0)
        return 0;
    return budget - s->num_running;
}

static int count_decoding(const struct nano_scheduler *s)
{
    int count = 0;
    for (int i = 0; i < s->num_running; i++)
        count += !s->running[i]->in_prefill;
    return count;
}

/* What a step has to give: tokens in all, and of them for prefill. */
struct budget {
    int tokens, prefill_tokens;
};

static struct budget make_budget(const struct nano_scheduler *s,
                                 const struct nano_step_limits *limits, int *num_decoding)
{
    int tokens = s->config.max_num_batched_tokens, prefill_tokens = tokens;
    bool limited = limits->num_prefill_tokens < tokens;
    *num_decoding = 0; /* counting touches every sequence */
    if (limited || s->config.speculative.num_speculative_tokens > 0)
        *num_decoding = count_decoding(s);
    if (limited && *num_decoding > 0)
        prefill_tokens = limits->num_prefill_tokens;
    return (struct budget){tokens, prefill_tokens};
}

static int smallest(int a, int b, int c)
{
    int ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* What of a chunk fits into the free blocks of groups with windows, less one for each sequence that
 * runs: to be faster is no reason to preempt. */
static int fit_chunk(struct nano_scheduler *s, struct nano_sequence *seq, int chunk)
{
    const struct nano_kv_shape *kv = &s->config.kv;
    if (kv->num_windowed > 0 &&
        seq->num_computed_tokens + chunk > seq->num_blocks * kv->block_size) {
        nano_scheduler_leave_blocks(s, seq);
        int num_spare = s->blocks.num_free - s->num_running * kv->num_groups;
        int num_entries = seq->num_blocks + (num_spare > 0 ? num_spare / kv->num_windowed : 0);
        int64_t room = (int64_t)num_entries * kv->block_size - seq->num_computed_tokens;
        if (room <= 0)
            room = kv->block_size;
        if (room < chunk)
            chunk = (int)room;
    }
    return nano_scheduler_cut_chunk(s, seq, chunk);
}

static void schedule_running(struct nano_scheduler *s, struct budget *budget, int spare,
                             double row_cost)
{
    for (int i = 0; i < s->num_running; i++) {
        struct nano_sequence *seq = s->running[i];
        if (i + PREFETCH_DISTANCE < s->num_running) {
            const struct nano_sequence *later = s->running[i + PREFETCH_DISTANCE];
            __builtin_prefetch(&later->tokens[later->num_computed_tokens]);
        }
        int chunk = 1;
        if (seq->in_prefill) {
            int needed = seq->num_tokens - seq->num_computed_tokens;
            int room = budget->tokens - (s->num_running - 1 - i); /* the others' one token each */
            chunk = smallest(needed, room, budget->prefill_tokens);
            if (chunk == 0)
                continue; /* those before it take all that the latency target leaves */
            if (!s->plain)
                chunk = fit_chunk(s, seq, chunk);
        }
        int end = seq->num_computed_tokens + chunk;
        if (end > seq->num_blocks * s->config.kv.block_size && !grow(s, seq, end))
            return;
        if (seq->in_prefill) {
            add_prefill(s, seq, chunk);
            budget->prefill_tokens -= chunk;
        } else {
            add_decode(s, seq);
            if (spare > 0) {
                int num_proposed = speculate(s, seq, spare, row_cost);
                spare -= num_proposed;
                chunk += num_proposed;
            }
        }
        budget->tokens -= chunk;
    }
}

static void insert_running(struct nano_scheduler *s, struct nano_sequence *seq)
{
    int i = s->num_running++;
    for (; i > 0 && nano_sequence_before(seq, s->running[i - 1]); i--)
        s->running[i] = s->running[i - 1];
    s->running[i] = seq;
}

/* Takes the first waiting sequence in if its blocks are there and nobody is about to compute what
 * it begins with. */
static bool admit(struct nano_scheduler *s, struct budget *budget, uint64_t now_ns)
{
    struct nano_sequence *seq = s->waiting.first;
    struct nano_prefix prefix;
    if (s->config.whole_prompts && seq->num_tokens > budget->tokens)
        return false;
    nano_scheduler_find_prefix(s, seq, &prefix);
    if (nano_scheduler_awaits_state(s, &prefix) || !nano_scheduler_has_room(s, seq, &prefix))
        return false;
    nano_waiting_queue_remove(&s->waiting, seq);
    if (s->config.kv.num_states > 0)
        nano_scheduler_begin_state(s, seq, &prefix);
    nano_scheduler_begin_blocks(s, seq, &prefix);
    seq->num_published = prefix.num_entries;
    seq->block_hash = prefix.hash;
    seq->num_computed_tokens = prefix.num_entries * s->config.kv.block_size;
    s->prefix_queries_total += (uint64_t)seq->num_tokens;
    s->prefix_hits_total += (uint64_t)seq->num_computed_tokens;
    if (seq->admitted_ns == 0) {
        seq->admitted_ns = now_ns;
        seq->num_cached_tokens = seq->num_computed_tokens;
        s->prompt_tokens_total += (uint64_t)seq->num_prompt_tokens;
    }
    seq->state = NANO_SEQUENCE_RUNNING;
    insert_running(s, seq);
    int rest = seq->num_tokens - seq->num_computed_tokens;
    int chunk =
        nano_scheduler_cut_chunk(s, seq, smallest(rest, budget->tokens, budget->prefill_tokens));
    while (seq->num_blocks < nano_kv_entries(&s->config.kv, seq->num_computed_tokens + chunk))
        nano_scheduler_add_entry(s, seq);
    add_prefill(s, seq, chunk);
    budget->tokens -= chunk;
    budget->prefill_tokens -= chunk;
    return true;
}

bool nano_scheduler_schedule(struct nano_scheduler *s, const struct nano_step_limits *limits,
                             uint64_t now_ns)
{
    assert(s->ahead.batch.num_seqs == 0);
    s->step.batch.num_tokens = s->step.batch.num_seqs = s->step.batch.num_outputs = 0;
    s->step.is_ahead = false;
    s->step.num_prefill_tokens = s->step.num_decode_tokens = s->step.num_preempted = 0;
    s->step.num_speculated_tokens = 0;
    int num_decoding;
    struct budget budget = make_budget(s, limits, &num_decoding);
    double row_cost = nano_step_time_row_cost(limits->time, num_decoding);
    schedule_running(s, &budget, speculation_budget(s, num_decoding, row_cost, budget.tokens),
                     row_cost);
    /* Whoever was preempted in this step would only be preempted again. */
    while (budget.tokens > 0 && budget.prefill_tokens > 0 && s->step.num_preempted == 0 &&
           s->waiting.first && s->num_running < s->config.max_num_seqs)
        if (!admit(s, &budget, now_ns))
            break;
    return s->step.batch.num_tokens > 0;
}

/* What the tokens that a step has computed make possible or unnecessary. */
static void arrive(struct nano_scheduler *s)
{
    for (int i = 0; i < s->step.batch.num_seqs; i++) {
        struct nano_sequence *seq = s->step.scheduled[i];
        if (s->config.kv.num_states > 0)
            nano_scheduler_keep_state(s, seq);
        if (s->config.kv.num_windowed > 0 && seq->in_prefill)
            nano_scheduler_leave_blocks(s, seq);
    }
}

/* Only now the tokens are known that some blocks end with. */
static void commit_ahead(struct nano_scheduler *s)
{
    for (int i = 0; i < s->step.batch.num_seqs; i++) {
        struct nano_sequence *seq = s->step.scheduled[i];
        if (!seq)
            continue;
        seq->num_computed_tokens++;
        if (seq->shares_blocks && completes_block(s, seq, seq->num_computed_tokens))
            publish_blocks(s, seq, seq->num_computed_tokens);
    }
}

void nano_scheduler_commit(struct nano_scheduler *s)
{
    if (s->step.is_ahead) {
        commit_ahead(s);
        return;
    }
    for (int i = 0; i < s->step.batch.num_seqs; i++)
        s->step.scheduled[i]->num_computed_tokens += s->step.seqs[i].num_tokens;
    if (!s->plain)
        arrive(s);
    if (s->step.num_speculated_tokens == 0)
        return;
    for (int i = 0; i < s->step.batch.num_seqs; i++)
        if (!s->step.scheduled[i]->in_prefill)
            s->step.scheduled[i]->num_computed_tokens = s->step.scheduled[i]->num_tokens;
}

void nano_scheduler_accept(struct nano_scheduler *s, struct nano_sequence *seq)
{
    seq->num_computed_tokens++;
    if (seq->shares_blocks && completes_block(s, seq, seq->num_computed_tokens))
        publish_blocks(s, seq, seq->num_computed_tokens);
}

void nano_scheduler_drop_proposals(struct nano_scheduler *s, struct nano_sequence *seq)
{
    while (seq->num_blocks > nano_kv_entries(&s->config.kv, seq->num_computed_tokens))
        nano_scheduler_drop_entry(s, seq);
}

static void drop_row_ahead(struct nano_scheduler *s, const struct nano_sequence *seq)
{
    for (int i = 0; i < s->ahead.batch.num_seqs; i++)
        if (s->ahead.scheduled[i] == seq) {
            s->ahead.scheduled[i] = NULL;
            s->ahead.targets[i] = (struct nano_scheduled_output){.prompt_position = -1};
            s->ahead.num_live--;
            return;
        }
}

void nano_scheduler_finish(struct nano_scheduler *s, struct nano_sequence *seq)
{
    assert(seq->state != NANO_SEQUENCE_FINISHED);
    if (seq->state == NANO_SEQUENCE_RUNNING) {
        int i = 0;
        while (s->running[i] != seq)
            i++;
        s->num_running--;
        drop_row_ahead(s, seq);
        memmove(&s->running[i], &s->running[i + 1],
                (size_t)(s->num_running - i) * sizeof *s->running);
        nano_scheduler_release(s, seq);
    } else {
        nano_waiting_queue_remove(&s->waiting, seq);
    }
    seq->state = NANO_SEQUENCE_FINISHED;
}
