/* The choice of experts on the GPU: the experts that the CPU runner chooses, and their weights. */
#include <math.h>

#include "runner/cpu/cpu_state.h"
#include "runner/cuda/cuda_elementwise.h"
#include "tests/cuda/cuda_fixture.h"

TestSuite(cuda_route, .init = fixture_open, .fini = fixture_close);

/* As the CPU runner's op does it; routes are [rows, num_used] without gaps. */
static void route_on_cpu(struct nano_route *routes, const struct rows *logits, const float *bias,
                         const struct nano_moe *moe)
{
    const int64_t route_width = 2 * (int64_t)moe->num_used;
    struct nano_tensor tensor = {.data = bias};
    struct nano_op op = {.kind = NANO_OP_ROUTE,
                         .in = {{.buffer = 0, .width = moe->num_experts}},
                         .out = {{.buffer = 1, .width = route_width}},
                         .weight = {bias ? &tensor : NULL},
                         .moe = *moe};
    struct nano_buffer buffers[] = {{.width = moe->num_experts}, {.width = route_width}};
    struct nano_program program = {.ops = &op, .buffers = buffers};
    float *out = malloc((size_t)nano_buffer_stride(&buffers[1]) * sizeof *out);
    float *row = malloc((size_t)nano_buffer_stride(&buffers[0]) * sizeof *row);
    float *both[] = {row, out};
    struct nano_cpu_thread scratch = {.row = malloc(nano_cpu_route_floats(moe) * sizeof(float))};
    struct nano_cpu_runner runner = {.program = &program, .buffers = both};
    struct nano_cpu_worker worker = {.runner = &runner, .scratch = &scratch, .num_threads = 1};
    for (int r = 0; r < logits->num_rows; r++) {
        memcpy(row, row_of(logits, r), (size_t)moe->num_experts * sizeof *row);
        nano_cpu_route(&worker, 0, 1);
        memcpy(routes + r * moe->num_used, out, (size_t)route_width * sizeof *out);
    }
    free(out);
    free(row);
    free(scratch.row);
}

static void check_route(const struct nano_moe *moe, struct rows *logits, const float *bias)
{
    const int num_rows = logits->num_rows, used = moe->num_used;
    struct nano_route *expected = malloc((size_t)(num_rows * used) * sizeof *expected);
    struct rows out = rows_make(num_rows, 2 * (int64_t)used, 3),
                other = rows_make(num_rows, 2 * (int64_t)used, 3);
    struct nano_cuda_route_args args = {logits->view, out.view, bias, *moe, num_rows};
    /* The CPU adds up one by one. */
    const double tolerance = 2e-6 + moe->num_experts * 0x1p-24;
    nano_cuda_route(device, &args);
    route_on_cpu(expected, logits, bias, moe);
    for (int r = 0; r < num_rows; r++)
        for (int i = 0; i < used; i++) {
            const struct nano_route *got = (const struct nano_route *)(void *)row_of(&out, r) + i;
            const struct nano_route *wanted = &expected[r * used + i];
            cr_assert_eq(got->expert, wanted->expert,
                         "%d of %d experts, %d of %d groups, gating %d: row %d, choice %d is %d, "
                         "expected %d",
                         used, moe->num_experts, moe->num_groups_used, moe->num_groups,
                         (int)moe->gating, r, i, got->expert, wanted->expert);
            cr_assert(isnan(wanted->weight)
                          ? isnan(got->weight)
                          : got->weight == wanted->weight ||
                                fabs((double)got->weight - (double)wanted->weight) <=
                                    tolerance * fabs((double)wanted->weight) + 1e-37,
                      "weight %.9g, expected %.9g", (double)got->weight, (double)wanted->weight);
        }
    for (int order = 1; order < 3; order++) {
        nano_emulated_set_order(order);
        args.rows = 1;
        for (int r = 0; r < num_rows; r++) {
            args.logits.data = row_of(logits, r);
            args.out.data = row_of(&other, r);
            nano_cuda_route(device, &args);
        }
        cr_assert(rows_equal(&out, &other), "rows alone");
    }
    nano_emulated_set_order(0);
    rows_free(&out);
    rows_free(&other);
    free(expected);
}

/* Multiples of 1/8: equal or clearly different. */
static float any_logit(int range)
{
    return (float)random_below(16 * range) / 8 - (float)range;
}

static void check_shape(struct nano_moe moe, int num_rows)
{
    struct rows logits = rows_make(num_rows, moe.num_experts, random_below(4));
    float *bias = fixture_alloc((size_t)moe.num_experts * sizeof *bias);
    for (int i = 0; i < 24; i++) {
        moe.gating = (enum nano_gating)(i % 3);
        moe.normalize = i / 3 % 2;
        moe.scale = i % 5 ? 1 : 2.5f;
        for (int r = 0; r < num_rows; r++)
            for (int e = 0; e < moe.num_experts; e++)
                row_of(&logits, r)[e] = any_logit(i % 4 == 0 ? 1 : i % 4 == 1 ? 100 : 6);
        for (int e = 0; e < moe.num_experts; e++)
            bias[e] = random_float() * 2;
        check_route(&moe, &logits, i / 6 % 2 ? bias : NULL);
    }
    rows_free(&logits);
    fixture_free(bias);
}

Test(cuda_route, chooses_as_the_cpu_runner)
{
    static const struct nano_moe shapes[] = {
        {.num_experts = 1, .num_used = 1, .num_groups = 1, .num_groups_used = 1},
        {.num_experts = 8, .num_used = 2, .num_groups = 1, .num_groups_used = 1},
        {.num_experts = 33, .num_used = 33, .num_groups = 1, .num_groups_used = 1},
        {.num_experts = 60, .num_used = 4, .num_groups = 5, .num_groups_used = 2},
        {.num_experts = 128, .num_used = 8, .num_groups = 1, .num_groups_used = 1},
        {.num_experts = 256, .num_used = 8, .num_groups = 8, .num_groups_used = 4},
        {.num_experts = 512, .num_used = 10, .num_groups = 512, .num_groups_used = 20},
        {.num_experts = 12, .num_used = 6, .num_groups = 6, .num_groups_used = 6},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_shape(shapes[i], i % 2 ? 11 : 3);
}

Test(cuda_route, has_room_for_the_largest)
{
    check_shape(
        (struct nano_moe){
            .num_experts = 4096, .num_used = 70, .num_groups = 4096, .num_groups_used = 100},
        2);
}

Test(cuda_route, what_is_no_number_comes_last)
{
    static const float values[] = {NAN, INFINITY, -INFINITY, 1, 0, 3e38f, -3e38f};
    struct nano_moe moe = {
        .num_experts = 24, .num_used = 5, .normalize = true, .scale = 1, .num_groups = 6};
    struct rows logits = rows_make(40, 24, 0);
    float *bias = fixture_alloc(24 * sizeof *bias);
    for (int i = 0; i < 36; i++) {
        moe.gating = (enum nano_gating)(i % 3);
        moe.num_groups_used = i / 3 % 2 ? 3 : 6;
        for (int r = 0; r < 40; r++)
            for (int e = 0; e < 24; e++)
                row_of(&logits, r)[e] = r < 3             ? values[r]
                                        : r % 2           ? values[random_below(7)]
                                        : random_below(8) ? any_logit(4)
                                                          : values[random_below(7)];
        for (int e = 0; e < 24; e++)
            bias[e] = random_below(3) ? any_logit(2) : values[random_below(7)];
        check_route(&moe, &logits, i / 6 % 2 ? bias : NULL);
    }
    rows_free(&logits);
    fixture_free(bias);
}
