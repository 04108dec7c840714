/* Linear ops: the rows of all segments' weights, one after the other, are divided between the
 * threads; each thread multiplies its rows with all tokens, so that a weight is read once per step.
 *
 *   segment   0: attn_q          1: attn_k   2: attn_v
 *   units     ├──┬──┬──┬──┬──┬──┼──┬──┬──┼──┬──┬──┤   of 16 rows or the kernel's row_align
 *   threads   └──────0──────┘└──────1──────┘└──2──┘    even; or chunks as they come */
#include <assert.h>

#include "runner/cpu/cpu_state.h"

struct linear {
    struct nano_cpu_worker *w;
    const struct nano_op *op;
    const struct nano_cpu_op *bound;
    int64_t num_tokens;
    const unsigned char *x[NANO_NUM_ACTIVATIONS];
    size_t x_stride[NANO_NUM_ACTIVATIONS];
};

/* Multiples of it are where the rows of a segment may be cut; 16 floats of output are a cache line.
 */
static int64_t unit_rows(const struct linear *l, int segment)
{
    const int64_t align = l->bound->linear[segment]->row_align;
    return 16 % align == 0 ? 16 : align % 16 == 0 ? align : 16 * align;
}

static int64_t num_units(const struct linear *l, int segment)
{
    const int64_t unit = unit_rows(l, segment);
    return (l->op->out[segment].width + unit - 1) / unit;
}

static void multiply(const struct linear *l, int segment, float *y, int64_t y_stride,
                     int64_t row_begin, int64_t row_end, int64_t token, int64_t num_tokens)
{
    const struct nano_tensor *tensor = l->op->weight[segment];
    const enum nano_activation a = nano_format_traits(tensor->format)->activation;
    l->bound->linear[segment]->linear(
        y, y_stride, l->bound->weight[segment], tensor->dims[1], tensor->dims[0], row_begin,
        row_end, l->x[a] + (size_t)token * l->x_stride[a], l->x_stride[a], num_tokens);
}

static const float *bias_of(const struct linear *l, int segment)
{
    return l->op->bias[segment] ? l->op->bias[segment]->data : NULL;
}

static void write_rows(const struct linear *l, int segment, int64_t row_begin, int64_t row_end)
{
    const struct nano_cpu_runner *r = l->w->runner;
    float *y = nano_cpu_row(r, l->op->out[segment], 0);
    const int64_t y_stride = nano_cpu_stride(r, l->op->out[segment]);
    const float *bias = bias_of(l, segment);
    multiply(l, segment, y, y_stride, row_begin, row_end, 0, l->num_tokens);
    for (int64_t t = 0; bias && t < l->num_tokens; t++)
        r->kernels.add(y + t * y_stride + row_begin, bias + row_begin, row_end - row_begin);
}

/* The same into a tile that is then added to the output. */
static void add_rows(const struct linear *l, int segment, int64_t row_begin, int64_t row_end)
{
    const struct nano_cpu_runner *r = l->w->runner;
    float *y = nano_cpu_row(r, l->op->out[segment], 0);
    const int64_t y_stride = nano_cpu_stride(r, l->op->out[segment]);
    const float *bias = bias_of(l, segment);
    const int64_t unit = unit_rows(l, segment);
    const int64_t tile_tokens =
        l->num_tokens < NANO_CPU_TILE_FLOATS / unit ? l->num_tokens : NANO_CPU_TILE_FLOATS / unit;
    const int64_t tile_rows = NANO_CPU_TILE_FLOATS / tile_tokens / unit * unit;
    for (int64_t row = row_begin; row < row_end; row += tile_rows) {
        const int64_t rows = row_end - row < tile_rows ? row_end - row : tile_rows;
        for (int64_t token = 0; token < l->num_tokens; token += tile_tokens) {
            const int64_t left = l->num_tokens - token;
            const int64_t tokens = left < tile_tokens ? left : tile_tokens;
            float *tile = l->w->scratch->tile;
            /* The kernel writes y[row …]: its y lies `row` floats before the tile. */
            float *shifted = (float *)((uintptr_t)tile - (uintptr_t)row * sizeof *tile);
            multiply(l, segment, shifted, rows, row, row + rows, token, tokens);
            for (int64_t t = 0; t < tokens; t++) {
                if (bias)
                    r->kernels.add(tile + t * rows, bias + row, rows);
                r->kernels.add(y + (token + t) * y_stride + row, tile + t * rows, rows);
            }
        }
    }
}

/* Units [begin, end) of all segments' units in a row. */
static void do_units(const struct linear *l, int64_t begin, int64_t end)
{
    for (int i = 0; i < l->op->num_out; i++) {
        const int64_t unit = unit_rows(l, i), units = num_units(l, i), width = l->op->out[i].width;
        const int64_t first = begin > 0 ? begin : 0, last = end < units ? end : units;
        if (first < last) {
            const int64_t row_end = last * unit < width ? last * unit : width;
            (l->op->accumulate ? add_rows : write_rows)(l, i, first * unit, row_end);
        }
        begin -= units;
        end -= units;
    }
}

/* Quantises the input rows in the formats that the segments want. A single row is quantised by
 * every thread for itself, which is quicker than to wait for one of them. */
static void quantize_input(struct linear *l)
{
    struct nano_cpu_worker *w = l->w;
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_view in = l->op->in[0];
    l->x[NANO_ACTIVATION_F32] = (const unsigned char *)nano_cpu_row(r, in, 0);
    l->x_stride[NANO_ACTIVATION_F32] = (size_t)nano_cpu_stride(r, in) * sizeof(float);
    if (!l->bound->x_row_bytes)
        return;
    const bool alone = l->num_tokens == 1;
    unsigned char *x = alone ? w->scratch->x : r->x;
    int64_t begin = 0, end = 1;
    if (!alone)
        nano_cpu_share(w, l->num_tokens, &begin, &end);
    for (int a = 0; a < NANO_NUM_ACTIVATIONS; a++) {
        if (l->bound->x_offset[a] == NANO_CPU_UNUSED)
            continue;
        l->x[a] = x + l->bound->x_offset[a];
        l->x_stride[a] = l->bound->x_row_bytes;
        for (int64_t t = begin; t < end; t++)
            r->kernels.activation[a].quantize(x + l->bound->x_offset[a] +
                                                  (size_t)t * l->bound->x_row_bytes,
                                              nano_cpu_row(r, in, t), in.width);
    }
    if (!alone)
        nano_cpu_sync(w);
}

void nano_cpu_linear(struct nano_cpu_worker *w, int op, int64_t rows)
{
    struct linear l = {.w = w,
                       .op = &w->runner->program->ops[op],
                       .bound = &w->runner->ops[op],
                       .num_tokens = rows};
    quantize_input(&l);
    int64_t total = 0, begin, end;
    for (int i = 0; i < l.op->num_out; i++) {
        assert(unit_rows(&l, i) <= NANO_CPU_TILE_FLOATS);
        total += num_units(&l, i);
    }
    if (rows <= NANO_CPU_EVEN_ROWS) {
        nano_cpu_share(w, total, &begin, &end);
        do_units(&l, begin, end);
        return;
    }
    int64_t step = total / (4 * (int64_t)w->num_threads);
    const int64_t most = NANO_CPU_CHUNK_ROWS / 16;
    step = step < 1 ? 1 : step > most ? most : step;
    _Atomic int64_t *next = nano_cpu_shared_loop_begin(w);
    while (nano_cpu_shared_loop_next(next, total, step, &begin, &end))
        do_units(&l, begin, end);
}
