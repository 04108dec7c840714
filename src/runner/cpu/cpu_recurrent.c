/* The ops whose rows depend on earlier rows of their sequence through a state: short convolutions,
 * Mamba-2, the gated delta rule.
 *
 * A work item is some columns of one sequence (of a convolution, or of one head), whose rows are
 * walked in order by one thread while their part of the state is in its cache. Columns do not
 * depend on each other, so how many make an item changes nothing but how many threads have work. */
#include <string.h>

#include "runner/cpu/cpu_state.h"

#define LINE_FLOATS ((int64_t)(NANO_CACHE_LINE / sizeof(float)))
#define ITEMS_PER_THREAD 4
#define MIN_CONV_COLUMNS 64
#define MAX_CONV_COLUMNS 512 /* of as many rows as a kernel sees: they stay in L1 */

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Columns of an item, whole cache lines, so that `count` units of `width` columns make about
 * ITEMS_PER_THREAD items per thread; within min … max, if width is not less. */
static int64_t item_columns(const struct nano_cpu_worker *w, int64_t count, int64_t width,
                            int64_t min, int64_t max)
{
    int64_t columns = divide_up(count * width, (int64_t)w->num_threads * ITEMS_PER_THREAD);
    columns = divide_up(columns, LINE_FLOATS) * LINE_FLOATS;
    columns = columns < min ? min : columns > max ? max : columns;
    return columns < width ? columns : width;
}

/* A sequence begins without a state, whatever its slot holds. */
static void forget(const struct nano_batch_seq *seq, float *state, int64_t rows, int64_t stride,
                   int64_t columns)
{
    if (seq->first_position == 0)
        for (int64_t i = 0; i < rows; i++)
            memset(state + i * stride, 0, (size_t)columns * sizeof *state);
}

void nano_cpu_short_conv(struct nano_cpu_worker *w, int index)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_op *op = &r->program->ops[index];
    const int64_t width = op->in[0].width;
    const int kernel = op->recurrence.kernel;
    const int64_t columns =
        item_columns(w, w->batch->num_seqs, width, MIN_CONV_COLUMNS, MAX_CONV_COLUMNS);
    const int64_t num_parts = divide_up(width, columns);
    _Atomic int64_t *next = nano_cpu_shared_loop_begin(w);
    int64_t item, end;
    while (nano_cpu_shared_loop_next(next, w->batch->num_seqs * num_parts, 1, &item, &end)) {
        const struct nano_batch_seq *seq = &w->batch->seqs[item / num_parts];
        const int64_t first = item % num_parts * columns;
        const int64_t count = width - first < columns ? width - first : columns;
        float *state = nano_cpu_state(r, op, seq) + first;
        forget(seq, state, kernel - 1, width, count);
        r->kernels.short_conv(&(struct nano_short_conv_args){
            .out = nano_cpu_row(r, op->out[0], seq->first_token) + first,
            .in = nano_cpu_row(r, op->in[0], seq->first_token) + first,
            .out_stride = nano_cpu_stride(r, op->out[0]),
            .in_stride = nano_cpu_stride(r, op->in[0]),
            .num_rows = seq->num_tokens,
            .kernel = kernel,
            .num_columns = count,
            .weight = r->ops[index].conv_weight + first,
            .weight_stride = width,
            .state = state,
            .state_stride = width,
            .bias = op->bias[0] ? (const float *)op->bias[0]->data + first : NULL,
            .silu = op->act == NANO_ACT_SILU,
        });
    }
}

/* Some columns of a head of a sequence. */
struct part {
    const struct nano_batch_seq *seq;
    int head, key_head;
    int first, num_columns; /* in the head */
    int64_t value;          /* column of the head's first one in x, v and the output */
    int64_t key;            /* of the key head's in b, c, q and k */
    float *state;
};

/* False when there are no more. */
static bool next_part(const struct nano_cpu_worker *w, const struct nano_op *op,
                      _Atomic int64_t *next, struct part *out)
{
    const struct nano_recurrence *shape = &op->recurrence;
    const int64_t num_heads = (int64_t)w->batch->num_seqs * shape->num_heads;
    const int64_t columns =
        item_columns(w, num_heads, shape->head_dim, LINE_FLOATS, shape->head_dim);
    const int64_t num_parts = divide_up(shape->head_dim, columns);
    int64_t item, end;
    if (!nano_cpu_shared_loop_next(next, num_heads * num_parts, 1, &item, &end))
        return false;
    const struct nano_batch_seq *seq = &w->batch->seqs[item / num_parts / shape->num_heads];
    const int head = (int)(item / num_parts % shape->num_heads);
    const int first = (int)(item % num_parts * columns), left = shape->head_dim - first;
    const int key_head = shape->interleaved ? head % shape->num_key_heads
                                            : head / (shape->num_heads / shape->num_key_heads);
    *out = (struct part){
        .seq = seq,
        .head = head,
        .key_head = key_head,
        .first = first,
        .num_columns = left < columns ? left : (int)columns,
        .value = (int64_t)head * shape->head_dim + first,
        .key = (int64_t)key_head * shape->state_size,
        .state = nano_cpu_state(w->runner, op, seq) +
                 (int64_t)head * shape->state_size * shape->head_dim + first,
    };
    forget(seq, out->state, shape->state_size, shape->head_dim, out->num_columns);
    return true;
}

static float weight_of(const struct nano_cpu_runner *r, int index, int k, int head)
{
    return ((const float *)r->ops[index].weight[k])[head];
}

void nano_cpu_mamba2(struct nano_cpu_worker *w, int index)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_op *op = &r->program->ops[index];
    const struct nano_recurrence *shape = &op->recurrence;
    const int64_t b = (int64_t)shape->num_heads * shape->head_dim,
                  c = b + (int64_t)shape->num_key_heads * shape->state_size;
    _Atomic int64_t *next = nano_cpu_shared_loop_begin(w);
    struct part part;
    while (next_part(w, op, next, &part)) {
        const float *in = nano_cpu_row(r, op->in[0], part.seq->first_token);
        r->kernels.mamba2(&(struct nano_mamba2_args){
            .state = part.state,
            .state_stride = shape->head_dim,
            .x = in + part.value,
            .b = in + b + part.key,
            .c = in + c + part.key,
            .in_stride = nano_cpu_stride(r, op->in[0]),
            .dt = nano_cpu_row(r, op->in[1], part.seq->first_token) + part.head,
            .dt_stride = nano_cpu_stride(r, op->in[1]),
            .a = weight_of(r, index, 0, part.head),
            .d = weight_of(r, index, 1, part.head),
            .dt_bias = weight_of(r, index, 2, part.head),
            .out = nano_cpu_row(r, op->out[0], part.seq->first_token) + part.value,
            .out_stride = nano_cpu_stride(r, op->out[0]),
            .num_rows = part.seq->num_tokens,
            .num_columns = part.num_columns,
            .state_size = shape->state_size,
        });
    }
}

void nano_cpu_delta_net(struct nano_cpu_worker *w, int index)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_op *op = &r->program->ops[index];
    const struct nano_recurrence *shape = &op->recurrence;
    const int64_t keys = (int64_t)shape->num_key_heads * shape->state_size;
    _Atomic int64_t *next = nano_cpu_shared_loop_begin(w);
    struct part part;
    while (next_part(w, op, next, &part)) {
        const float *in = nano_cpu_row(r, op->in[0], part.seq->first_token);
        r->kernels.delta_net(&(struct nano_delta_net_args){
            .state = part.state,
            .state_stride = shape->head_dim,
            .q = in + part.key,
            .k = in + keys + part.key,
            .v = in + 2 * keys + part.value,
            .in_stride = nano_cpu_stride(r, op->in[0]),
            .alpha = nano_cpu_row(r, op->in[1], part.seq->first_token) + part.head,
            .alpha_stride = nano_cpu_stride(r, op->in[1]),
            .beta = nano_cpu_row(r, op->in[2], part.seq->first_token) + part.head,
            .beta_stride = nano_cpu_stride(r, op->in[2]),
            .a = weight_of(r, index, 0, part.head),
            .alpha_bias = weight_of(r, index, 1, part.head),
            .eps = op->eps,
            .out = nano_cpu_row(r, op->out[0], part.seq->first_token) + part.value,
            .out_stride = nano_cpu_stride(r, op->out[0]),
            .num_rows = part.seq->num_tokens,
            .num_columns = part.num_columns,
            .state_size = shape->state_size,
            .scratch = w->scratch->recurrent,
        });
    }
}
