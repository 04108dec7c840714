/* A step: one job of the pool in which all threads walk the list of ops together.
 *
 * The ops after the gather run in passes of at most max_outputs output rows: first those that want
 * logits, each pass followed by their choice or delivery, then those whose hidden rows are wanted,
 * as far as these need. */
#include "base/memory.h"
#include "base/os.h"
#include "runner/batch_check.h"
#include "runner/cpu/cpu_state.h"
#include "simd/fp_mode.h"

void nano_cpu_sync(struct nano_cpu_worker *w)
{
    nano_cpu_pool_sync(&w->runner->pool);
}

void nano_cpu_share(const struct nano_cpu_worker *w, int64_t count, int64_t *begin, int64_t *end)
{
    *begin = count * w->index / w->num_threads;
    *end = count * (w->index + 1) / w->num_threads;
}

/* Two counters take turns: while one is in use, its successor, which nobody has looked at since the
 * last barrier but one, is reset. */
_Atomic int64_t *nano_cpu_shared_loop_begin(struct nano_cpu_worker *w)
{
    _Atomic int64_t *counters = w->runner->next_item;
    const unsigned turn = w->num_shared_loops++;
    if (w->index == 0)
        atomic_store_explicit(&counters[(turn + 1) % 2], 0, memory_order_relaxed);
    return &counters[turn % 2];
}

bool nano_cpu_shared_loop_next(_Atomic int64_t *next, int64_t count, int64_t step, int64_t *begin,
                               int64_t *end)
{
    *begin = atomic_fetch_add_explicit(next, step, memory_order_relaxed);
    *end = *begin + step < count ? *begin + step : count;
    return *begin < count;
}

float *nano_cpu_row(const struct nano_cpu_runner *r, struct nano_view view, int64_t row)
{
    return r->buffers[view.buffer] + row * nano_cpu_stride(r, view) + view.offset;
}

float *nano_cpu_state(const struct nano_cpu_runner *r, const struct nano_op *op,
                      const struct nano_batch_seq *seq)
{
    return r->states + seq->state * r->program->state_floats + op->state_offset;
}

int64_t nano_cpu_stride(const struct nano_cpu_runner *r, struct nano_view view)
{
    return nano_buffer_stride(&r->program->buffers[view.buffer]);
}

/* ---- what a step begins with ---- */

/* Positions, slots and the attention plans. */
static void prepare(struct nano_cpu_runner *r, const struct nano_batch *batch)
{
    const int block_size = r->config.block_size;
    for (int s = 0; s < batch->num_seqs; s++) {
        const struct nano_batch_seq *seq = &batch->seqs[s];
        for (int i = 0; i < seq->num_tokens; i++) {
            const int position = seq->first_position + i;
            r->positions[seq->first_token + i] = position;
            for (int g = 0; g < r->program->num_kv_groups; g++)
                r->slots[(int64_t)g * r->config.max_num_batched_tokens + seq->first_token + i] =
                    seq->block_table[g * seq->table_stride + position / block_size] * block_size +
                    position % block_size;
        }
    }
    nano_cpu_lora_prepare(r, batch);
    nano_cpu_attention_prepare(r, batch);
    atomic_store_explicit(&r->next_item[0], 0, memory_order_relaxed);
    atomic_store_explicit(&r->next_item[1], 0, memory_order_relaxed);
}

/* Outputs that want logits, then the others; returns how many the first are. */
static int order_outputs(struct nano_cpu_runner *r, const struct nano_batch *batch)
{
    int num_ordered = 0, num_logits = 0;
    for (int hidden = 0; hidden < 2; hidden++) {
        for (int i = 0; i < batch->num_outputs; i++)
            if (batch->outputs[i].hidden == (hidden == 1))
                r->output_order[num_ordered++] = i;
        num_logits = hidden ? num_logits : num_ordered;
    }
    return num_logits;
}

/* ---- the walk ---- */

static void run_op(struct nano_cpu_worker *w, int index, int64_t rows)
{
    switch (w->runner->program->ops[index].kind) {
    case NANO_OP_EMBED:
        nano_cpu_embed(w, index, rows);
        break;
    case NANO_OP_POSITION_EMBED:
        nano_cpu_position_embed(w, index, rows);
        break;
    case NANO_OP_RMS_NORM:
    case NANO_OP_LAYER_NORM:
    case NANO_OP_L2_NORM:
        nano_cpu_norm(w, index, rows);
        break;
    case NANO_OP_LINEAR:
        nano_cpu_linear(w, index, rows);
        break;
    case NANO_OP_HEAD_LINEAR:
        nano_cpu_head_linear(w, index, rows);
        break;
    case NANO_OP_ROPE:
        nano_cpu_rope(w, index, rows);
        break;
    case NANO_OP_KV_STORE:
        nano_cpu_kv_store(w, index, rows);
        break;
    case NANO_OP_ATTENTION:
        nano_cpu_attention(w, index);
        break;
    case NANO_OP_GLU:
        nano_cpu_glu(w, index, rows);
        break;
    case NANO_OP_ADD:
        nano_cpu_add(w, index, rows);
        break;
    case NANO_OP_ACTIVATE:
    case NANO_OP_SCALE:
    case NANO_OP_SOFTCAP:
    case NANO_OP_POSITION_SCALE:
        nano_cpu_map(w, index, rows);
        break;
    case NANO_OP_SPLIT_HEADS:
        nano_cpu_split_heads(w, index, rows);
        break;
    case NANO_OP_ROUTE:
        nano_cpu_route(w, index, rows);
        break;
    case NANO_OP_MOE:
        nano_cpu_moe(w, index, rows);
        break;
    case NANO_OP_SHORT_CONV:
        nano_cpu_short_conv(w, index);
        break;
    case NANO_OP_MAMBA2:
        nano_cpu_mamba2(w, index);
        break;
    case NANO_OP_DELTA_NET:
        nano_cpu_delta_net(w, index);
        break;
    case NANO_OP_GATHER:
        nano_cpu_gather(w, index, rows);
        break;
    case NANO_NUM_OP_KINDS:
        break;
    }
}

static void account(struct nano_cpu_runner *r, int index, uint64_t ns, int64_t rows)
{
    const struct nano_op *op = &r->program->ops[index];
    struct nano_op_profile *profile = &r->profile[r->ops[index].profile];
    profile->count++;
    profile->total_ns += ns;
    profile->weight_bytes +=
        op->kind == NANO_OP_MOE
            ? r->ops[index].weight_bytes / (uint64_t)op->moe.num_experts * r->moe.num_touched
            : r->ops[index].weight_bytes;
    profile->num_macs += r->ops[index].macs_per_row * (uint64_t)rows;
    if (op->kind == NANO_OP_ATTENTION)
        profile->num_macs +=
            r->attention.plans[r->program->kv_layers[op->kv_layer].group].num_pairs *
            (uint64_t)op->num_heads * (uint64_t)(op->head_dim + op->v_head_dim);
}

/* Ops [begin, end), and a barrier. Thread 0 charges an op with its own time and, where a barrier
 * follows, that of waiting for the others. */
static void run_ops(struct nano_cpu_worker *w, int begin, int end, int64_t rows)
{
    uint64_t last_ns = w->index == 0 ? nano_os_clock_ns() : 0;
    for (int i = begin; i < end; i++) {
        run_op(w, i, rows);
        if (i + 1 == end || w->runner->ops[i + 1].barrier_before)
            nano_cpu_sync(w);
        if (w->index == 0) {
            const uint64_t now_ns = nano_os_clock_ns();
            account(w->runner, i, now_ns - last_ns, rows);
            last_ns = now_ns;
        }
    }
}

static void deliver_logits(struct nano_cpu_worker *w)
{
    const struct nano_program *p = w->runner->program;
    const int64_t stride = nano_buffer_stride(&p->buffers[p->logits_buffer]);
    _Atomic int64_t *next = nano_cpu_shared_loop_begin(w);
    int64_t begin, end;
    while (nano_cpu_shared_loop_next(next, w->num_outputs, 1, &begin, &end)) {
        const int index = w->runner->output_order[w->first_output + (int)begin];
        float *logits = w->runner->buffers[p->logits_buffer] + begin * stride;
        if (w->batch->outputs[index].greedy)
            w->batch->outputs[index].token =
                (int32_t)w->runner->kernels.argmax(logits, p->config.vocab_size);
        else
            w->batch->on_logits(w->batch->context, index, logits);
    }
    nano_cpu_sync(w);
}

/* Each thread shows its columns of all rows, so that sums over rows have one order. */
static void deliver_hidden(struct nano_cpu_worker *w)
{
    const struct nano_program *p = w->runner->program;
    const struct nano_buffer *buffer = &p->buffers[p->hidden_buffer];
    const float *row = w->runner->buffers[p->hidden_buffer];
    int64_t begin, end;
    nano_cpu_share(w, buffer->width, &begin, &end);
    for (int i = 0; i < w->num_outputs; i++, row += nano_buffer_stride(buffer))
        w->batch->on_hidden(w->batch->context, w->runner->output_order[w->first_output + i], row,
                            begin, end);
    nano_cpu_sync(w);
}

struct step {
    struct nano_cpu_runner *runner;
    struct nano_batch *batch;
    int num_logits; /* of the outputs in order, those that want them */
};

/* Outputs [begin, end) in order, all of one kind, pass by pass. */
static void run_outputs(struct nano_cpu_worker *w, int begin, int end, bool hidden)
{
    struct nano_cpu_runner *r = w->runner;
    const int end_op = hidden ? r->hidden_end : r->program->num_ops;
    for (int first = begin; first < end; first += r->max_outputs) {
        w->first_output = first;
        w->num_outputs = end - first < r->max_outputs ? end - first : r->max_outputs;
        nano_cpu_lora_begin_pass(w);
        run_ops(w, r->program->gather_op, end_op, w->num_outputs);
        if (hidden)
            deliver_hidden(w);
        else
            deliver_logits(w);
    }
}

static void work(void *context, int index)
{
    const struct step *step = context;
    struct nano_cpu_runner *r = step->runner;
    const struct nano_program *p = r->program;
    struct nano_batch *batch = step->batch;
    struct nano_cpu_worker w = {.runner = r,
                                .batch = batch,
                                .scratch = &r->threads[index],
                                .index = index,
                                .num_threads = r->config.num_threads};
    const uint64_t fp_mode = nano_fp_mode_flush_denormals();
    nano_mem_forbid_begin();
    nano_cpu_rope_tables(&w); /* of the rows that this thread rotates */
    run_ops(&w, 0, p->gather_op, batch->num_tokens);
    run_outputs(&w, 0, step->num_logits, false);
    run_outputs(&w, step->num_logits, batch->num_outputs, true);
    nano_mem_forbid_end();
    nano_fp_mode_restore(fp_mode);
}

enum nano_status nano_cpu_run(void *state, struct nano_batch *batch, struct nano_error *err)
{
    struct nano_cpu_runner *r = state;
    const struct nano_batch_limits limits = {
        .config = &r->config, .num_blocks = r->num_blocks, .num_states = r->num_states};
    enum nano_status status = nano_batch_check(batch, &limits, err);
    if (status != NANO_OK || batch->num_tokens == 0)
        return status;
    prepare(r, batch);
    struct step step = {.runner = r, .batch = batch, .num_logits = order_outputs(r, batch)};
    nano_cpu_pool_run(&r->pool, work, &step);
    return NANO_OK;
}
