/* HEAD_LINEAR ops: a matrix per head. The rows of all heads' matrices, one head after the other,
 * are divided between the threads; each multiplies its rows with all tokens.
 *
 *   head      0           1           2
 *   units     ├──┬──┬──┬──┼──┬──┬──┬──┼──┬──┬──┬──┤   of 16 rows or the kernel's row_align
 *   threads   └───────0───────┘└──────1───────┘└──2
 *
 * Where the weights want another form of the input, each head's columns are made on their own:
 * blocks of a form never cross heads. */
#include <string.h>

#include "runner/cpu/cpu_state.h"

struct head_linear {
    struct nano_cpu_worker *w;
    const struct nano_op *op;
    const struct nano_cpu_op *bound;
    enum nano_activation form;
    int64_t num_tokens, rows, cols, unit_rows, units; /* units: of a head */
    size_t x_bytes;                                   /* of a head's input in its form */
};

static const float *input_of(const struct head_linear *l, int64_t head, int64_t token)
{
    return nano_cpu_row(l->w->runner, l->op->in[0], token) + head * l->op->in_stride;
}

static void make_input(const struct head_linear *l, int64_t head, int64_t token, void *x)
{
    l->w->runner->kernels.activation[l->form].quantize(x, token, input_of(l, head, token), l->cols);
}

/* The columns behind a head's input go behind its output. */
static void copy_rest(const struct head_linear *l)
{
    const int64_t count = l->op->in_stride - l->cols;
    int64_t begin, end;
    nano_cpu_share(l->w, l->num_tokens, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t head = 0; head < l->op->num_heads; head++)
            memcpy(nano_cpu_row(l->w->runner, l->op->out[0], t) + head * l->op->out_stride +
                       l->rows,
                   input_of(l, head, t) + l->cols, (size_t)count * sizeof(float));
}

/* The inputs of all heads, by all threads; a single token's are made by whoever needs them. */
static void prepare_input(const struct head_linear *l)
{
    int64_t begin, end;
    if (l->form == NANO_ACTIVATION_F32 || l->num_tokens == 1)
        return;
    nano_cpu_share(l->w, l->num_tokens * l->op->num_heads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const int64_t head = i / l->num_tokens;
        make_input(l, head, i % l->num_tokens, l->w->runner->x + (size_t)head * l->x_bytes);
    }
    nano_cpu_sync(l->w);
}

/* Units [begin, end) of one head. */
static void multiply(const struct head_linear *l, int64_t head, int64_t begin, int64_t end)
{
    const struct nano_cpu_runner *r = l->w->runner;
    const int64_t row_end = end * l->unit_rows;
    const void *x = r->x + (size_t)head * l->x_bytes;
    if (l->form == NANO_ACTIVATION_F32) {
        x = input_of(l, head, 0);
    } else if (l->num_tokens == 1) {
        make_input(l, head, 0, l->w->scratch->x);
        x = l->w->scratch->x;
    }
    const struct nano_linear_args args = {
        .y = nano_cpu_row(r, l->op->out[0], 0) + head * l->op->out_stride,
        .y_stride = nano_cpu_stride(r, l->op->out[0]),
        .weights =
            (const unsigned char *)l->bound->weight[0] + (size_t)head * l->bound->matrix_bytes[0],
        .rows = l->rows,
        .cols = l->cols,
        .row_begin = begin * l->unit_rows,
        .row_end = row_end < l->rows ? row_end : l->rows,
        .x = x,
        .x_stride = (size_t)nano_cpu_stride(r, l->op->in[0]) * sizeof(float),
        .token_end = l->num_tokens,
    };
    l->bound->linear[0]->linear(&args);
}

/* Units [begin, end) of all heads' units in a row. */
static void do_units(const struct head_linear *l, int64_t begin, int64_t end)
{
    for (int64_t next; begin < end; begin = next) {
        const int64_t head = begin / l->units, first = head * l->units;
        next = first + l->units < end ? first + l->units : end;
        multiply(l, head, begin - first, next - first);
    }
}

struct nano_cpu_head_linear_size nano_cpu_head_linear_size(const struct nano_cpu_runner *r,
                                                           const struct nano_op *op,
                                                           int64_t max_tokens)
{
    const struct nano_tensor *weight = op->weight[0];
    const enum nano_activation form = nano_format_traits(weight->format)->activation;
    if (form == NANO_ACTIVATION_F32)
        return (struct nano_cpu_head_linear_size){0};
    return (struct nano_cpu_head_linear_size){
        .x_bytes = (size_t)op->num_heads * nano_cpu_x_bytes(r, form, max_tokens, weight->dims[0]),
        .x_bytes_of_one = nano_cpu_x_bytes(r, form, 1, weight->dims[0])};
}

void nano_cpu_head_linear(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_op *op = &w->runner->program->ops[index];
    const struct nano_tensor *weight = op->weight[0];
    struct head_linear l = {.w = w,
                            .op = op,
                            .bound = &w->runner->ops[index],
                            .form = nano_format_traits(weight->format)->activation,
                            .num_tokens = rows,
                            .rows = weight->dims[1],
                            .cols = weight->dims[0]};
    l.unit_rows = nano_cpu_unit_rows(l.bound->linear[0]);
    l.units = (l.rows + l.unit_rows - 1) / l.unit_rows;
    l.x_bytes = nano_cpu_x_bytes(w->runner, l.form, rows, l.cols);
    const int64_t total = op->num_heads * l.units;
    int64_t begin, end;
    if (op->copies_rest)
        copy_rest(&l);
    prepare_input(&l);
    if (rows <= NANO_CPU_EVEN_ROWS) {
        nano_cpu_share(w, total, &begin, &end);
        do_units(&l, begin, end);
        return;
    }
    _Atomic int64_t *next = nano_cpu_shared_loop_begin(w);
    while (nano_cpu_shared_loop_next(next, total, l.units, &begin, &end))
        do_units(&l, begin, end);
}
