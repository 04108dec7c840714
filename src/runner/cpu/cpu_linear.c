/* Linear ops: the rows of all segments' weights, one after the other, are divided between the
 * threads; each thread multiplies its rows with all tokens, so that a weight is read once per step.
 *
 *   segment   0: attn_q          1: attn_k   2: attn_v
 *   units     ├──┬──┬──┬──┬──┬──┼──┬──┬──┼──┬──┬──┤   of 16 rows or the kernel's row_align
 *   threads   └──────0──────┘└──────1──────┘└──2──┘    even; or chunks as they come
 *
 * The two segments of a gate are one: a thread has both factors of its outputs. What adapters add
 * (cpu_lora.h) comes right behind the outputs that a thread has written, before an activation. */
#include <assert.h>

#include "runner/cpu/cpu_state.h"

struct linear {
    struct nano_cpu_worker *w;
    const struct nano_op *op;
    const struct nano_cpu_op *bound;
    struct nano_cpu_lora_op lora;
    int num_segments;
    int64_t num_tokens;
    const void *x[NANO_NUM_ACTIVATIONS];
    size_t x_stride; /* of F32 */
};

int64_t nano_cpu_unit_rows(const struct nano_linear_kernels *linear)
{
    const int64_t align = linear->row_align;
    return 16 % align == 0 ? 16 : align % 16 == 0 ? align : 16 * align;
}

static int64_t unit_rows(const struct linear *l, int segment)
{
    return nano_cpu_unit_rows(l->bound->linear[segment]);
}

static int64_t num_units(const struct linear *l, int segment)
{
    const int64_t unit = unit_rows(l, segment);
    return (l->op->out[segment].width + unit - 1) / unit;
}

static struct nano_linear_args args_of(const struct linear *l, int segment)
{
    const struct nano_cpu_runner *r = l->w->runner;
    const struct nano_tensor *tensor = l->op->weight[segment];
    const struct nano_view out = l->op->out[l->op->glu ? 0 : segment];
    return (struct nano_linear_args){
        .y = nano_cpu_row(r, out, 0),
        .y_stride = nano_cpu_stride(r, out),
        .weights = l->bound->weight[segment],
        .rows = tensor->dims[1],
        .cols = tensor->dims[0],
        .x = l->x[nano_format_traits(tensor->format)->activation],
        .x_stride = l->x_stride,
        .token_end = l->num_tokens,
        .bias = l->op->bias[segment] ? l->op->bias[segment]->data : NULL,
        .accumulate = l->op->accumulate,
    };
}

static void multiply(const struct linear *l, int segment, const struct nano_linear_args *args)
{
    l->bound->linear[segment]->linear(args);
    if (l->lora.num_slots > 0)
        nano_cpu_lora_expand(&l->lora, l->w, segment, args);
}

static void write_rows(const struct linear *l, int segment, int64_t row_begin, int64_t row_end)
{
    struct nano_linear_args args = args_of(l, segment);
    args.row_begin = row_begin;
    args.row_end = row_end;
    multiply(l, segment, &args);
    if (l->op->act == NANO_ACT_NONE)
        return;
    for (int64_t t = 0; t < l->num_tokens; t++) {
        float *y = args.y + t * args.y_stride + row_begin;
        l->w->runner->kernels.act[l->op->act](y, y, row_end - row_begin);
    }
}

/* Both factors of a few rows and tokens at a time, so that they are in the cache for the product.
 */
void nano_cpu_gated_rows(const struct nano_cpu_worker *w,
                         const struct nano_linear_kernels *const linear[2],
                         const struct nano_linear_args args[2], enum nano_act act,
                         const struct nano_cpu_lora_op *lora)
{
    struct nano_linear_args gate = args[0], factor = args[1];
    const int64_t row_end = gate.row_end, token_end = gate.token_end;
    const int64_t num_tokens = token_end - gate.token_begin;
    const int64_t tile_tokens =
        num_tokens < NANO_CPU_TILE_TOKENS ? num_tokens : NANO_CPU_TILE_TOKENS;
    const int64_t unit = nano_cpu_unit_rows(linear[0]),
                  tile_rows = NANO_CPU_TILE_FLOATS / tile_tokens / unit * unit;
    float *tile = w->scratch->tile;
    for (int64_t row = gate.row_begin; row < row_end; row += tile_rows) {
        const int64_t end = row + tile_rows < row_end ? row + tile_rows : row_end;
        gate.row_begin = factor.row_begin = row;
        gate.row_end = factor.row_end = end;
        factor.y_stride = end - row;
        for (int64_t t = args[0].token_begin; t < token_end; t += tile_tokens) {
            gate.token_begin = factor.token_begin = t;
            gate.token_end = factor.token_end =
                t + tile_tokens < token_end ? t + tile_tokens : token_end;
            /* The kernel writes y[t][row …]: its y lies before the tile. */
            factor.y =
                (float *)((uintptr_t)tile - (uintptr_t)(t * factor.y_stride + row) * sizeof *tile);
            linear[0]->linear(&gate);
            linear[1]->linear(&factor);
            if (lora) {
                nano_cpu_lora_expand(lora, w, 0, &gate);
                nano_cpu_lora_expand(lora, w, 1, &factor);
            }
            for (int64_t i = t; i < gate.token_end; i++) {
                float *y = gate.y + i * gate.y_stride + row;
                w->runner->kernels.glu[act](y, y, tile + (i - t) * factor.y_stride, end - row);
            }
        }
    }
}

static void write_gated_rows(const struct linear *l, int64_t row_begin, int64_t row_end)
{
    struct nano_linear_args args[2] = {args_of(l, 0), args_of(l, 1)};
    args[0].row_begin = row_begin;
    args[0].row_end = row_end;
    nano_cpu_gated_rows(l->w, l->bound->linear, args, l->op->act,
                        l->lora.num_slots > 0 ? &l->lora : NULL);
}

/* Units [begin, end) of all segments' units in a row. */
static void do_units(const struct linear *l, int64_t begin, int64_t end)
{
    for (int i = 0; i < l->num_segments; i++) {
        const int64_t unit = unit_rows(l, i), units = num_units(l, i), width = l->op->out[i].width;
        const int64_t first = begin > 0 ? begin : 0, last = end < units ? end : units;
        if (first < last) {
            const int64_t row_end = last * unit < width ? last * unit : width;
            if (l->op->glu)
                write_gated_rows(l, first * unit, row_end);
            else
                write_rows(l, i, first * unit, row_end);
        }
        begin -= units;
        end -= units;
    }
}

static void normalize(const struct linear *l, float *y, const float *x)
{
    const struct nano_kernels *kernels = &l->w->runner->kernels;
    const struct nano_op *op = l->op;
    const float *weight = op->norm->data;
    const float *bias = op->norm_bias ? op->norm_bias->data : NULL;
    if (op->is_layer_norm)
        kernels->layer_norm(y, x, weight, bias, op->in[0].width, op->eps);
    else
        kernels->rms_norm(y, x, weight, op->in[0].width, op->eps);
}

/* Normalises and quantises the input rows in the formats that the segments want. A single row is
 * made by every thread for itself, which is quicker than to wait for one of them. */
static void prepare_input(struct linear *l)
{
    struct nano_cpu_worker *w = l->w;
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_view in = l->op->in[0];
    const bool alone = l->num_tokens == 1;
    unsigned char *x = alone ? w->scratch->x : r->x;
    bool any = l->lora.num_slots > 0;
    l->x[NANO_ACTIVATION_F32] = nano_cpu_row(r, in, 0);
    l->x_stride = (size_t)nano_cpu_stride(r, in) * sizeof(float);
    for (int a = 0; a < NANO_NUM_ACTIVATIONS; a++) {
        if (!l->bound->makes[a])
            continue;
        l->x[a] = x;
        x += nano_cpu_x_bytes(r, (enum nano_activation)a, l->num_tokens, in.width);
        if (a == NANO_ACTIVATION_F32)
            l->x_stride = (size_t)in.width * sizeof(float);
        any = true;
    }
    if (!any)
        return;
    int64_t begin = 0, end = 1;
    if (!alone)
        nano_cpu_share(w, l->num_tokens, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *row = nano_cpu_row(r, in, t);
        if (l->op->norm) {
            normalize(l, w->scratch->row, row);
            row = w->scratch->row;
        }
        if (l->lora.num_slots > 0 && alone)
            l->lora.x = row;
        else if (l->lora.num_slots > 0)
            nano_cpu_lora_keep(&l->lora, w, t, row, in.width);
        for (int a = 0; a < NANO_NUM_ACTIVATIONS; a++)
            if (l->bound->makes[a])
                r->kernels.activation[a].quantize((void *)(uintptr_t)l->x[a], t, row, in.width);
    }
    if (!alone)
        nano_cpu_sync(w);
}

/* Every thread shows its columns of all rows, so what an observer adds up for a column does not
 * depend on how many threads there are. */
static void show_input(const struct linear *l)
{
    const struct nano_runner_config *config = &l->w->runner->config;
    struct nano_linear_input input = {.op = l->op,
                                      .rows = l->x[NANO_ACTIVATION_F32],
                                      .stride = (int64_t)(l->x_stride / sizeof(float)),
                                      .num_rows = l->num_tokens};
    nano_cpu_share(l->w, l->op->in[0].width, &input.first_column, &input.end_column);
    if (input.first_column < input.end_column)
        config->on_linear_input(config->on_linear_input_context, &input);
}

void nano_cpu_linear(struct nano_cpu_worker *w, int op, int64_t rows)
{
    struct linear l = {.w = w,
                       .op = &w->runner->program->ops[op],
                       .bound = &w->runner->ops[op],
                       .num_segments = w->runner->program->ops[op].num_out,
                       .num_tokens = rows};
    nano_cpu_lora_begin(&l.lora, w, op);
    prepare_input(&l);
    if (l.lora.num_slots > 0) {
        nano_cpu_lora_shrink(&l.lora, w, op);
        nano_cpu_sync(w);
    }
    if (w->runner->config.on_linear_input)
        show_input(&l);
    int64_t total = 0, begin, end;
    for (int i = 0; i < l.num_segments; i++) {
        assert(unit_rows(&l, i) <= NANO_CPU_CHUNK_ROWS);
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
