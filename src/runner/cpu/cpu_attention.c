/* KV store and attention.
 *
 * A work item of attention is a KV head of up to NANO_CPU_QUERIES queries of one sequence; items go
 * to whichever thread is free, the last queries (which see most) first. */
#include "runner/cpu/cpu_state.h"

void nano_cpu_kv_store(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_op *op = &r->program->ops[index];
    const struct nano_kv_layout kv = nano_cpu_kv_layout(r, op->kv_layer);
    int64_t begin, end;
    nano_cpu_share(w, rows, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        r->kernels.kv[kv.format].store(&kv, r->k_pools[op->kv_layer], r->v_pools[op->kv_layer],
                                       r->slots[t], nano_cpu_row(r, op->in[0], t),
                                       nano_cpu_row(r, op->in[1], t));
}

/* The sequence that chunk `chunk` of the step belongs to. */
static int sequence_of(const struct nano_cpu_runner *r, int num_seqs, int64_t chunk)
{
    int low = 0, high = num_seqs - 1;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (r->first_chunk[middle] <= chunk)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static void attend(const struct nano_cpu_worker *w, const struct nano_op *op, int64_t item)
{
    const struct nano_cpu_runner *r = w->runner;
    const int kv_head = (int)(item % op->num_kv_heads);
    const int64_t chunk = item / op->num_kv_heads;
    const int s = sequence_of(r, w->batch->num_seqs, chunk);
    const struct nano_batch_seq *seq = &w->batch->seqs[s];
    const int first = (int)(chunk - r->first_chunk[s]) * NANO_CPU_QUERIES;
    const int left = seq->num_tokens - first;
    const int num_q_heads = op->num_heads / op->num_kv_heads;
    const int64_t row = seq->first_token + first,
                  column = (int64_t)kv_head * num_q_heads * op->head_dim;
    const struct nano_attention_args args = {
        .kv = nano_cpu_kv_layout(r, op->kv_layer),
        .k_pool = r->k_pools[op->kv_layer],
        .v_pool = r->v_pools[op->kv_layer],
        .block_table = seq->block_table,
        .kv_head = kv_head,
        .num_q_heads = num_q_heads,
        .num_queries = left < NANO_CPU_QUERIES ? left : NANO_CPU_QUERIES,
        .first_position = seq->first_position + first,
        .q = nano_cpu_row(r, op->in[0], row) + column,
        .q_stride = nano_cpu_stride(r, op->in[0]),
        .out = nano_cpu_row(r, op->out[0], row) + column,
        .out_stride = nano_cpu_stride(r, op->out[0]),
        .scale = op->scale,
        .scratch = w->scratch->attention,
    };
    r->kernels.kv[args.kv.format].attention(&args);
}

void nano_cpu_attention(struct nano_cpu_worker *w, int index)
{
    const struct nano_op *op = &w->runner->program->ops[index];
    const int64_t count = (int64_t)w->runner->first_chunk[w->batch->num_seqs] * op->num_kv_heads;
    _Atomic int64_t *next = nano_cpu_shared_loop_begin(w);
    int64_t begin, end;
    while (nano_cpu_shared_loop_next(next, count, 1, &begin, &end))
        attend(w, op, count - 1 - begin);
}
