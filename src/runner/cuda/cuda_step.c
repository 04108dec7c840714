/* A step on the GPU: the batch goes in, the ops follow in order on one stream, and what was chosen
 * comes out. Only token ids cross the bus, but for outputs whose logits or hidden rows are wanted.
 *
 * A batch of few rows is padded to one of some sizes. Its ops are the same launches each time, with
 * the same arguments, so the second time they are recorded as a graph, and started as one after
 * that.
 *
 * A batch whose outputs are all tokens may be begun while another one computes. Its rows find the
 * other's tokens where that one leaves them on the device; what the host writes and reads has two
 * places, which take turns. */
#include <string.h>

#include "runner/batch_check.h"
#include "runner/cuda/cuda_state.h"

/* Rows of a batch with padding. */
static int padded(int count)
{
    if (count > NANO_CUDA_GRAPH_ROWS)
        return count;
    if (count <= 2)
        return count;
    const int unit = count <= 8 ? 4 : count <= 64 ? 8 : 32;
    return (count + unit - 1) / unit * unit;
}

/* ---- the batch ---- */

struct step {
    struct nano_cuda_runner *runner;
    const struct nano_batch *batch;
    int32_t *words, *tokens; /* the batch on its way in, tokens on their way out */
    struct nano_cuda_batch_layout layout;
    bool recorded;
    int num_logits;    /* of the outputs in order, those that want logits or a token */
    int32_t num_words; /* of the batch */
    uint64_t pairs[NANO_MAX_KV_GROUPS]; /* of queries and positions that they see */
};

/* Outputs that want logits or a token, then those that want hidden rows. */
static void order_outputs(struct step *step)
{
    int num_ordered = 0;
    for (int hidden = 0; hidden < 2; hidden++) {
        for (int i = 0; i < step->batch->num_outputs; i++)
            if (step->batch->outputs[i].hidden == (hidden == 1))
                step->runner->output_order[num_ordered++] = i;
        if (!hidden)
            step->num_logits = num_ordered;
    }
}

static const struct nano_batch_output *output_at(const struct step *step, int place)
{
    return &step->batch->outputs[step->runner->output_order[place]];
}

static void write_rows(const struct step *step)
{
    const struct nano_cuda_runner *r = step->runner;
    const struct nano_cuda_batch_layout *l = &step->layout;
    const struct nano_batch *batch = step->batch;
    const int block_size = r->config.block_size;
    int32_t *words = step->words;
    memcpy(words + l->tokens, batch->tokens, (size_t)batch->num_tokens * sizeof *words);
    memset(words + l->tokens + batch->num_tokens, 0,
           (size_t)(l->rows - batch->num_tokens) * sizeof *words);
    for (int s = 0; s < batch->num_seqs; s++) {
        const struct nano_batch_seq *seq = &batch->seqs[s];
        for (int i = 0; i < seq->num_tokens; i++) {
            const int position = seq->first_position + i, row = seq->first_token + i;
            words[l->positions + row] = position;
            for (int g = 0; g < r->program->num_kv_groups; g++)
                words[l->slots + g * l->rows + row] =
                    seq->block_table[g * seq->table_stride + position / block_size] * block_size +
                    position % block_size;
        }
        ((struct nano_cuda_seq *)(void *)(words + l->seqs))[s] =
            (struct nano_cuda_seq){.first_row = seq->first_token,
                                   .num_rows = seq->num_tokens,
                                   .first_position = seq->first_position,
                                   .state = seq->state};
    }
    for (int row = batch->num_tokens; row < l->rows; row++) {
        words[l->positions + row] = 0;
        for (int g = 0; g < r->program->num_kv_groups; g++)
            words[l->slots + g * l->rows + row] = -1;
    }
}

static void write_outputs(const struct step *step)
{
    const struct nano_cuda_batch_layout *l = &step->layout;
    int32_t *words = step->words;
    struct nano_cuda_draw *draws = (struct nano_cuda_draw *)(void *)(words + l->draws);
    for (int i = 0; i < l->outputs; i++) {
        draws[i] = (struct nano_cuda_draw){.choice = NANO_CUDA_CHOICE_NONE};
        words[l->output_rows + i] = 0;
        if (i >= step->batch->num_outputs)
            continue;
        const struct nano_batch_output *out = output_at(step, i);
        words[l->output_rows + i] = out->row;
        if (out->hidden)
            continue;
        if (out->greedy)
            draws[i].choice = NANO_CUDA_CHOICE_GREEDY;
        else if (out->draws)
            draws[i] = nano_cuda_draw_make(&out->draw);
    }
}

/* The block tables of a group, as far as they are looked at. Returns the words behind them. */
static int32_t write_tables(const struct step *step, int group, int32_t word,
                            struct nano_cuda_attention_seq *seqs)
{
    const struct nano_cuda_runner *r = step->runner;
    const int window = r->program->kv_groups[group].window, block_size = r->config.block_size;
    for (int s = 0; s < step->batch->num_seqs; s++) {
        const struct nano_batch_seq *seq = &step->batch->seqs[s];
        const int end_position = seq->first_position + seq->num_tokens;
        const int first = window && seq->first_position >= window
                              ? (seq->first_position - window + 1) / block_size
                              : 0;
        const int end = (end_position + block_size - 1) / block_size;
        memcpy(step->words + word, seq->block_table + group * seq->table_stride + first,
               (size_t)(end - first) * sizeof(int32_t));
        seqs[s] = (struct nano_cuda_attention_seq){.table = word - first,
                                                   .first_row = seq->first_token,
                                                   .num_tokens = seq->num_tokens,
                                                   .first_position = seq->first_position};
        word += end - first;
    }
    return word;
}

/* Attention's items and merges, and their places in the head. Returns the words behind them. */
static int32_t write_items(const struct step *step, int group, int32_t word,
                           struct nano_cuda_batch *head)
{
    const struct nano_cuda_runner *r = step->runner;
    const struct nano_cuda_attention_plan_args args = {.seqs = r->attention_seqs,
                                                       .num_seqs = step->batch->num_seqs,
                                                       .window =
                                                           r->program->kv_groups[group].window,
                                                       .bidirectional = r->program->bidirectional,
                                                       .num_queries = r->attention_queries[group],
                                                       .num_blocks = r->attention_blocks[group],
                                                       .max_partials = nano_cuda_max_partials(r)};
    struct nano_cuda_attention_plan plan = {
        .items = (struct nano_cuda_attention_item *)(void *)(step->words + word),
        .merges = r->attention_merges};
    nano_cuda_attention_plan_make(&plan, &args);
    head->groups[group].items = word;
    head->groups[group].num_items = plan.num_items;
    word += plan.num_items * NANO_CUDA_ITEM_WORDS;
    memcpy(step->words + word, plan.merges, (size_t)plan.num_merges * sizeof *plan.merges);
    head->groups[group].merges = word;
    head->groups[group].num_merges = plan.num_merges;
    return word + plan.num_merges * NANO_CUDA_MERGE_WORDS;
}

static uint64_t count_pairs(const struct step *step, int window)
{
    uint64_t pairs = 0;
    for (int s = 0; s < step->batch->num_seqs; s++) {
        const struct nano_batch_seq *seq = &step->batch->seqs[s];
        for (int i = 0; i < seq->num_tokens; i++) {
            const int seen = step->runner->program->bidirectional
                                 ? seq->first_position + seq->num_tokens
                                 : seq->first_position + i + 1;
            pairs += (uint64_t)(window && seen > window ? window : seen);
        }
    }
    return pairs;
}

static void write_batch(struct step *step)
{
    struct nano_cuda_runner *r = step->runner;
    struct nano_cuda_batch *head = (struct nano_cuda_batch *)(void *)step->words;
    *head = (struct nano_cuda_batch){.num_rows = step->batch->num_tokens,
                                     .num_seqs = step->batch->num_seqs};
    write_rows(step);
    write_outputs(step);
    int32_t word = step->layout.variable;
    for (int g = 0; g < r->program->num_kv_groups; g++) {
        word = write_tables(step, g, word, r->attention_seqs);
        word = write_items(step, g, word, head);
        step->pairs[g] = count_pairs(step, r->program->kv_groups[g].window);
    }
    step->num_words = word;
}

/* ---- ops ---- */

static void run_ops(const struct step *step, int begin, int end, int rows, int first_output,
                    int *next_mark)
{
    const struct nano_cuda_pass pass = {.runner = step->runner,
                                        .layout = &step->layout,
                                        .rows = rows,
                                        .first_output = first_output};
    for (int i = begin; i < end; i++) {
        nano_cuda_run_op(&pass, i);
        if (next_mark && *next_mark < NANO_CUDA_MARKS)
            nano_cuda_mark(step->runner->device, (*next_mark)++);
    }
}

static void choose_tokens(const struct step *step, int rows, int first_output)
{
    struct nano_cuda_runner *r = step->runner;
    const struct nano_program *p = r->program;
    const struct nano_cuda_draw *draws =
        (const struct nano_cuda_draw *)(const void *)(r->batch + step->layout.draws);
    const struct nano_cuda_sample_args args = {
        .logits = nano_cuda_view_of(r, (struct nano_view){.buffer = p->logits_buffer}),
        .width = p->config.vocab_size,
        .draws = draws + first_output,
        .tokens = r->tokens + first_output,
        .rows = rows};
    nano_cuda_sample(r->device, &args);
}

/* All of a step whose outputs are one pass that wants logits. */
static void run_whole(const struct step *step, int *next_mark)
{
    const struct nano_program *p = step->runner->program;
    run_ops(step, 0, p->gather_op, step->layout.rows, 0, next_mark);
    if (step->layout.outputs == 0)
        return;
    run_ops(step, p->gather_op, p->num_ops, step->layout.outputs, 0, next_mark);
    choose_tokens(step, step->layout.outputs, 0);
}

/* The entry of the batch's shape; a new one takes the place of the one that was not used for
 * longest when all are taken. */
static struct nano_cuda_graph_entry *
find_graph(struct nano_cuda_runner *r, const struct nano_cuda_batch_layout *l, bool *is_new)
{
    struct nano_cuda_graph_entry *oldest = &r->graphs[0];
    *is_new = false;
    for (int i = 0; i < r->num_graphs; i++) {
        if (r->graphs[i].rows == l->rows && r->graphs[i].outputs == l->outputs)
            return &r->graphs[i];
        if (r->graphs[i].last_used < oldest->last_used)
            oldest = &r->graphs[i];
    }
    if (r->num_graphs < NANO_CUDA_MAX_GRAPHS)
        oldest = &r->graphs[r->num_graphs++];
    *is_new = true;
    nano_cuda_graph_destroy(oldest->graph);
    *oldest = (struct nano_cuda_graph_entry){.rows = l->rows, .outputs = l->outputs};
    return oldest;
}

/* What was sent must have been read before its place is used again. */
static enum nano_status fail_recording(struct nano_cuda_runner *r, enum nano_status status)
{
    struct nano_error ignored;
    (void)nano_cuda_device_synchronize(r->device, &ignored);
    return status;
}

/* By its graph, if it has been seen before. */
static enum nano_status run_recorded(const struct step *step, struct nano_error *err)
{
    struct nano_cuda_runner *r = step->runner;
    bool is_new;
    struct nano_cuda_graph_entry *entry = find_graph(r, &step->layout, &is_new);
    entry->last_used = ++r->num_steps;
    if (is_new) {
        run_whole(step, NULL);
        return NANO_OK;
    }
    if (!entry->graph) {
        enum nano_status status = nano_cuda_graph_begin(r->device, err);
        if (status != NANO_OK)
            return fail_recording(r, status);
        run_whole(step, NULL);
        status = nano_cuda_graph_end(r->device, &entry->graph, err);
        if (status != NANO_OK)
            return fail_recording(r, status);
    }
    nano_cuda_graph_launch(r->device, entry->graph);
    return NANO_OK;
}

/* ---- outputs ---- */

struct delivery {
    const struct step *step;
    int first, count; /* of the outputs in order */
};

static bool wants_logits(const struct nano_batch_output *out)
{
    return !out->hidden && !out->greedy && !out->draws;
}

static void deliver_logits(void *context, int index)
{
    const struct delivery *d = context;
    const struct nano_cuda_runner *r = d->step->runner;
    for (int i = index; i < d->count; i += r->pool.num_threads)
        if (wants_logits(output_at(d->step, d->first + i)))
            d->step->batch->on_logits(d->step->batch->context, r->output_order[d->first + i],
                                      r->host_rows + i * r->program->config.vocab_size);
}

static enum nano_status finish_logits(const struct step *step, int first, int count,
                                      struct nano_error *err)
{
    struct nano_cuda_runner *r = step->runner;
    const struct nano_program *p = r->program;
    const struct nano_cuda_view logits =
        nano_cuda_view_of(r, (struct nano_view){.buffer = p->logits_buffer});
    const int64_t width = p->config.vocab_size;
    struct delivery delivery = {step, first, count};
    bool any = false;
    for (int i = 0; i < count; i++)
        if (wants_logits(output_at(step, first + i))) {
            any = true;
            nano_cuda_copy_out(r->device, r->host_rows + i * width, logits.data + i * logits.stride,
                               (size_t)width * sizeof(float));
        }
    nano_cuda_copy_out(r->device, step->tokens, r->tokens + first,
                       (size_t)count * sizeof *r->tokens);
    enum nano_status status = nano_cuda_device_synchronize(r->device, err);
    if (status != NANO_OK)
        return status;
    for (int i = 0; i < count; i++) {
        const int index = r->output_order[first + i];
        struct nano_batch_output *out = &step->batch->outputs[index];
        if (out->greedy || out->draws)
            out->token = step->tokens[i];
    }
    if (any)
        nano_cpu_pool_run(&r->pool, deliver_logits, &delivery);
    return NANO_OK;
}

static enum nano_status finish_hidden(const struct step *step, int first, int count,
                                      struct nano_error *err)
{
    struct nano_cuda_runner *r = step->runner;
    const struct nano_program *p = r->program;
    const struct nano_cuda_view hidden =
        nano_cuda_view_of(r, (struct nano_view){.buffer = p->hidden_buffer});
    const int64_t width = p->buffers[p->hidden_buffer].width;
    for (int i = 0; i < count; i++)
        nano_cuda_copy_out(r->device, r->host_rows + i * width, hidden.data + i * hidden.stride,
                           (size_t)width * sizeof(float));
    enum nano_status status = nano_cuda_device_synchronize(r->device, err);
    for (int i = 0; i < count && status == NANO_OK; i++)
        step->batch->on_hidden(step->batch->context, r->output_order[first + i],
                               r->host_rows + i * width, 0, width);
    return status;
}

/* Outputs [begin, end) in order, all of one kind, pass by pass. */
static enum nano_status run_outputs(const struct step *step, int begin, int end, bool hidden,
                                    int *next_mark, struct nano_error *err)
{
    struct nano_cuda_runner *r = step->runner;
    const struct nano_program *p = r->program;
    enum nano_status status = NANO_OK;
    for (int first = begin; first < end && status == NANO_OK; first += r->max_outputs) {
        const int count = end - first < r->max_outputs ? end - first : r->max_outputs;
        run_ops(step, p->gather_op, hidden ? r->hidden_end : p->num_ops, count, first, next_mark);
        if (!hidden)
            choose_tokens(step, count, first);
        status = hidden ? finish_hidden(step, first, count, err)
                        : finish_logits(step, first, count, err);
    }
    return status;
}

/* ---- the step ---- */

/* Of experts, as if each row had others than the rows before it. */
static uint64_t read_bytes(const struct nano_cuda_runner *r, int index, int rows)
{
    const struct nano_op *op = &r->program->ops[index];
    const uint64_t bytes = r->ops[index].weight_bytes;
    if (op->kind != NANO_OP_MOE || rows * op->moe.num_used >= op->moe.num_experts)
        return bytes;
    return bytes / (uint64_t)op->moe.num_experts * (uint64_t)(rows * op->moe.num_used);
}

/* Ops [begin, end) have run, and taken the time between marks if there are any. */
static void account(const struct step *step, int begin, int end, int rows, int *mark, int num_marks)
{
    struct nano_cuda_runner *r = step->runner;
    for (int i = begin; i < end; i++, (*mark)++) {
        const struct nano_op *op = &r->program->ops[i];
        struct nano_op_profile *profile = &r->profile[r->ops[i].profile];
        profile->count += r->ops[i].num_fused > 0; /* else it was part of the launch before */
        if (*mark < num_marks)
            profile->total_ns += nano_cuda_marked_ns(r->device, *mark - 1, *mark);
        profile->weight_bytes += read_bytes(r, i, rows);
        profile->num_macs += r->ops[i].macs_per_row * (uint64_t)rows;
        if (op->kind == NANO_OP_ATTENTION)
            profile->num_macs += step->pairs[r->program->kv_layers[op->kv_layer].group] *
                                 (uint64_t)op->num_heads *
                                 (uint64_t)(op->head_dim + op->v_head_dim);
    }
}

static void account_step(const struct step *step, int num_marks)
{
    const struct nano_program *p = step->runner->program;
    const int max_outputs = step->runner->max_outputs;
    int mark = 1;
    account(step, 0, p->gather_op, step->batch->num_tokens, &mark, num_marks);
    for (int first = 0; first < step->num_logits; first += max_outputs) {
        const int left = step->num_logits - first;
        account(step, p->gather_op, p->num_ops, left < max_outputs ? left : max_outputs, &mark,
                num_marks);
    }
}

/* Op by op and, where graphs are not wanted, with marks between them. */
static enum nano_status run_eagerly(const struct step *step, struct nano_error *err)
{
    struct nano_cuda_runner *r = step->runner;
    const struct nano_program *p = r->program;
    int num_marks = 0, *next_mark = r->config.enforce_eager ? &num_marks : NULL;
    if (next_mark)
        nano_cuda_mark(r->device, num_marks++);
    run_ops(step, 0, p->gather_op, step->layout.rows, 0, next_mark);
    enum nano_status status = run_outputs(step, 0, step->num_logits, false, next_mark, err);
    if (status == NANO_OK)
        status =
            run_outputs(step, step->num_logits, step->batch->num_outputs, true, next_mark, err);
    if (status == NANO_OK)
        status = nano_cuda_device_synchronize(r->device, err);
    if (status == NANO_OK)
        account_step(step, num_marks);
    return status;
}

/* Checks the batch and sends it on its way. */
static enum nano_status send_batch(struct step *step, struct nano_cuda_runner *r,
                                   const struct nano_batch *batch, struct nano_error *err)
{
    const uint64_t last = (r->num_begun + 1) % 2;
    const struct nano_batch_limits limits = {
        .config = &r->config,
        .num_blocks = r->num_blocks,
        .num_states = r->num_states,
        .num_coming_tokens = r->num_begun > r->num_ended ? r->num_begun_outputs[last] : 0};
    enum nano_status status = nano_batch_check(batch, &limits, err);
    if (status != NANO_OK)
        return status;
    *step = (struct step){.runner = r,
                          .batch = batch,
                          .words = r->host_batch[r->num_begun % 2],
                          .tokens = r->host_tokens[r->num_begun % 2]};
    order_outputs(step);
    step->recorded = !r->config.enforce_eager && batch->num_tokens <= NANO_CUDA_GRAPH_ROWS &&
                     step->num_logits == batch->num_outputs && batch->num_outputs <= r->max_outputs;
    int rows = step->recorded ? padded(batch->num_tokens) : batch->num_tokens;
    int outputs = step->recorded ? padded(batch->num_outputs) : batch->num_outputs;
    rows = rows < r->config.max_num_batched_tokens ? rows : r->config.max_num_batched_tokens;
    outputs = outputs < r->max_outputs || !step->recorded ? outputs : r->max_outputs;
    step->layout = nano_cuda_lay_out_batch(r, rows, outputs);
    write_batch(step);
    nano_cuda_copy_in(r->device, r->batch, step->words,
                      (size_t)step->num_words * sizeof *step->words);
    return NANO_OK;
}

enum nano_status nano_cuda_run(void *state, struct nano_batch *batch, struct nano_error *err)
{
    struct nano_cuda_runner *r = state;
    struct step step;
    if (r->num_begun > r->num_ended)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "another batch is begun");
    enum nano_status status = send_batch(&step, r, batch, err);
    if (status != NANO_OK || batch->num_tokens == 0)
        return status;
    if (!step.recorded)
        return run_eagerly(&step, err);
    status = run_recorded(&step, err);
    if (status == NANO_OK)
        status = finish_logits(&step, 0, batch->num_outputs, err);
    if (status == NANO_OK)
        account_step(&step, 0);
    return status;
}

/* ---- batches that are begun ---- */

/* Pass by pass, none of which the host has to look at. */
static void start_eagerly(const struct step *step)
{
    const struct nano_cuda_runner *r = step->runner;
    const struct nano_program *p = r->program;
    run_ops(step, 0, p->gather_op, step->layout.rows, 0, NULL);
    for (int first = 0; first < step->num_logits; first += r->max_outputs) {
        const int left = step->num_logits - first;
        const int count = left < r->max_outputs ? left : r->max_outputs;
        run_ops(step, p->gather_op, p->num_ops, count, first, NULL);
        choose_tokens(step, count, first);
    }
}

static enum nano_status check_begin(const struct nano_cuda_runner *r,
                                    const struct nano_batch *batch, struct nano_error *err)
{
    if (r->config.enforce_eager || r->num_begun - r->num_ended == 2)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "this batch cannot be begun yet");
    for (int i = 0; i < batch->num_outputs; i++)
        if (batch->outputs[i].hidden || !(batch->outputs[i].greedy || batch->outputs[i].draws))
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "batch: output %d is no token",
                                  i);
    return NANO_OK;
}

enum nano_status nano_cuda_begin(void *state, const struct nano_batch *batch,
                                 struct nano_error *err)
{
    struct nano_cuda_runner *r = state;
    struct step step;
    enum nano_status status = check_begin(r, batch, err);
    if (status == NANO_OK)
        status = send_batch(&step, r, batch, err);
    if (status != NANO_OK)
        return status;
    if (step.recorded)
        status = run_recorded(&step, err);
    else
        start_eagerly(&step);
    if (status != NANO_OK)
        return status;
    const int slot = (int)(r->num_begun++ % 2);
    nano_cuda_copy_out(r->device, step.tokens, r->tokens,
                       (size_t)batch->num_outputs * sizeof *r->tokens);
    nano_cuda_event_record(r->device, slot);
    r->num_begun_outputs[slot] = batch->num_outputs;
    account_step(&step, 0);
    return NANO_OK;
}

enum nano_status nano_cuda_end(void *state, struct nano_batch *batch, struct nano_error *err)
{
    struct nano_cuda_runner *r = state;
    const int slot = (int)(r->num_ended % 2);
    if (r->num_ended == r->num_begun || r->num_begun_outputs[slot] != batch->num_outputs)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "this batch is not begun");
    r->num_ended++;
    const enum nano_status status = nano_cuda_event_wait(r->device, slot, err);
    for (int i = 0; i < batch->num_outputs && status == NANO_OK; i++)
        batch->outputs[i].token = r->host_tokens[slot][i];
    return status;
}
