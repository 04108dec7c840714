/* Recurrent layers on the GPU: against the scalar reference, several sequences at once, and the
 * same bits however sequences are cut into batches and batches into blocks of threads. */
#include <math.h>

#include "runner/cuda/cuda_recurrent.h"
#include "simd/kernels.h"
#include "tests/cuda/cuda_fixture.h"

static struct nano_kernels ref;

static void setup(void)
{
    fixture_open();
    nano_kernels_init_ref(&ref);
}

TestSuite(cuda_recurrent, .init = setup, .fini = fixture_close);

enum { NUM_SEQS = 4, STATE_OFFSET = 3, NUM_SLOTS = NUM_SEQS + 1 };

/* An op and what it is given: NUM_SEQS sequences, one after the other. The first is a new one. */
struct op {
    enum nano_op_kind kind;
    struct nano_recurrence shape;
    int64_t width; /* of the output */
    int64_t in_width[3];
    int64_t state_floats; /* of the op; a slot has STATE_OFFSET more before and behind them */
    int lengths[NUM_SEQS], num_rows;
    struct rows in[3];
    float *weight[3], *bias, eps;
    enum nano_act act;
    float *states; /* [NUM_SLOTS] as they are at the beginning */
};

enum { FREE_SLOT = 2 };
static const int slots[NUM_SEQS] = {3, 0, 4, 1};

static int first_position(int seq)
{
    return seq == 0 ? 0 : 5 * seq;
}

static int64_t slot_floats(const struct op *op)
{
    return op->state_floats + 2 * STATE_OFFSET;
}

static float *state_in(const struct op *op, float *states, int seq)
{
    return states + slots[seq] * slot_floats(op) + STATE_OFFSET;
}

static float *random_floats(int64_t count, float scale)
{
    float *x = fixture_alloc((size_t)count * sizeof *x);
    for (int64_t i = 0; i < count; i++)
        x[i] = random_float() * scale;
    return x;
}

static void op_make(struct op *op, const int lengths[NUM_SEQS], float scale, int64_t offset)
{
    const struct nano_recurrence *r = &op->shape;
    op->num_rows = 0;
    for (int s = 0; s < NUM_SEQS; s++)
        op->num_rows += op->lengths[s] = lengths[s];
    if (op->kind == NANO_OP_SHORT_CONV) {
        op->in_width[0] = op->width;
        op->state_floats = (r->kernel - 1) * op->width;
        op->weight[0] = random_floats(r->kernel * op->width, 1);
        op->bias = op->act == NANO_ACT_SILU ? random_floats(op->width, 1) : NULL;
    } else {
        op->width = (int64_t)r->num_heads * r->head_dim;
        op->in_width[0] = op->width + 2 * (int64_t)r->num_key_heads * r->state_size;
        op->in_width[1] = r->num_heads;
        op->in_width[2] = op->kind == NANO_OP_DELTA_NET ? r->num_heads : 0;
        op->state_floats = op->width * r->state_size;
        for (int i = 0; i < 3; i++)
            op->weight[i] = random_floats(r->num_heads, 2);
        for (int h = 0; h < r->num_heads; h++)
            op->weight[0][h] = -fabsf(op->weight[0][h]); /* A */
    }
    for (int i = 0; i < 3; i++)
        if (op->in_width[i]) {
            op->in[i] = rows_make(op->num_rows, op->in_width[i], offset + i);
            rows_fill(&op->in[i], i ? 6 : scale);
        }
    op->states = random_floats(NUM_SLOTS * slot_floats(op), scale);
    for (int64_t i = 0; i < op->state_floats; i++)
        state_in(op, op->states, 0)[i] = NAN; /* what a slot's last sequence left does not matter */
}

static void op_free(struct op *op)
{
    for (int i = 0; i < 3; i++) {
        if (op->in_width[i])
            rows_free(&op->in[i]);
        if (op->weight[i])
            fixture_free(op->weight[i]);
    }
    if (op->bias)
        fixture_free(op->bias);
    fixture_free(op->states);
}

/* ---- on the emulated GPU ---- */

/* What came of it. */
struct result {
    struct rows out;
    float *states;
};

static struct result result_make(const struct op *op)
{
    const size_t num_bytes = (size_t)(NUM_SLOTS * slot_floats(op)) * sizeof(float);
    struct result r = {rows_make(op->num_rows, op->width, 1), fixture_alloc(num_bytes)};
    memcpy(r.states, op->states, num_bytes);
    return r;
}

static void result_free(const struct op *op, struct result *r)
{
    for (int slot = 0; slot < NUM_SLOTS; slot++) {
        const float *before = op->states + slot * slot_floats(op),
                    *after = r->states + slot * slot_floats(op);
        cr_assert_arr_eq(before, after, STATE_OFFSET * sizeof(float));
        cr_assert_arr_eq(before + STATE_OFFSET + op->state_floats,
                         after + STATE_OFFSET + op->state_floats, STATE_OFFSET * sizeof(float));
        if (slot == FREE_SLOT)
            cr_assert_arr_eq(before, after, (size_t)slot_floats(op) * sizeof(float));
    }
    rows_free(&r->out);
    fixture_free(r->states);
}

/* Rows [done[s], done[s] + count[s]) of each sequence s, those without rows left out, packed as a
 * batch is, in a random order of sequences. */
static void run_batch(const struct op *op, struct result *result, const int *done, const int *count,
                      int num_blocks)
{
    struct nano_cuda_batch *batch = fixture_alloc(sizeof *batch);
    struct nano_cuda_seq *seqs = fixture_alloc(NUM_SEQS * sizeof *seqs);
    int rows[512];
    const int first = random_below(NUM_SEQS);
    batch->num_rows = batch->num_seqs = 0;
    for (int i = 0; i < NUM_SEQS; i++) {
        const int s = (first + i) % NUM_SEQS;
        int start = done[s];
        if (!count[s])
            continue;
        for (int k = 0; k < s; k++)
            start += op->lengths[k];
        seqs[batch->num_seqs++] =
            (struct nano_cuda_seq){.first_row = batch->num_rows,
                                   .num_rows = count[s],
                                   .first_position = first_position(s) + done[s],
                                   .state = slots[s]};
        for (int k = 0; k < count[s]; k++)
            rows[batch->num_rows++] = start + k;
    }
    const int padding = random_below(3), num_rows = batch->num_rows + padding;
    struct nano_cuda_recurrent_args args = {.batch = batch,
                                            .seqs = seqs,
                                            .states = result->states,
                                            .state_floats = slot_floats(op),
                                            .state_offset = STATE_OFFSET,
                                            .recurrence = op->shape,
                                            .weight = {op->weight[0], op->weight[1], op->weight[2]},
                                            .bias = op->bias,
                                            .act = op->act,
                                            .width = op->width,
                                            .eps = op->eps,
                                            .rows = num_rows,
                                            .num_blocks = num_blocks};
    struct rows in[3], out = rows_make(num_rows, op->width, op->in[0].offset);
    for (int i = 0; i < 3; i++)
        if (op->in_width[i]) {
            in[i] = rows_make(num_rows, op->in_width[i], op->in[i].offset);
            for (int r = 0; r < batch->num_rows; r++)
                memcpy(row_of(&in[i], r), row_of(&op->in[i], rows[r]),
                       (size_t)op->in_width[i] * sizeof(float));
            args.in[i] = in[i].view;
        }
    args.out = out.view;
    if (op->kind == NANO_OP_SHORT_CONV)
        nano_cuda_short_conv(device, &args);
    else if (op->kind == NANO_OP_MAMBA2)
        nano_cuda_mamba2(device, &args);
    else
        nano_cuda_delta_net(device, &args);
    for (int r = 0; r < batch->num_rows; r++)
        memcpy(row_of(&result->out, rows[r]), row_of(&out, r), (size_t)op->width * sizeof(float));
    for (int i = 0; i < 3; i++)
        if (op->in_width[i])
            rows_free(&in[i]);
    rows_free(&out);
    fixture_free(batch);
    fixture_free(seqs);
}

/* Chunks of that many rows; 0: all of a sequence at once, -1: of any size, a sequence sits out now
 * and then. */
static struct result run(const struct op *op, int chunk, int num_blocks)
{
    struct result r = result_make(op);
    int done[NUM_SEQS] = {0}, count[NUM_SEQS], left = op->num_rows;
    while (left > 0) {
        for (int s = 0; s < NUM_SEQS; s++) {
            const int rest = op->lengths[s] - done[s];
            count[s] = chunk == 0 ? rest : chunk > 0 ? chunk : random_below(12);
            count[s] = count[s] < rest ? count[s] : rest;
        }
        run_batch(op, &r, done, count, num_blocks);
        for (int s = 0; s < NUM_SEQS; s++) {
            done[s] += count[s];
            left -= count[s];
        }
    }
    return r;
}

/* ---- by the reference ---- */

static void conv_by_reference(const struct op *op, const float *in, int64_t stride, int num_rows,
                              float *out, float *state)
{
    const int kernel = op->shape.kernel;
    float *weight = malloc((size_t)(kernel * op->width) * sizeof *weight);
    for (int64_t c = 0; c < op->width; c++)
        for (int j = 0; j < kernel; j++)
            weight[j * op->width + c] = op->weight[0][c * kernel + j];
    ref.short_conv(&(struct nano_short_conv_args){.out = out,
                                                  .in = in,
                                                  .out_stride = op->width,
                                                  .in_stride = stride,
                                                  .num_rows = num_rows,
                                                  .kernel = kernel,
                                                  .num_columns = op->width,
                                                  .weight = weight,
                                                  .state = state,
                                                  .weight_stride = op->width,
                                                  .state_stride = op->width,
                                                  .bias = op->bias,
                                                  .silu = op->act == NANO_ACT_SILU});
    free(weight);
}

static void head_by_reference(const struct op *op, int head, const float *in, const float *gates,
                              const float *more_gates, int num_rows, float *out, float *state)
{
    const struct nano_recurrence *r = &op->shape;
    const int key_head =
        r->interleaved ? head % r->num_key_heads : head / (r->num_heads / r->num_key_heads);
    const int64_t keys = (int64_t)r->num_key_heads * r->state_size,
                  key = (int64_t)key_head * r->state_size, value = (int64_t)head * r->head_dim;
    state += value * r->state_size;
    out += value;
    if (op->kind == NANO_OP_MAMBA2) {
        ref.mamba2(&(struct nano_mamba2_args){.state = state,
                                              .state_stride = r->head_dim,
                                              .x = in + value,
                                              .b = in + op->width + key,
                                              .c = in + op->width + keys + key,
                                              .in_stride = op->in[0].view.stride,
                                              .dt = gates + head,
                                              .dt_stride = op->in[1].view.stride,
                                              .a = op->weight[0][head],
                                              .d = op->weight[1][head],
                                              .dt_bias = op->weight[2][head],
                                              .out = out,
                                              .out_stride = op->width,
                                              .num_rows = num_rows,
                                              .num_columns = r->head_dim,
                                              .state_size = r->state_size});
        return;
    }
    float *scratch = malloc(NANO_DELTA_NET_SCRATCH(r->state_size) * sizeof *scratch);
    ref.delta_net(&(struct nano_delta_net_args){.state = state,
                                                .state_stride = r->head_dim,
                                                .q = in + key,
                                                .k = in + keys + key,
                                                .v = in + 2 * keys + value,
                                                .in_stride = op->in[0].view.stride,
                                                .alpha = gates + head,
                                                .beta = more_gates + head,
                                                .alpha_stride = op->in[1].view.stride,
                                                .beta_stride = op->in[2].view.stride,
                                                .a = op->weight[0][head],
                                                .alpha_bias = op->weight[1][head],
                                                .eps = op->eps,
                                                .out = out,
                                                .out_stride = op->width,
                                                .num_rows = num_rows,
                                                .num_columns = r->head_dim,
                                                .state_size = r->state_size,
                                                .scratch = scratch});
    free(scratch);
}

/* Rows [row, row + num_rows); out is [num_rows, width]. */
static void by_reference(const struct op *op, int row, int num_rows, float *out, float *state)
{
    const float *in = row_of(&op->in[0], row);
    if (op->kind == NANO_OP_SHORT_CONV) {
        conv_by_reference(op, in, op->in[0].view.stride, num_rows, out, state);
        return;
    }
    for (int head = 0; head < op->shape.num_heads; head++)
        head_by_reference(op, head, in, row_of(&op->in[1], row),
                          op->in_width[2] ? row_of(&op->in[2], row) : NULL, num_rows, out, state);
}

/* A bound of what is rounded. Of sums of products it is their sum with all values positive. A
 * column of the delta rule's state, as a vector, is never longer than it was plus all of its v. */
static void bounds(const struct op *op, int row, int num_rows, float *out, float *state)
{
    if (op->kind == NANO_OP_DELTA_NET) {
        const struct nano_recurrence *r = &op->shape;
        const int64_t keys = (int64_t)r->num_key_heads * r->state_size;
        for (int64_t c = 0; c < op->width; c++) {
            float *column = state + c / r->head_dim * r->head_dim * r->state_size + c % r->head_dim;
            double length = 0;
            for (int n = 0; n < r->state_size; n++)
                length += (double)column[n * r->head_dim] * (double)column[n * r->head_dim];
            length = sqrt(length);
            for (int t = 0; t < num_rows; t++) {
                length += fabs((double)row_of(&op->in[0], row + t)[2 * keys + c]);
                out[t * op->width + c] = (float)length;
            }
            for (int n = 0; n < r->state_size; n++)
                column[n * r->head_dim] = (float)length;
        }
        return;
    }
    struct op positive = *op;
    positive.in[0] = rows_make(num_rows, op->in_width[0], 0);
    positive.in[0].view.stride = op->in[0].view.stride;
    fixture_free(positive.in[0].memory);
    positive.in[0].memory =
        fixture_alloc((size_t)(num_rows * op->in[0].view.stride) * sizeof(float));
    positive.in[0].view.data = positive.in[0].memory;
    for (int t = 0; t < num_rows; t++)
        for (int64_t c = 0; c < op->in_width[0]; c++)
            row_of(&positive.in[0], t)[c] = fabsf(row_of(&op->in[0], row + t)[c]);
    for (int64_t i = 0; i < op->state_floats; i++)
        state[i] = fabsf(state[i]);
    positive.act = NANO_ACT_NONE;
    const int64_t num_weights =
        op->kind == NANO_OP_SHORT_CONV ? op->shape.kernel * op->width : op->shape.num_heads;
    const int weight = op->kind == NANO_OP_SHORT_CONV ? 0 : 1; /* D */
    positive.weight[weight] = random_floats(num_weights, 1);
    for (int64_t i = 0; i < num_weights; i++)
        positive.weight[weight][i] = fabsf(op->weight[weight][i]);
    if (op->bias) {
        positive.bias = random_floats(op->width, 1);
        for (int64_t i = 0; i < op->width; i++)
            positive.bias[i] = fabsf(op->bias[i]);
    }
    for (int i = 1; i < 3; i++)
        if (op->in_width[i]) {
            positive.in[i].view.data = row_of(&op->in[i], row);
        }
    by_reference(&positive, 0, num_rows, out, state);
    fixture_free(positive.in[0].memory);
    fixture_free(positive.weight[weight]);
    if (op->bias)
        fixture_free(positive.bias);
}

static void expect_near(const float *got, const float *expected, const float *bound, int64_t count,
                        double unit, const char *what, const struct op *op)
{
    for (int64_t i = 0; i < count; i++)
        cr_assert(fabs((double)got[i] - (double)expected[i]) <= (double)bound[i] * unit + 1e-35,
                  "op %d, heads %d, %d, state %d, width %lld: %s %lld is %.9g, expected %.9g",
                  (int)op->kind, op->shape.num_heads, op->shape.num_key_heads, op->shape.state_size,
                  (long long)op->width, what, (long long)i, (double)got[i], (double)expected[i]);
}

static void check_near(const struct op *op, struct result *result)
{
    for (int s = 0, row = 0; s < NUM_SEQS; row += op->lengths[s++]) {
        const int count = op->lengths[s];
        const size_t state_bytes = (size_t)op->state_floats * sizeof(float),
                     out_bytes = (size_t)(count * op->width) * sizeof(float);
        float *state = calloc(1, state_bytes + 1), *state_bound = calloc(1, state_bytes + 1),
              *out = malloc(out_bytes), *bound = malloc(out_bytes);
        if (first_position(s))
            memcpy(state, state_in(op, op->states, s), state_bytes);
        memcpy(state_bound, state, state_bytes);
        by_reference(op, row, count, out, state);
        bounds(op, row, count, bound, state_bound);
        const double unit = (count * 8 + op->shape.state_size + op->shape.kernel + 40) * 0x1p-23;
        for (int t = 0; t < count; t++)
            expect_near(row_of(&result->out, row + t), out + t * op->width, bound + t * op->width,
                        op->width, unit, "output", op);
        expect_near(state_in(op, result->states, s), state, state_bound, op->state_floats,
                    op->kind == NANO_OP_SHORT_CONV ? 0 : unit, "state", op);
        free(state);
        free(state_bound);
        free(out);
        free(bound);
    }
}

/* ---- the tests ---- */

static void check_equal(const struct op *op, struct result *result, struct result other,
                        const char *how)
{
    cr_assert(rows_equal(&result->out, &other.out), "op %d: outputs %s", (int)op->kind, how);
    cr_assert_arr_eq(result->states, other.states,
                     (size_t)(NUM_SLOTS * slot_floats(op)) * sizeof(float), "op %d: states %s",
                     (int)op->kind, how);
    result_free(op, &other);
}

static void check_op(struct op op, float scale, int64_t offset)
{
    /* More rows than are prepared at a time, or than a chunk of a convolution has. */
    const int lengths[NUM_SEQS] = {13, 1, op.kind == NANO_OP_SHORT_CONV ? 70 : 21, 8};
    op_make(&op, lengths, scale, offset);
    struct result whole = run(&op, 0, NUM_SEQS);
    check_near(&op, &whole);
    for (int order = 1; order < 3; order++) {
        nano_emulated_set_order(order);
        check_equal(&op, &whole, run(&op, 0, order), "in another order");
    }
    nano_emulated_set_order(0);
    check_equal(&op, &whole, run(&op, 1, 1), "row by row");
    check_equal(&op, &whole, run(&op, 2, 2), "in twos");
    check_equal(&op, &whole, run(&op, 7, 9), "in sevens");
    check_equal(&op, &whole, run(&op, -1, 3), "in any chunks");
    result_free(&op, &whole);
    op_free(&op);
}

Test(cuda_recurrent, short_conv)
{
    static const int kernels[] = {1, 2, 3, 4, 6, 40, 64};
    static const int64_t widths[] = {1, 37, 128, 300};
    for (int i = 0; i < 7 * 4; i++)
        check_op((struct op){.kind = NANO_OP_SHORT_CONV,
                             .shape.kernel = kernels[i % 7],
                             .width = widths[i / 7],
                             .act = i % 2 ? NANO_ACT_SILU : NANO_ACT_NONE},
                 i % 3 ? 1 : 100, i % 5);
}

static const struct nano_recurrence shapes[] = {
    {.num_heads = 4, .num_key_heads = 2, .head_dim = 5, .state_size = 9},
    {.num_heads = 2, .num_key_heads = 1, .head_dim = 64, .state_size = 16},
    {.num_heads = 3, .num_key_heads = 3, .head_dim = 1, .state_size = 1},
    {.num_heads = 4, .num_key_heads = 2, .head_dim = 33, .state_size = 64, .interleaved = true},
    {.num_heads = 2, .num_key_heads = 1, .head_dim = 64, .state_size = 128},
    {.num_heads = 1, .num_key_heads = 1, .head_dim = 128, .state_size = 128},
    {.num_heads = 6, .num_key_heads = 3, .head_dim = 7, .state_size = 67, .interleaved = true},
    {.num_heads = 1, .num_key_heads = 1, .head_dim = 20, .state_size = 256},
    {.num_heads = 2, .num_key_heads = 2, .head_dim = 256, .state_size = 130},
    {.num_heads = 2, .num_key_heads = 1, .head_dim = 6, .state_size = 301},
    {.num_heads = 1, .num_key_heads = 1, .head_dim = 3, .state_size = 1024},
};
enum { NUM_SHAPES = sizeof shapes / sizeof *shapes };

Test(cuda_recurrent, mamba2)
{
    static const float scales[] = {1, 100, 1e-4f};
    for (int i = 0; i < NUM_SHAPES * 2; i++)
        check_op((struct op){.kind = NANO_OP_MAMBA2, .shape = shapes[i / 2]}, scales[i % 3],
                 i % 2 ? 0 : 3);
}

Test(cuda_recurrent, delta_net)
{
    static const float scales[] = {1, 100, 1e-4f};
    for (int i = 0; i < NUM_SHAPES * 2; i++)
        check_op((struct op){.kind = NANO_OP_DELTA_NET,
                             .shape = shapes[i / 2],
                             .eps = i % 4 ? 1e-6f : 1e-2f},
                 scales[i % 3], i % 2 ? 0 : 3);
}

/* Sequences are found whatever their number: each gets what it gets alone. */
static void check_many(int num_seqs)
{
    enum { WIDTH = 3, KERNEL = 4, STATE = (KERNEL - 1) * WIDTH };
    struct nano_cuda_batch *batch = fixture_alloc(sizeof *batch);
    struct nano_cuda_seq *seqs = fixture_alloc((size_t)num_seqs * sizeof *seqs);
    const size_t state_bytes = (size_t)num_seqs * STATE * sizeof(float);
    float *weight = random_floats(KERNEL * WIDTH, 1), *states = random_floats(num_seqs * STATE, 1),
          *whole_states = fixture_alloc(state_bytes);
    int num_rows = 0;
    for (int s = 0; s < num_seqs; s++) {
        seqs[s] = (struct nano_cuda_seq){num_rows, 1 + random_below(s % 9 ? 3 : 50),
                                         random_below(2), num_seqs - 1 - s};
        num_rows += seqs[s].num_rows;
    }
    struct rows in = rows_make(num_rows, WIDTH, 0), whole = rows_make(num_rows, WIDTH, 0),
                alone = rows_make(num_rows, WIDTH, 0);
    rows_fill(&in, 1);
    memcpy(whole_states, states, state_bytes);
    *batch = (struct nano_cuda_batch){.num_rows = num_rows, .num_seqs = num_seqs};
    struct nano_cuda_recurrent_args args = {.batch = batch,
                                            .seqs = seqs,
                                            .states = whole_states,
                                            .state_floats = STATE,
                                            .recurrence.kernel = KERNEL,
                                            .in = {in.view},
                                            .out = whole.view,
                                            .weight = {weight},
                                            .width = WIDTH,
                                            .rows = num_rows,
                                            .num_blocks = num_seqs};
    nano_cuda_short_conv(device, &args);
    args.states = states;
    args.num_blocks = 1;
    batch->num_seqs = 1;
    for (int s = 0; s < num_seqs; s++) {
        args.in[0].data = row_of(&in, seqs[s].first_row);
        args.out.data = row_of(&alone, seqs[s].first_row);
        seqs[0] = seqs[s];
        seqs[0].first_row = 0;
        args.rows = batch->num_rows = seqs[s].num_rows;
        nano_cuda_short_conv(device, &args);
    }
    cr_assert(rows_equal(&whole, &alone), "%d sequences", num_seqs);
    cr_assert_arr_eq(whole_states, states, state_bytes, "states of %d sequences", num_seqs);
    rows_free(&in);
    rows_free(&whole);
    rows_free(&alone);
    fixture_free(batch);
    fixture_free(seqs);
    fixture_free(weight);
    fixture_free(states);
    fixture_free(whole_states);
}

Test(cuda_recurrent, many_sequences)
{
    static const int counts[] = {31, 32, 33, 64, 100, 1023, 1025, 1100};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        check_many(counts[i]);
}

/* A batch that nothing is in. */
Test(cuda_recurrent, no_sequences)
{
    static const int none[NUM_SEQS];
    for (int kind = NANO_OP_SHORT_CONV; kind <= NANO_OP_DELTA_NET; kind++) {
        static const int lengths[NUM_SEQS] = {1, 1, 1, 1};
        struct op op = {.kind = (enum nano_op_kind)kind, .shape = shapes[0], .width = 20};
        op.shape.kernel = 4;
        op_make(&op, lengths, 1, 0);
        struct result r = result_make(&op);
        run_batch(&op, &r, none, none, NUM_SEQS);
        cr_assert_arr_eq(r.states, op.states,
                         (size_t)(NUM_SLOTS * slot_floats(&op)) * sizeof(float));
        result_free(&op, &r);
        op_free(&op);
    }
}
