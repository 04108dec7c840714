/* Linears of few rows that make their input themselves: the bits of a norm and a linear. */
#include "runner/cuda/cuda_linear.h"
#include "runner/cuda/cuda_norm.h"
#include "simd/quantize.h"
#include "tests/cuda/cuda_fixture.h"

TestSuite(cuda_linear_input, .init = fixture_open, .fini = fixture_close);

enum { WEIGHT_ROWS = 21 };

static float *make_floats(int64_t count)
{
    float *floats = fixture_alloc((size_t)count * sizeof *floats);
    for (int64_t i = 0; i < count; i++)
        floats[i] = random_float();
    return floats;
}

/* Rows of the format, begun where each may begin; their bytes in *row_bytes. */
static void *make_weights(enum nano_format format, int64_t cols, int64_t *row_bytes)
{
    float *values = make_floats(WEIGHT_ROWS * cols);
    *row_bytes = (int64_t)nano_format_row_bytes(format, cols);
    unsigned char *weights = fixture_alloc((size_t)(WEIGHT_ROWS * *row_bytes) + 16);
    nano_quantize_rows(format, values, weights, WEIGHT_ROWS, cols, NULL);
    fixture_free(values);
    return weights;
}

struct input_case {
    enum nano_format format;
    int64_t cols;
    int rows;
    enum nano_cuda_norm_kind norm;
    bool has_weight, has_bias, glu;
};

static void check_input(const struct input_case *c, int order)
{
    const int64_t half_stride = (c->cols + 31) / 32 * 32;
    int64_t row_bytes;
    struct rows x = rows_make(c->rows, c->cols, 4), expected = rows_make(c->rows, WEIGHT_ROWS, 1),
                got = rows_make(c->rows, WEIGHT_ROWS, 1);
    rows_fill(&x, order == 1 ? 1e6f : 0.01f);
    void *first = make_weights(c->format, c->cols, &row_bytes),
         *second = make_weights(c->format, c->cols, &row_bytes);
    struct nano_cuda_linear_args args = {
        .format = c->format,
        .segments = {{first, row_bytes, 1, NULL, expected.view, WEIGHT_ROWS},
                     {second, row_bytes, 1, NULL, expected.view, WEIGHT_ROWS}},
        .num_segments = c->glu ? 2 : 1,
        .glu = c->glu,
        .act = c->glu ? NANO_ACT_SILU : NANO_ACT_NONE,
        .cols = c->cols,
        .f32 = x.view,
        .half = fixture_alloc((size_t)(c->rows * half_stride) * 2),
        .half_stride = half_stride,
        .scales = fixture_alloc((size_t)c->rows * sizeof(float)),
        .rows = c->rows,
        .norm = c->norm,
        .norm_weight = c->has_weight ? make_floats(c->cols) : NULL,
        .norm_bias = c->has_bias ? make_floats(c->cols) : NULL,
        .norm_eps = 1e-5f,
        .num_heads = 1};
    const struct nano_cuda_norm_args norm = {.kind = c->norm,
                                             .output = NANO_CUDA_NORM_F16,
                                             .in = x.view,
                                             .width = c->cols,
                                             .num_groups = 1,
                                             .rows = c->rows,
                                             .weight = args.norm_weight,
                                             .bias = args.norm_bias,
                                             .eps = args.norm_eps,
                                             .half = (uint16_t *)(uintptr_t)args.half,
                                             .half_stride = half_stride,
                                             .scales = (float *)(uintptr_t)args.scales};
    nano_cuda_norm(device, &norm);
    nano_cuda_linear(device, &args);

    cr_assert(nano_cuda_linear_can_make_input(&args), "%d columns, %d rows", (int)c->cols, c->rows);
    struct nano_cuda_linear_args makes = args;
    makes.half = NULL;
    makes.scales = NULL;
    makes.makes_input = true;
    makes.segments[0].out = got.view;
    nano_emulated_set_order(order);
    const uint64_t before = fake_device.num_launches;
    nano_cuda_linear(device, &makes);
    cr_assert_eq(fake_device.num_launches, before + 1);
    nano_emulated_set_order(0);
    cr_assert(rows_equal(&expected, &got), "format %d, %d columns, %d rows, norm %d, order %d",
              (int)c->format, (int)c->cols, c->rows, (int)c->norm, order);
    rows_free(&x);
    rows_free(&expected);
    rows_free(&got);
    fixture_free(first);
    fixture_free(second);
    fixture_free((void *)(uintptr_t)args.half);
    fixture_free((void *)(uintptr_t)args.scales);
    fixture_free((void *)(uintptr_t)args.norm_weight);
    fixture_free((void *)(uintptr_t)args.norm_bias);
}

Test(cuda_linear_input, bits_are_those_of_a_launch_before)
{
    static const int64_t cols[] = {32, 64, 96, 512, 992, 1024, 1536, 2048};
    for (size_t i = 0; i < sizeof cols / sizeof *cols; i++)
        for (int norm = 0; norm <= NANO_CUDA_NORM_LAYER; norm++)
            for (int rows = 1; rows <= NANO_CUDA_MADE_ROWS; rows++) {
                if (cols[i] * rows > 6144)
                    continue;
                const struct input_case c = {rows % 2 ? NANO_FORMAT_F16 : NANO_FORMAT_Q8_0,
                                             cols[i],
                                             rows,
                                             (enum nano_cuda_norm_kind)norm,
                                             norm != NANO_CUDA_NORM_NONE,
                                             norm == NANO_CUDA_NORM_LAYER && rows > 1,
                                             (i + (size_t)rows) % 2 == 0};
                check_input(&c, (int)(i + (size_t)rows) % 3);
            }
}

Test(cuda_linear_input, of_all_common_formats)
{
    static const enum nano_format formats[] = {NANO_FORMAT_F16,  NANO_FORMAT_Q4_0, NANO_FORMAT_Q8_0,
                                               NANO_FORMAT_Q4_K, NANO_FORMAT_Q5_K, NANO_FORMAT_Q6_K,
                                               NANO_FORMAT_MXFP4};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        for (int order = 0; order < 3; order++) {
            const struct input_case c = {formats[i],         1280,
                                         order + 1,          NANO_CUDA_NORM_RMS,
                                         .has_weight = true, .glu = order == 2};
            check_input(&c, order);
        }
}

/* Columns that are no whole chunk: F16 alone can have them, with rows padded to whole ones. */
Test(cuda_linear_input, columns_behind_the_last_are_zero)
{
    const int64_t cols = 44, stride = 64;
    struct rows x = rows_make(2, cols, 0), expected = rows_make(2, WEIGHT_ROWS, 0),
                got = rows_make(2, WEIGHT_ROWS, 0);
    rows_fill(&x, 1);
    uint16_t *weights = fixture_alloc((size_t)(WEIGHT_ROWS * stride) * 2);
    for (int i = 0; i < WEIGHT_ROWS * stride; i++)
        weights[i] = i % stride < cols ? (uint16_t)(0x3000 + random_below(0x800)) : 0;
    struct nano_cuda_linear_args args = {
        .format = NANO_FORMAT_F16,
        .segments = {{weights, stride * 2, 1, NULL, expected.view, WEIGHT_ROWS}},
        .num_segments = 1,
        .cols = cols,
        .f32 = x.view,
        .half = fixture_alloc((size_t)(2 * stride) * 2),
        .half_stride = stride,
        .scales = fixture_alloc(2 * sizeof(float)),
        .rows = 2,
        .num_heads = 1};
    const struct nano_cuda_norm_args norm = {.output = NANO_CUDA_NORM_F16,
                                             .in = x.view,
                                             .width = cols,
                                             .num_groups = 1,
                                             .rows = 2,
                                             .half = (uint16_t *)(uintptr_t)args.half,
                                             .half_stride = stride,
                                             .scales = (float *)(uintptr_t)args.scales};
    nano_cuda_norm(device, &norm);
    nano_cuda_linear(device, &args);
    args.makes_input = true;
    args.segments[0].out = got.view;
    cr_assert(nano_cuda_linear_can_make_input(&args));
    nano_cuda_linear(device, &args);
    cr_assert(rows_equal(&expected, &got));
    rows_free(&x);
    rows_free(&expected);
    rows_free(&got);
    fixture_free(weights);
    fixture_free((void *)(uintptr_t)args.half);
    fixture_free((void *)(uintptr_t)args.scales);
}

Test(cuda_linear_input, is_left_to_a_launch_where_that_is_cheaper_or_needed)
{
    float *floats = make_floats(64);
    const struct nano_cuda_linear_args good = {.format = NANO_FORMAT_F16,
                                               .segments = {{.rows = 64}},
                                               .num_segments = 1,
                                               .cols = 64,
                                               .half_stride = 64,
                                               .f32 = {floats, 64},
                                               .rows = 1,
                                               .num_heads = 1};
    struct nano_cuda_linear_args args = good;
    cr_expect(nano_cuda_linear_can_make_input(&args));
    args.rows = NANO_CUDA_MADE_ROWS + 1;
    cr_expect_not(nano_cuda_linear_can_make_input(&args));
    args = good;
    args.num_heads = 2;
    cr_expect_not(nano_cuda_linear_can_make_input(&args));
    args = good;
    args.tiles = (const struct nano_cuda_expert_tile *)(const void *)floats;
    cr_expect_not(nano_cuda_linear_can_make_input(&args));
    args = good;
    args.f32.data++;
    cr_expect_not(nano_cuda_linear_can_make_input(&args));
    args = good;
    args.f32.stride = 65;
    cr_expect_not(nano_cuda_linear_can_make_input(&args));
    args = good;
    args.format = NANO_FORMAT_IQ4_XS;
    cr_expect_not(nano_cuda_linear_can_make_input(&args));
    args.format = NANO_FORMAT_F32;
    cr_expect_not(nano_cuda_linear_can_make_input(&args));
    args = good;
    args.segments[0].rows = 1 << 20; /* many blocks */
    cr_expect_not(nano_cuda_linear_can_make_input(&args));
    args = good;
    args.cols = args.half_stride = args.f32.stride = 8192; /* much shared memory */
    cr_expect_not(nano_cuda_linear_can_make_input(&args));
    fixture_free(floats);
}
