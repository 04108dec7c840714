/* KV store and attention.
 *
 * Work items of the step's attention plan go to whichever thread is free. Where a chunk's positions
 * are cut into ranges, whoever finishes the last of them merges the partial results, in the order
 * of positions. */
#include "runner/cpu/cpu_state.h"

#define ITEMS_PER_THREAD 2
#define PART_HEADS 8 /* fewer would convert K and V too often */

void nano_cpu_kv_store(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_op *op = &r->program->ops[index];
    const struct nano_kv_layout kv = nano_cpu_kv_layout(r, op->kv_layer);
    const struct nano_kv_layer *layer = &r->program->kv_layers[op->kv_layer];
    const int32_t *slots = r->slots + (int64_t)layer->group * r->config.max_num_batched_tokens;
    int64_t begin, end;
    nano_cpu_share(w, rows, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        r->kernels.kv[kv.format].store(&kv, r->k_pools[layer->slot], r->v_pools[layer->slot],
                                       slots[t], nano_cpu_row(r, op->in[0], t),
                                       layer->v_in_k ? NULL : nano_cpu_row(r, op->in[1], t));
}

/* Partial results of a query of a chunk: [num_heads] of an op's. */
static float *partial_of(const struct nano_cpu_runner *r, const struct nano_cpu_chunk *chunk,
                         int range, int query)
{
    const size_t unit = (size_t)chunk->first_unit +
                        (size_t)(range - chunk->first_range) * (size_t)chunk->num_queries +
                        (size_t)query;
    return r->attention.partials + unit * r->attention.unit_floats;
}

static const float *sinks_of(const struct nano_op *op, int head)
{
    return op->weight[0] ? (const float *)op->weight[0]->data + head : NULL;
}

/* After the last of the chunk's items, which is given. */
static void merge(const struct nano_cpu_runner *r, const struct nano_op *op,
                  const struct nano_cpu_chunk *chunk, const struct nano_cpu_attention_item *item,
                  int kv_head)
{
    const int num_q_heads = op->num_heads / op->num_kv_heads;
    const int window = r->program->kv_layers[op->kv_layer].window;
    const size_t floats = r->kernels.attention_partial_floats(op->v_head_dim);
    const int64_t stride = (int64_t)chunk->num_queries * (int64_t)r->attention.unit_floats;
    for (int i = 0; i < chunk->num_queries; i++) {
        const int row = chunk->first_row + i, position = r->positions[row];
        const int first = nano_cpu_first_seen(window, position) / NANO_ATTENTION_SPLIT;
        const int last = op->bidirectional ? item->num_positions - 1 : position;
        const float *partials = partial_of(r, chunk, first, i);
        float *out = nano_cpu_row(r, op->out[0], row);
        for (int h = kv_head * num_q_heads; h < (kv_head + 1) * num_q_heads; h++)
            r->kernels.attention_merge(
                out + (int64_t)h * op->v_head_dim, partials + (size_t)h * floats, stride,
                last / NANO_ATTENTION_SPLIT + 1 - first, sinks_of(op, h), op->v_head_dim);
    }
}

/* Query heads of a KV head in parts, where there are many for few items: so that all threads have
 * something to do. */
static int choose_num_parts(const struct nano_cpu_runner *r, const struct nano_op *op,
                            int64_t num_items)
{
    const int64_t wanted = ITEMS_PER_THREAD * (int64_t)r->config.num_threads;
    const int num_q_heads = op->num_heads / op->num_kv_heads;
    int num_parts = 1;
    while (num_items * num_parts < wanted && num_q_heads / (num_parts + 1) >= PART_HEADS)
        num_parts++;
    return r->config.num_threads > 1 ? num_parts : 1;
}

/* What an item does for a KV head: query heads [begin, end) of the op's. */
struct part {
    int kv_head, num_parts;
    int begin, end;
};

static void attend(const struct nano_cpu_worker *w, const struct nano_op *op,
                   const struct nano_cpu_attention_plan *plan,
                   const struct nano_cpu_attention_item *item, const struct part *part)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_cpu_chunk *chunk = &plan->chunks[item->chunk];
    const int head = part->begin;
    const int64_t row = chunk->first_row + item->first_query;
    struct nano_attention_args args = {
        .kv = nano_cpu_kv_layout(r, op->kv_layer),
        .k_pool = r->k_pools[r->program->kv_layers[op->kv_layer].slot],
        .v_pool = r->v_pools[r->program->kv_layers[op->kv_layer].slot],
        .block_table = nano_cpu_block_table(r, &w->batch->seqs[item->seq], op->kv_layer),
        .kv_head = part->kv_head,
        .num_q_heads = part->end - part->begin,
        .num_queries = item->num_queries,
        .first_position = item->first_position,
        .window = plan->window,
        .num_positions = item->num_positions,
        .q = nano_cpu_row(r, op->in[0], row) + (int64_t)head * op->head_dim,
        .q_stride = nano_cpu_stride(r, op->in[0]),
        .out = nano_cpu_row(r, op->out[0], row) + (int64_t)head * op->v_head_dim,
        .out_stride = nano_cpu_stride(r, op->out[0]),
        .scale = op->scale,
        .softcap = op->softcap,
        .sinks = sinks_of(op, head),
        .scratch = w->scratch->attention,
    };
    if (!chunk->in_ranges) {
        r->kernels.kv[args.kv.format].attention(&args);
        return;
    }
    args.begin = item->range * NANO_ATTENTION_SPLIT;
    args.partial = partial_of(r, chunk, item->range, item->first_query) +
                   (size_t)head * r->kernels.attention_partial_floats(op->v_head_dim);
    args.partial_stride = (int64_t)r->attention.unit_floats;
    r->kernels.kv[args.kv.format].attention(&args);
    _Atomic int *num_done =
        &r->attention.num_done[item->chunk * r->attention.max_kv_heads + part->kv_head];
    if (atomic_fetch_add_explicit(num_done, 1, memory_order_acq_rel) + 1 ==
        chunk->num_items * part->num_parts) {
        atomic_store_explicit(num_done, 0, memory_order_relaxed);
        merge(r, op, chunk, item, part->kv_head);
    }
}

void nano_cpu_attention(struct nano_cpu_worker *w, int index)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_op *op = &r->program->ops[index];
    const struct nano_cpu_attention_plan *plan =
        &r->attention.plans[r->program->kv_layers[op->kv_layer].group];
    const int64_t count = (int64_t)plan->num_items * op->num_kv_heads;
    const int num_q_heads = op->num_heads / op->num_kv_heads,
              num_parts = choose_num_parts(r, op, count);
    _Atomic int64_t *next = nano_cpu_shared_loop_begin(w);
    int64_t begin, end;
    while (nano_cpu_shared_loop_next(next, count * num_parts, 1, &begin, &end)) {
        const int item = plan->order[begin / num_parts / op->num_kv_heads];
        const int kv_head = (int)(begin / num_parts % op->num_kv_heads),
                  i = (int)(begin % num_parts);
        const struct part part = {
            .kv_head = kv_head,
            .num_parts = num_parts,
            .begin = kv_head * num_q_heads + num_q_heads * i / num_parts,
            .end = kv_head * num_q_heads + num_q_heads * (i + 1) / num_parts,
        };
        attend(w, op, plan, &plan->items[item], &part);
    }
}
