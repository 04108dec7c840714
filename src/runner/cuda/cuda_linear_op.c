/* LINEAR, HEAD_LINEAR and MOE: inputs made in the form that the weights want, then the kernels. */
#include "runner/cuda/cuda_elementwise.h"
#include "runner/cuda/cuda_gemm.h"
#include "runner/cuda/cuda_norm.h"
#include "runner/cuda/cuda_state.h"

/* On the device. */
static enum nano_format format_of(enum nano_format format)
{
    return format == NANO_FORMAT_BF16 ? NANO_FORMAT_F16 : format;
}

bool nano_cuda_splits_glu(const struct nano_op *op)
{
    const bool glu = op->kind == NANO_OP_MOE || (op->kind == NANO_OP_LINEAR && op->glu);
    return glu && format_of(op->weight[0]->format) != format_of(op->weight[1]->format);
}

/* ---- inputs ---- */

enum input_form { FORM_NONE, FORM_F32, FORM_F16 };

/* What a linear multiplies with, before its form. */
struct input {
    struct nano_cuda_view view;
    int64_t width;
    int rows, num_heads;
    int64_t head_stride;
    enum nano_cuda_norm_kind norm;
    const float *weight, *bias;
    float eps;
    enum input_form made; /* the form that scratch has it in */
};

/* Sets the input of `args`, making it unless the last linear of the same input has. */
static void give_input(const struct nano_cuda_runner *r, struct input *in,
                       struct nano_cuda_linear_args *args)
{
    const enum input_form form = args->format == NANO_FORMAT_F32 ? FORM_F32 : FORM_F16;
    const struct nano_cuda_scratch *s = &r->scratch;
    args->cols = in->width;
    args->rows = in->rows;
    args->num_heads = in->num_heads;
    args->in_stride = in->head_stride;
    args->half = s->half;
    args->half_stride = nano_cuda_half_stride(in->width);
    args->scales = s->scales;
    args->f32 = in->view;
    args->norm = in->norm;
    args->norm_weight = in->weight;
    args->norm_bias = in->bias;
    args->norm_eps = in->eps;
    args->makes_input =
        form == FORM_F16 && in->made != form && nano_cuda_linear_can_make_input(args);
    if (args->makes_input)
        return;
    if (form == FORM_F32 && in->norm != NANO_CUDA_NORM_NONE)
        args->f32 = (struct nano_cuda_view){s->f32, in->width};
    if (form == in->made || (form == FORM_F32 && in->norm == NANO_CUDA_NORM_NONE))
        return;
    const struct nano_cuda_norm_args norm = {
        .kind = in->norm,
        .output = form == FORM_F32 ? NANO_CUDA_NORM_F32 : NANO_CUDA_NORM_F16,
        .in = in->view,
        .width = in->width,
        .group_stride = in->head_stride,
        .out_group_stride = in->head_stride,
        .num_groups = in->num_heads,
        .rows = in->rows,
        .weight = in->weight,
        .bias = in->bias,
        .eps = in->eps,
        .out = args->f32,
        .half = s->half,
        .half_stride = args->half_stride,
        .scales = s->scales,
    };
    nano_cuda_norm(r->device, &norm);
    in->made = form;
}

/* ---- weights ---- */

/* By cuBLASLt: some rows of the input at a time into scratch, from which a kernel finishes them. */
static void linear_gemm(const struct nano_cuda_runner *r, const struct nano_cuda_linear_args *args)
{
    struct nano_cuda_gemm_args gemm = {.input_stride = args->half_stride,
                                       .cols = args->half_stride,
                                       .workspace = r->scratch.gemm_workspace};
    int64_t columns = 0;
    for (int s = 0; s < args->num_segments; s++)
        columns += args->segments[s].rows;
    const int most = (int)(NANO_CUDA_SUMS_BYTES / sizeof(float) / (uint64_t)columns);
    const struct nano_cuda_view sums = {r->scratch.sums, columns};
    for (int first = 0; first < args->rows; first += most) {
        struct nano_cuda_linear_args part = *args;
        const int left = args->rows - first;
        part.rows = left < most ? left : most;
        part.scales = args->scales + first;
        int64_t column = 0;
        for (int s = 0; s < args->num_segments; s++) {
            struct nano_cuda_segment *segment = &part.segments[s];
            segment->out.data += first * segment->out.stride;
            gemm.weight = segment->weight;
            gemm.weight_stride = segment->row_bytes / (int64_t)sizeof(uint16_t);
            gemm.rows = segment->rows;
            gemm.input = args->half + first * args->half_stride;
            gemm.inputs = part.rows;
            gemm.out = (struct nano_cuda_view){sums.data + column, sums.stride};
            nano_cuda_gemm_run(r->gemm, r->device, &gemm);
            column += segment->rows;
        }
        nano_cuda_linear_finish_sums(r->device, &part, sums);
    }
}

static void linear_half(const struct nano_cuda_runner *r, const struct nano_cuda_linear_args *args)
{
    if (r->gemm && args->rows >= NANO_CUDA_GEMM_ROWS && !args->tiles && args->num_heads == 1)
        linear_gemm(r, args);
    else
        nano_cuda_linear(r->device, args);
}

/* Many rows of quantised weights: pieces of them are unpacked, and go through the tile kernel. */
static void linear_unpacked(const struct nano_cuda_runner *r,
                            const struct nano_cuda_linear_args *args)
{
    const int num_matrices = args->glu ? 2 : 1;
    const int64_t half_stride = nano_cuda_half_stride(args->cols);
    const int64_t row_bytes = half_stride * (int64_t)sizeof(uint16_t) * num_matrices;
    int64_t piece = (int64_t)NANO_CUDA_UNPACK_BYTES / row_bytes / 128 * 128;
    piece = piece ? piece : 16;
    for (int s = 0; s < (args->glu ? 1 : args->num_segments); s++)
        for (int64_t row = 0; row < args->segments[s].rows; row += piece) {
            const int64_t left = args->segments[s].rows - row, count = left < piece ? left : piece;
            struct nano_cuda_linear_args part = *args;
            part.format = NANO_FORMAT_F16;
            part.num_segments = num_matrices;
            for (int m = 0; m < num_matrices; m++) {
                struct nano_cuda_segment *segment = &part.segments[m];
                *segment = args->segments[s + m]; /* whose scale is 1 */
                uint16_t *unpacked = r->scratch.unpacked + m * count * half_stride;
                const struct nano_cuda_unpack_args unpack = {
                    .format = args->format,
                    .weight = (const unsigned char *)segment->weight + row * segment->row_bytes,
                    .row_bytes = segment->row_bytes,
                    .cols = args->cols,
                    .out = unpacked,
                    .half_stride = half_stride,
                    .rows = (int)count};
                nano_cuda_unpack(r->device, &unpack);
                segment->weight = unpacked;
                segment->row_bytes = half_stride * (int64_t)sizeof(uint16_t);
                segment->rows = (int)count;
                segment->out.data += row;
                segment->bias = segment->bias ? segment->bias + row : NULL;
            }
            linear_half(r, &part);
        }
}

static void run_linear(const struct nano_cuda_runner *r, const struct nano_cuda_linear_args *args)
{
    if (args->format != NANO_FORMAT_F32 && args->format != NANO_FORMAT_F16 && !args->tiles &&
        args->num_heads == 1 && args->rows > NANO_CUDA_UNPACK_ROWS)
        linear_unpacked(r, args);
    else if (args->format == NANO_FORMAT_F16)
        linear_half(r, args);
    else
        nano_cuda_linear(r->device, args);
}

static struct nano_cuda_segment segment_of(const struct nano_cuda_op *bound, int k,
                                           struct nano_cuda_view out)
{
    return (struct nano_cuda_segment){.weight = bound->weight[k]->data,
                                      .row_bytes = bound->weight[k]->row_bytes,
                                      .scale = bound->weight[k]->scale,
                                      .bias = bound->bias[k],
                                      .out = out,
                                      .rows = (int)bound->weight[k]->tensor->dims[1]};
}

/* act(gate) * factor of `args`, whose segments are those of weights 0 and 1; in two linears if they
 * have different formats. `slots` is how many rows there are. */
static void run_glu(const struct nano_cuda_runner *r, const struct nano_op *op,
                    const struct nano_cuda_op *bound, struct input *in,
                    struct nano_cuda_linear_args *args, struct nano_cuda_view out, int slots)
{
    args->act = op->act;
    args->format = bound->weight[0]->format;
    args->segments[0] = segment_of(bound, 0, out);
    args->segments[1] = segment_of(bound, 1, out);
    if (!nano_cuda_splits_glu(op)) {
        args->glu = true;
        args->num_segments = 2;
        give_input(r, in, args);
        run_linear(r, args);
        return;
    }
    const int64_t width = args->segments[0].rows;
    const struct nano_cuda_view up = {r->scratch.glu_up, width};
    args->act = NANO_ACT_NONE;
    args->num_segments = 1;
    for (int k = 0; k < 2; k++) {
        args->format = bound->weight[k]->format;
        args->segments[0] = segment_of(bound, k, k ? up : out);
        args->expert_bytes = bound->weight[k]->row_bytes * args->segments[0].rows;
        give_input(r, in, args);
        run_linear(r, args);
    }
    const struct nano_cuda_glu_args glu = {.act = op->act,
                                           .out = out,
                                           .gate = out,
                                           .up = up,
                                           .width = width,
                                           .gate_width = width,
                                           .rows = slots};
    nano_cuda_glu(r->device, &glu);
}

/* ---- ops ---- */

void nano_cuda_linear_op(const struct nano_cuda_pass *pass, int index)
{
    const struct nano_cuda_runner *r = pass->runner;
    const struct nano_op *op = &r->program->ops[index];
    const struct nano_cuda_op *bound = &r->ops[index];
    struct input in = {.view = nano_cuda_view_of(r, op->in[0]),
                       .width = op->in[0].width,
                       .rows = pass->rows,
                       .num_heads = 1,
                       .norm = !op->norm           ? NANO_CUDA_NORM_NONE
                               : op->is_layer_norm ? NANO_CUDA_NORM_LAYER
                                                   : NANO_CUDA_NORM_RMS,
                       .weight = bound->norm,
                       .bias = bound->norm_bias,
                       .eps = op->eps};
    if (op->glu) {
        struct nano_cuda_linear_args args = {.accumulate = op->accumulate};
        run_glu(r, op, bound, &in, &args, nano_cuda_view_of(r, op->out[0]), pass->rows);
        return;
    }
    for (int first = 0, next; first < op->num_out; first = next) { /* neighbours of one format */
        struct nano_cuda_linear_args args = {
            .format = bound->weight[first]->format, .accumulate = op->accumulate, .act = op->act};
        for (next = first; next < op->num_out && bound->weight[next]->format == args.format; next++)
            args.segments[args.num_segments++] =
                segment_of(bound, next, nano_cuda_view_of(r, op->out[next]));
        give_input(r, &in, &args);
        run_linear(r, &args);
    }
}

void nano_cuda_head_linear_op(const struct nano_cuda_pass *pass, int index)
{
    const struct nano_cuda_runner *r = pass->runner;
    const struct nano_op *op = &r->program->ops[index];
    const struct nano_cuda_op *bound = &r->ops[index];
    const int64_t cols = op->weight[0]->dims[0], rows = op->weight[0]->dims[1];
    struct input in = {.view = nano_cuda_view_of(r, op->in[0]),
                       .width = cols,
                       .rows = pass->rows,
                       .num_heads = op->num_heads,
                       .head_stride = op->in_stride};
    struct nano_cuda_linear_args args = {
        .format = bound->weight[0]->format,
        .segments = {segment_of(bound, 0, nano_cuda_view_of(r, op->out[0]))},
        .num_segments = 1,
        .head_bytes = bound->weight[0]->row_bytes * rows,
        .out_stride = op->out_stride};
    give_input(r, &in, &args);
    run_linear(r, &args);
    if (!op->copies_rest || op->in_stride == cols)
        return;
    const struct nano_cuda_norm_args copy = {
        .in = {in.view.data + cols, in.view.stride},
        .width = op->in_stride - cols,
        .group_stride = op->in_stride,
        .out_group_stride = op->out_stride,
        .num_groups = op->num_heads,
        .rows = pass->rows,
        .out = {args.segments[0].out.data + rows, args.segments[0].out.stride}};
    nano_cuda_norm(r->device, &copy);
}

/* Rows [first, first + rows) of the op. */
static void run_experts(const struct nano_cuda_pass *pass, int index, int first, int rows)
{
    const struct nano_cuda_runner *r = pass->runner;
    const struct nano_cuda_scratch *s = &r->scratch;
    const struct nano_op *op = &r->program->ops[index];
    const struct nano_cuda_op *bound = &r->ops[index];
    const int num_used = op->moe.num_used, slots = rows * num_used;
    bool is_half = true;
    for (int k = 0; k < 3; k++)
        is_half &= bound->weight[k]->format == NANO_FORMAT_F16;
    const int tile_slots = nano_cuda_moe_tile_slots(rows, num_used, op->moe.num_experts, is_half);
    const int64_t hidden = op->weight[0]->dims[1], width = op->out[0].width;
    struct nano_cuda_view x = nano_cuda_view_of(r, op->in[0]),
                          routes = nano_cuda_view_of(r, op->in[1]),
                          out = nano_cuda_view_of(r, op->out[0]);
    x.data += first * x.stride;
    routes.data += first * routes.stride;
    out.data += first * out.stride;

    const struct nano_cuda_moe_plan_args plan = {.routes = routes,
                                                 .rows = rows,
                                                 .num_used = num_used,
                                                 .num_experts = op->moe.num_experts,
                                                 .tile_slots = tile_slots,
                                                 .tiles = s->tiles,
                                                 .num_tiles = s->num_tiles,
                                                 .order = s->order,
                                                 .order_row = s->order_row};
    nano_cuda_moe_plan(r->device, &plan);

    struct nano_cuda_linear_args args = {
        .tiles = s->tiles,
        .num_tiles = s->num_tiles,
        .tile_slots = tile_slots,
        .max_tiles = nano_cuda_moe_max_tiles(rows, num_used, op->moe.num_experts, tile_slots),
        .in_rows = s->order_row,
        .out_rows = s->order,
        .expert_bytes = bound->weight[0]->row_bytes * hidden};
    struct input in = {.view = x, .width = op->in[0].width, .rows = rows, .num_heads = 1};
    const struct nano_cuda_view h = {s->expert_hidden, hidden};
    run_glu(r, op, bound, &in, &args, h, slots);

    struct nano_cuda_linear_args down = {
        .format = bound->weight[2]->format,
        .segments = {segment_of(bound, 2, (struct nano_cuda_view){s->expert_out, width})},
        .num_segments = 1,
        .tiles = s->tiles,
        .num_tiles = s->num_tiles,
        .tile_slots = tile_slots,
        .max_tiles = args.max_tiles,
        .in_rows = s->order,
        .out_rows = s->order,
        .expert_bytes = bound->weight[2]->row_bytes * width};
    struct input hidden_in = {.view = h, .width = hidden, .rows = slots, .num_heads = 1};
    give_input(r, &hidden_in, &down);
    run_linear(r, &down);

    const struct nano_cuda_moe_combine_args combine = {.routes = routes,
                                                       .in = {s->expert_out, width},
                                                       .out = out,
                                                       .rows = rows,
                                                       .num_used = num_used,
                                                       .width = width};
    nano_cuda_moe_combine(r->device, &combine);
}

void nano_cuda_moe_op(const struct nano_cuda_pass *pass, int index)
{
    const struct nano_op *op = &pass->runner->program->ops[index];
    for (int first = 0, rows; first < pass->rows; first += rows) {
        rows = nano_cuda_moe_rows(op, pass->rows - first);
        run_experts(pass, index, first, rows);
    }
}
