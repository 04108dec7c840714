/* Plan: what lives when, and where.
 *
 *   ops     0 1 2 3 4 5 6          memory  ┌────────────┐
 *   x       ■■■■■■■■■■■■■■                 │     x      │ all the time
 *   norm      ■■■■                         ├──────┬─────┤
 *   q,k,v       ■■■■■                      │ qkv  │     │ ops 2-4
 *   gate_up           ■■■■                 │   gate_up  │ ops 5-6, same place
 *
 * Larger buffers are placed first, each into the smallest gap that fits between those that are
 * alive at the same time. */
#include <stdlib.h>

#include "base/memory.h"
#include "models/passes.h"

static void touch(struct nano_program *p, int buffer, int op)
{
    struct nano_buffer *b = &p->buffers[buffer];
    if (b->first_op < 0)
        b->first_op = op;
    b->last_op = op;
}

void nano_program_find_live_ranges(struct nano_program *p)
{
    for (int i = 0; i < p->num_buffers; i++)
        p->buffers[i].first_op = p->buffers[i].last_op = -1;
    for (int i = 0; i < p->num_ops; i++) {
        const struct nano_op *op = &p->ops[i];
        for (int k = 0; k < op->num_in; k++)
            touch(p, op->in[k].buffer, i);
        for (int k = 0; k < op->num_out; k++)
            touch(p, op->out[k].buffer, i);
    }
    /* The ops after the gather may run several times, and their results are read after the last op.
     */
    const struct nano_op *gather = &p->ops[p->gather_op];
    for (int k = 0; k < gather->num_in; k++)
        p->buffers[gather->in[k].buffer].last_op = p->num_ops - 1;
    p->buffers[p->hidden_buffer].last_op = p->num_ops - 1;
    if (p->logits_buffer >= 0)
        p->buffers[p->logits_buffer].last_op = p->num_ops - 1;
}

struct placement {
    size_t offset, bytes;
    int buffer, first_op, last_op;
};

static int by_bytes_descending(const void *a, const void *b)
{
    const struct placement *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->buffer - y->buffer;
}

static int by_offset(const void *a, const void *b)
{
    const struct placement *x = *(const struct placement *const *)a,
                           *y = *(const struct placement *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Best fit for `item` between the first `num_placed` items; `live` is room for as many pointers. */
static size_t find_gap(const struct placement *items, int num_placed, const struct placement *item,
                       const struct placement **live)
{
    int num_live = 0;
    for (int i = 0; i < num_placed; i++)
        if (items[i].first_op <= item->last_op && item->first_op <= items[i].last_op)
            live[num_live++] = &items[i];
    qsort(live, (size_t)num_live, sizeof *live, by_offset);
    size_t end = 0, best = SIZE_MAX, best_gap = SIZE_MAX;
    for (int i = 0; i < num_live; i++) {
        if (live[i]->offset > end) {
            const size_t gap = live[i]->offset - end;
            if (gap >= item->bytes && gap < best_gap) {
                best = end;
                best_gap = gap;
            }
        }
        if (live[i]->offset + live[i]->bytes > end)
            end = live[i]->offset + live[i]->bytes;
    }
    return best != SIZE_MAX ? best : end;
}

enum nano_status nano_program_plan(const struct nano_program *p, int64_t max_tokens,
                                   int64_t max_outputs, size_t *offsets, size_t *total_bytes,
                                   struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    *total_bytes = 0;
    const size_t n = (size_t)p->num_buffers;
    struct placement *items = nano_mem_calloc(n, sizeof *items);
    const struct placement **live = nano_mem_calloc(n, sizeof *live);
    if (!items || !live) {
        status = nano_error_no_memory(err, "the plan of the activations", n * sizeof *items);
        goto fail;
    }

    size_t sum = 0; /* no offset can be beyond it, so checking it checks all */
    int num_items = 0;
    for (int i = 0; i < p->num_buffers; i++) {
        const struct nano_buffer *buffer = &p->buffers[i];
        if (offsets)
            offsets[i] = 0;
        if (buffer->first_op < 0)
            continue;
        const int64_t rows = buffer->domain == NANO_ROWS_TOKENS ? max_tokens : max_outputs;
        size_t bytes;
        if (!nano_mem_size((size_t)nano_buffer_stride(buffer) * sizeof(float), (size_t)rows, 0,
                           &bytes) ||
            !nano_mem_size(bytes, 1, sum, &sum)) {
            status = nano_error_set(err, NANO_ERR_NO_MEMORY,
                                    "activations for %lld tokens do not fit in memory",
                                    (long long)max_tokens);
            goto fail;
        }
        items[num_items++] = (struct placement){
            .bytes = bytes, .buffer = i, .first_op = buffer->first_op, .last_op = buffer->last_op};
    }
    qsort(items, (size_t)num_items, sizeof *items, by_bytes_descending);
    for (int i = 0; i < num_items; i++) {
        items[i].offset = find_gap(items, i, &items[i], live);
        if (items[i].offset + items[i].bytes > *total_bytes)
            *total_bytes = items[i].offset + items[i].bytes;
        if (offsets)
            offsets[items[i].buffer] = items[i].offset;
    }
fail:
    nano_mem_free(items);
    nano_mem_free(live);
    return status;
}
