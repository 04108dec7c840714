/* Norms, linears and experts of the CUDA runner, on the emulated GPU: against sums of doubles, and
 * each row against itself in other company, bit for bit. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runner/cuda/cuda_convert.h"
#include "runner/cuda/cuda_linear.h"
#include "runner/cuda/cuda_linear_tile.h"
#include "runner/cuda/cuda_moe.h"
#include "runner/cuda/cuda_norm.h"
#include "tests/cuda/fake_device.h"
#include "tests/tiny_model.h"

static struct nano_cuda_device *device;
static uint64_t seed = 1;

static void *device_alloc(size_t num_bytes)
{
    void *memory;
    struct nano_error err;
    cr_assert_eq(nano_cuda_device_alloc(device, &memory, num_bytes, "test", &err), NANO_OK);
    return memory;
}

static void device_free(const void *memory)
{
    nano_cuda_device_free(device, (void *)(uintptr_t)memory);
}

static void open_device(void)
{
    struct nano_error err;
    cr_assert_eq(nano_cuda_device_open(&device, 0, &err), NANO_OK);
}

static void close_device(void)
{
    nano_cuda_device_close(device);
    cr_expect_eq(fake_device.live_allocations, 0);
}

static float random_float(void)
{
    return (float)(tiny_random(&seed) % 20001) / 10000 - 1;
}

static float *random_floats(size_t count, float scale)
{
    float *x = device_alloc(count * sizeof *x);
    for (size_t i = 0; i < count; i++)
        x[i] = random_float() * scale;
    return x;
}

static float f32_from_f16(uint16_t bits)
{
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const float value =
        exponent ? ldexpf((float)(mantissa + 1024), exponent - 25) : ldexpf((float)mantissa, -24);
    return bits & 0x8000 ? -value : value;
}

/* ---- norms ---- */

static double normalised(const struct nano_cuda_norm_args *a, int row, int group, int64_t c)
{
    const float *in = a->in.data + row * a->in.stride + group * a->group_stride;
    double mean = 0, sum = 0;
    for (int64_t i = 0; i < a->width && a->kind == NANO_CUDA_NORM_LAYER; i++)
        mean += (double)in[i] / (double)a->width;
    for (int64_t i = 0; i < a->width; i++)
        sum += ((double)in[i] - mean) * ((double)in[i] - mean);
    double x = (double)in[c] - mean;
    if (a->kind == NANO_CUDA_NORM_L2)
        x /= fmax(sqrt(sum), (double)a->eps);
    else if (a->kind != NANO_CUDA_NORM_NONE)
        x /= sqrt(sum / (double)a->width + (double)a->eps);
    if (a->weight)
        x *= (double)a->weight[group * a->weight_stride + c];
    return a->bias ? x + (double)a->bias[group * a->weight_stride + c] : x;
}

static double norm_output(const struct nano_cuda_norm_args *a, int row, int group, int64_t c)
{
    const int64_t item = row * a->num_groups + group;
    if (a->output == NANO_CUDA_NORM_F32)
        return (double)a->out.data[row * a->out.stride + group * a->group_stride + c];
    const uint16_t half = a->half[item * a->half_stride + c];
    return (double)f32_from_f16(half) * (double)a->scales[item];
}

Test(cuda_linear, norms)
{
    static const int64_t widths[] = {1, 7, 64, 100, 1000, 1024, 1500};
    open_device();
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (int kind = 0; kind <= NANO_CUDA_NORM_L2; kind++)
            for (int output = 0; output <= NANO_CUDA_NORM_F16; output++) {
                enum { ROWS = 5, GROUPS = 3 };
                const int64_t width = widths[w], stride = width * GROUPS + 5,
                              half_stride = (width + 31) / 32 * 32;
                const float scale = ldexpf(1, (int)(w * 7) - 20);
                struct nano_cuda_norm_args a = {
                    .kind = (enum nano_cuda_norm_kind)kind,
                    .output = (enum nano_cuda_norm_output)output,
                    .in = {random_floats((size_t)(ROWS * stride), scale), stride},
                    .width = width,
                    .group_stride = width,
                    .out_group_stride = width,
                    .num_groups = GROUPS,
                    .rows = ROWS,
                    .weight = kind ? random_floats((size_t)(width * GROUPS), 1) : NULL,
                    .bias = kind == NANO_CUDA_NORM_LAYER
                                ? random_floats((size_t)(width * GROUPS), 1)
                                : NULL,
                    .weight_stride = w % 2 ? width : 0,
                    .eps = 1e-6f,
                    .out = {device_alloc((size_t)(ROWS * stride) * sizeof(float)), stride},
                    .half = device_alloc((size_t)(ROWS * GROUPS * half_stride) * 2),
                    .half_stride = half_stride,
                    .scales = device_alloc(ROWS * GROUPS * sizeof(float)),
                };
                nano_cuda_norm(device, &a);
                for (int row = 0; row < ROWS; row++)
                    for (int group = 0; group < GROUPS; group++) {
                        double largest = 0;
                        for (int64_t c = 0; c < width; c++)
                            largest = fmax(largest, fabs(normalised(&a, row, group, c)));
                        const double unit = output == NANO_CUDA_NORM_F32 ? 1e-6 : 1.0 / 2048;
                        for (int64_t c = 0; c < width; c++) {
                            const double x = normalised(&a, row, group, c);
                            cr_assert_leq(fabs(norm_output(&a, row, group, c) - x),
                                          unit * fabs(x) + largest * 1e-6,
                                          "width %d kind %d output %d: %g, expected %g", (int)width,
                                          kind, output, norm_output(&a, row, group, c), x);
                        }
                        for (int64_t c = width; c < half_stride && output; c++)
                            cr_assert_eq(a.half[(row * GROUPS + group) * half_stride + c], 0);
                    }
                device_free(a.in.data);
                device_free(a.weight);
                device_free(a.bias);
                device_free(a.out.data);
                device_free(a.half);
                device_free(a.scales);
            }
    close_device();
}

/* ---- linears ---- */

struct linear_case {
    enum nano_format format;
    int num_segments, rows[3];
    int64_t cols;
    bool glu, accumulate, bias;
    enum nano_act act;
};

/* Small whole numbers over 64: exact in F16. */
static void *random_weights(enum nano_format format, size_t count)
{
    unsigned char *weights = device_alloc(count * 4);
    uint16_t f16[129];
    for (uint32_t h = 0; h < 0x10000; h++) {
        const float n = f32_from_f16((uint16_t)h) * 64;
        if (n >= -64 && n <= 64 && n == floorf(n))
            f16[(int)n + 64] = (uint16_t)h;
    }
    for (size_t i = 0; i < count; i++) {
        const int n = (int)(tiny_random(&seed) % 129);
        const float value = (float)(n - 64) / 64;
        if (format == NANO_FORMAT_F32)
            memcpy(weights + i * 4, &value, 4);
        else
            memcpy(weights + i * 2, &f16[n], 2);
    }
    return weights;
}

static float weight_at(enum nano_format format, const void *weights, int64_t i)
{
    if (format == NANO_FORMAT_F32)
        return ((const float *)weights)[i];
    return f32_from_f16(((const uint16_t *)weights)[i]);
}

static double act_of(enum nano_act act, double x)
{
    return act == NANO_ACT_SILU ? x / (1 + exp(-x)) : x;
}

/* What the linear multiplies with. */
static void give_input(struct nano_cuda_linear_args *a, float *x, int64_t stride, int rows)
{
    const int64_t half_stride = (a->cols + 31) / 32 * 32;
    uint16_t *half = device_alloc((size_t)(rows * half_stride) * 2);
    float *scales = device_alloc((size_t)rows * sizeof(float));
    const struct nano_cuda_norm_args norm = {.output = NANO_CUDA_NORM_F16,
                                             .in = {x, stride},
                                             .width = a->cols,
                                             .num_groups = 1,
                                             .rows = rows,
                                             .half = half,
                                             .half_stride = half_stride,
                                             .scales = scales};
    nano_cuda_norm(device, &norm);
    a->f32 = (struct nano_cuda_view){x, stride};
    a->half = half;
    a->half_stride = half_stride;
    a->scales = scales;
}

enum { ALONE_STEP = 11 }; /* from one row that is computed on its own to the next */

/* By the choice of kernels, or a tile of the tile kernel. */
static void run_linear(const struct nano_cuda_linear_args *a, int tile)
{
    if (tile == NANO_CUDA_NUM_TILES)
        nano_cuda_linear(device, a);
    else
        nano_cuda_linear_tile_of(device, a, (enum nano_cuda_tile)tile);
}

static void check_linear(const struct linear_case *c, int max_rows)
{
    const size_t element = c->format == NANO_FORMAT_F32 ? 4 : 2;
    const int64_t padded = (c->cols + 31) / 32 * 32, x_stride = c->cols + 3;
    int out_rows = 0;
    struct nano_cuda_linear_args a = {.format = c->format,
                                      .num_segments = c->num_segments,
                                      .accumulate = c->accumulate,
                                      .glu = c->glu,
                                      .act = c->act,
                                      .cols = c->cols,
                                      .num_heads = 1};
    float *x = random_floats((size_t)(max_rows * x_stride), 3);
    for (int s = 0; s < c->num_segments; s++)
        out_rows += c->rows[s];
    float *out = device_alloc((size_t)(max_rows * out_rows) * sizeof *out);
    float *before = random_floats((size_t)(max_rows * out_rows), 1);
    for (int s = 0, column = 0; s < c->num_segments; column += c->rows[s++]) {
        void *weight = random_weights(c->format, (size_t)(padded * c->rows[s]));
        for (int r = 0; r < c->rows[s]; r++) /* padding is zero */
            memset((char *)weight + ((size_t)(r * padded) + (size_t)c->cols) * element, 0,
                   (size_t)(padded - c->cols) * element);
        a.segments[s] = (struct nano_cuda_segment){
            .weight = weight,
            .row_bytes = padded * (int64_t)element,
            .scale = s ? 0.25f : 1,
            .bias = c->bias ? random_floats((size_t)c->rows[s], 1) : NULL,
            .out = {out + column, out_rows},
            .rows = c->rows[s]};
    }
    give_input(&a, x, x_stride, max_rows);
    float *alone = malloc((size_t)(max_rows * out_rows) * sizeof *alone);
    const struct nano_cuda_linear_args whole = a;
    for (int t = 0; t < max_rows; t += ALONE_STEP) { /* rows on their own */
        memcpy(out, before + t * out_rows, (size_t)out_rows * sizeof *out);
        a.rows = 1;
        a.half = whole.half + t * whole.half_stride;
        a.scales = whole.scales ? whole.scales + t : NULL;
        a.f32.data = whole.f32.data + t * x_stride;
        nano_cuda_linear(device, &a);
        memcpy(alone + t * out_rows, out, (size_t)out_rows * sizeof *out);
    }
    for (int t = 0; t < max_rows; t += ALONE_STEP)
        for (int s = 0, column = 0; s < (c->glu ? 1 : c->num_segments); column += c->rows[s++])
            for (int r = 0; r < c->rows[s]; r++) {
                double sums[2] = {0, 0}, size = 0;
                for (int m = 0; m < (c->glu ? 2 : 1); m++) {
                    const struct nano_cuda_segment *segment = &a.segments[s + m];
                    for (int64_t k = 0; k < c->cols; k++) {
                        const double product =
                            (double)segment->scale *
                            (double)weight_at(c->format, segment->weight, r * padded + k) *
                            (double)x[t * x_stride + k];
                        sums[m] += product;
                        size += fabs(product);
                    }
                    if (segment->bias)
                        sums[m] += (double)segment->bias[r];
                }
                double expected = act_of(c->act, sums[0]) * (c->glu ? sums[1] : 1);
                if (c->glu)
                    size *= 1 + fabs(sums[0]) + fabs(sums[1]);
                if (c->accumulate)
                    expected += (double)before[t * out_rows + column + r];
                const double unit = c->format == NANO_FORMAT_F32 ? 1e-6 : 1.0 / 2048;
                cr_assert_leq(fabs((double)alone[t * out_rows + column + r] - expected),
                              unit * (size / 2 + 0.01),
                              "format %d: row %d column %d: %g, expected %g", (int)c->format, t,
                              column + r, (double)alone[t * out_rows + column + r], expected);
            }
    static const int counts[] = {2, 9, 17, 32, 33, 70, 140, 300};
    const int first_tile = c->format == NANO_FORMAT_F16 ? 0 : NANO_CUDA_NUM_TILES;
    for (int tile = first_tile; tile <= NANO_CUDA_NUM_TILES; tile++)
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            const int rows = counts[i] < max_rows ? counts[i] : max_rows;
            if (tile < NANO_CUDA_NUM_TILES && rows < max_rows && rows != 33)
                continue;
            memcpy(out, before, (size_t)(max_rows * out_rows) * sizeof *out);
            a = whole;
            a.rows = rows;
            nano_emulated_set_order((int)i % 3);
            run_linear(&a, tile);
            for (int t = 0; t < rows; t += ALONE_STEP) /* of a glu, the gate's columns */
                cr_assert_eq(memcmp(out + t * out_rows, alone + t * out_rows,
                                    (size_t)(c->glu ? c->rows[0] : out_rows) * sizeof *out),
                             0, "format %d, tile %d: row %d has other bits among %d",
                             (int)c->format, tile, t, rows);
        }
    nano_emulated_set_order(0);
    free(alone);
    for (int s = 0; s < c->num_segments; s++) {
        device_free(a.segments[s].weight);
        device_free(a.segments[s].bias);
    }
    device_free(whole.half);
    device_free(whole.scales);
    device_free(x);
    device_free(out);
    device_free(before);
}

Test(cuda_linear, sums_and_the_same_bits_in_any_company)
{
    static const struct linear_case cases[] = {
        {NANO_FORMAT_F16, 1, {64}, 64, false, false, false, NANO_ACT_NONE},
        {NANO_FORMAT_F16, 3, {40, 8, 17}, 320, false, true, true, NANO_ACT_NONE},
        {NANO_FORMAT_F16, 2, {50, 50}, 352, true, false, true, NANO_ACT_SILU},
        {NANO_FORMAT_F16, 1, {33}, 100, false, false, true, NANO_ACT_SILU},
        {NANO_FORMAT_F32, 2, {20, 20}, 77, true, false, true, NANO_ACT_SILU},
        {NANO_FORMAT_F32, 2, {20, 9}, 130, false, true, false, NANO_ACT_NONE},
    };
    open_device();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_linear(&cases[i], 140);
    close_device();
}

/* So many rows and inputs that there are several blocks of each, and several groups of inputs. */
Test(cuda_linear, many_blocks)
{
    static const struct linear_case cases[] = {
        {NANO_FORMAT_F16, 2, {200, 90}, 32, false, false, false, NANO_ACT_NONE},
        {NANO_FORMAT_F16, 2, {150, 150}, 64, true, false, false, NANO_ACT_SILU}};
    open_device();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_linear(&cases[i], 300);
    close_device();
}

Test(cuda_linear, heads)
{
    enum { ROWS = 50, HEADS = 3, COLS = 96, OUT = 20, X = HEADS * COLS, Y = HEADS * (OUT + 1) };
    open_device();
    float *x = random_floats(ROWS * X, 1);
    float *y = device_alloc(ROWS * Y * sizeof *y), *alone = malloc(ROWS * Y * sizeof *alone);
    uint16_t *half = device_alloc(ROWS * X * sizeof *half);
    float *scales = device_alloc(ROWS * HEADS * sizeof *scales);
    const struct nano_cuda_norm_args norm = {.output = NANO_CUDA_NORM_F16,
                                             .in = {x, X},
                                             .width = COLS,
                                             .group_stride = COLS,
                                             .num_groups = HEADS,
                                             .rows = ROWS,
                                             .half = half,
                                             .half_stride = COLS,
                                             .scales = scales};
    nano_cuda_norm(device, &norm);
    struct nano_cuda_linear_args a = {
        .format = NANO_FORMAT_F16,
        .segments =
            {{random_weights(NANO_FORMAT_F16, HEADS * OUT * COLS), COLS * 2, 1, NULL, {y, Y}, OUT}},
        .num_segments = 1,
        .cols = COLS,
        .half_stride = COLS,
        .num_heads = HEADS,
        .head_bytes = OUT * COLS * 2,
        .out_stride = OUT + 1};
    for (int t = 0; t < ROWS; t++) {
        a.rows = 1;
        a.half = half + t * X;
        a.scales = scales + t * HEADS;
        nano_cuda_linear(device, &a);
        memcpy(alone + t * Y, y, Y * sizeof *y);
        for (int h = 0; h < HEADS; h++)
            for (int r = 0; r < OUT; r++) {
                double sum = 0;
                for (int k = 0; k < COLS; k++)
                    sum += (double)weight_at(NANO_FORMAT_F16, a.segments[0].weight,
                                             (h * OUT + r) * COLS + k) *
                           (double)x[t * X + h * COLS + k];
                cr_assert_float_eq((double)y[h * (OUT + 1) + r], sum, 0.02);
            }
    }
    a.rows = ROWS;
    a.half = half;
    a.scales = scales;
    for (int tile = 0; tile <= NANO_CUDA_NUM_TILES; tile++) {
        memset(y, 0, ROWS * Y * sizeof *y);
        run_linear(&a, tile);
        for (int t = 0; t < ROWS; t++)
            for (int h = 0; h < HEADS; h++)
                cr_assert_eq(memcmp(y + t * Y + h * (OUT + 1), alone + t * Y + h * (OUT + 1),
                                    OUT * sizeof *y),
                             0, "tile %d: row %d, head %d", tile, t, h);
    }
    free(alone);
    device_free(x);
    device_free(y);
    device_free(half);
    device_free(scales);
    device_free(a.segments[0].weight);
    close_device();
}

/* ---- quantised weights ---- */

struct quantised_case {
    enum nano_format format;
    int d[2]; /* where a block's F16 factors are; -1: none */
    int64_t cols;
    int rows;
};

/* Random bytes, whose factors are about 2^-7. */
static unsigned char *random_blocks(const struct quantised_case *c)
{
    const struct nano_format_traits *traits = nano_format_traits(c->format);
    const size_t num_bytes = (size_t)c->rows * nano_format_row_bytes(c->format, c->cols);
    unsigned char *blocks = device_alloc((num_bytes + 3) / 4 * 4);
    for (size_t i = 0; i < num_bytes; i++)
        blocks[i] = (unsigned char)tiny_random(&seed);
    for (size_t block = 0; block < num_bytes; block += (size_t)traits->block_bytes) {
        for (int i = 0; i < 2; i++)
            if (c->d[i] >= 0)
                blocks[block + (size_t)c->d[i] + 1] =
                    (unsigned char)((tiny_random(&seed) & 0x83) | 0x20);
        if (c->format == NANO_FORMAT_MXFP4)
            blocks[block] = (unsigned char)(116 + tiny_random(&seed) % 8);
    }
    return blocks;
}

/* Whatever the number of inputs, and whether weights are unpacked before or not. */
static void check_quantised(const struct quantised_case *c)
{
    enum { MAX_ROWS = 40 };
    static const int counts[] = {1, 8, 9, 17, 33};
    const int64_t half_stride = (c->cols + 31) / 32 * 32, row_bytes = half_stride * 2;
    float *x = random_floats((size_t)(MAX_ROWS * c->cols), 2);
    uint16_t *unpacked = device_alloc((size_t)(c->rows * row_bytes));
    float *out = device_alloc((size_t)(MAX_ROWS * c->rows) * sizeof *out),
          *expected = malloc((size_t)(MAX_ROWS * c->rows) * sizeof *out);
    struct nano_cuda_linear_args a = {
        .format = NANO_FORMAT_F16,
        .segments = {{unpacked, row_bytes, 1, NULL, {out, c->rows}, c->rows}},
        .num_segments = 1,
        .cols = c->cols,
        .num_heads = 1,
        .rows = MAX_ROWS};
    give_input(&a, x, c->cols, MAX_ROWS);
    const struct nano_cuda_unpack_args unpack = {
        .format = c->format,
        .weight = random_blocks(c),
        .row_bytes = (int64_t)nano_format_row_bytes(c->format, c->cols),
        .cols = c->cols,
        .out = unpacked,
        .half_stride = half_stride,
        .rows = c->rows};
    nano_cuda_unpack(device, &unpack);
    nano_cuda_linear(device, &a); /* by the tile kernel */
    memcpy(expected, out, (size_t)(MAX_ROWS * c->rows) * sizeof *out);
    for (int t = 0; t < MAX_ROWS; t += 13)
        for (int r = 0; r < c->rows; r += 5) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < c->cols; k++) {
                const double product = (double)f32_from_f16(unpacked[r * half_stride + k]) *
                                       (double)x[t * c->cols + k];
                sum += product;
                size += fabs(product);
            }
            cr_assert_leq(fabs((double)expected[t * c->rows + r] - sum), size / 2048);
        }
    for (int quantised = 0; quantised < 2; quantised++) {
        if (quantised) {
            a.format = c->format;
            a.segments[0].weight = unpack.weight;
            a.segments[0].row_bytes = unpack.row_bytes;
        }
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            memset(out, 0xFF, (size_t)(MAX_ROWS * c->rows) * sizeof *out);
            a.rows = counts[i];
            nano_emulated_set_order((int)i % 3);
            nano_cuda_linear(device, &a);
            cr_assert_eq(memcmp(out, expected, (size_t)(a.rows * c->rows) * sizeof *out), 0,
                         "%s, %d columns: other bits for %d rows",
                         nano_format_traits(a.format)->name, (int)c->cols, a.rows);
        }
    }
    nano_emulated_set_order(0);
    device_free(unpack.weight);
    device_free(unpacked);
    device_free(a.half);
    device_free(a.scales);
    device_free(x);
    device_free(out);
    free(expected);
}

/* Columns are such that slices begin in the middle of blocks and a row ends in that of a span. */
Test(cuda_linear, quantised_weights_have_the_same_bits_unpacked)
{
    static const struct quantised_case cases[] = {
        {NANO_FORMAT_Q4_K, {0, 2}, 1280, 21},    {NANO_FORMAT_Q4_K, {0, 2}, 4352, 9},
        {NANO_FORMAT_Q5_K, {0, 2}, 1280, 21},    {NANO_FORMAT_Q6_K, {208, -1}, 1280, 21},
        {NANO_FORMAT_Q6_K, {208, -1}, 2304, 16}, {NANO_FORMAT_Q8_0, {0, -1}, 1376, 21},
        {NANO_FORMAT_Q4_0, {0, -1}, 1376, 21},   {NANO_FORMAT_MXFP4, {-1, -1}, 1376, 21},
        {NANO_FORMAT_Q5_0, {0, -1}, 1376, 21},   {NANO_FORMAT_IQ4_XS, {0, -1}, 512, 21},
    };
    open_device();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_quantised(&cases[i]);
    close_device();
}

/* So many rows that blocks have 16. */
Test(cuda_linear, quantised_weights_of_many_rows)
{
    static const struct quantised_case cases[] = {
        {NANO_FORMAT_Q4_K, {0, 2}, 512, 4100},    {NANO_FORMAT_Q5_K, {0, 2}, 256, 4100},
        {NANO_FORMAT_Q6_K, {208, -1}, 256, 4100}, {NANO_FORMAT_Q8_0, {0, -1}, 288, 4100},
        {NANO_FORMAT_Q4_0, {0, -1}, 288, 4100},   {NANO_FORMAT_MXFP4, {-1, -1}, 288, 4100}};
    open_device();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_quantised(&cases[i]);
    close_device();
}

/* ---- experts ---- */

/* Makes the plan: every slot is once in a tile of its expert, and an expert's are in order. */
static void plan_experts(const struct nano_cuda_moe_plan_args *plan, int max_tiles)
{
    const struct nano_route *route = (const struct nano_route *)(const void *)plan->routes.data;
    int next = 0;
    nano_cuda_moe_plan(device, plan);
    cr_assert_leq(*plan->num_tiles, max_tiles);
    for (int i = 0; i < *plan->num_tiles; i++) {
        const struct nano_cuda_expert_tile *tile = &plan->tiles[i];
        const bool goes_on = i && plan->tiles[i - 1].expert == tile->expert;
        cr_assert(!i || goes_on || plan->tiles[i - 1].expert < tile->expert);
        cr_assert_eq(tile->first, next);
        cr_assert(tile->count >= 1 && tile->count <= plan->tile_slots);
        for (int s = tile->first; s < tile->first + tile->count; s++) {
            cr_assert_eq(route[plan->order[s]].expert, tile->expert);
            cr_assert_eq(plan->order_row[s], plan->order[s] / plan->num_used);
            cr_assert(s == 0 || (s == tile->first && !goes_on) ||
                      plan->order[s] > plan->order[s - 1]);
        }
        next += tile->count;
    }
    cr_assert_eq(next, plan->rows * plan->num_used);
}

Test(cuda_linear, plan_of_many_experts)
{
    enum { ROWS = 90, USED = 4, EXPERTS = 1100, SLOTS = ROWS * USED };
    open_device();
    const int max_tiles = nano_cuda_moe_max_tiles(ROWS, USED, EXPERTS, NANO_CUDA_SKINNY_ROWS);
    struct nano_route *route = device_alloc(SLOTS * sizeof *route);
    struct nano_cuda_moe_plan_args plan = {.routes = {(float *)(void *)route, USED * 2},
                                           .rows = ROWS,
                                           .num_used = USED,
                                           .num_experts = EXPERTS,
                                           .tile_slots = NANO_CUDA_SKINNY_ROWS,
                                           .tiles =
                                               device_alloc((size_t)max_tiles * sizeof *plan.tiles),
                                           .num_tiles = device_alloc(sizeof(int32_t)),
                                           .order = device_alloc(SLOTS * sizeof(int32_t)),
                                           .order_row = device_alloc(SLOTS * sizeof(int32_t))};
    for (int few = 0; few < 2; few++)
        for (int order = 0; order < 3; order++) {
            plan.tile_slots = order ? NANO_CUDA_TILE_SLOTS : NANO_CUDA_SKINNY_ROWS;
            nano_emulated_set_order(order);
            for (int i = 0; i < SLOTS; i++)
                route[i].expert = few ? EXPERTS - 1 - i % USED * 30 : i * 37 % EXPERTS;
            plan_experts(&plan, max_tiles);
        }
    nano_emulated_set_order(0);
    device_free(route);
    device_free(plan.tiles);
    device_free(plan.num_tiles);
    device_free(plan.order);
    device_free(plan.order_row);
    close_device();
}

Test(cuda_linear, experts)
{
    enum { ROWS = 150, USED = 3, EXPERTS = 5, COLS = 64, OUT = 24, SLOTS = ROWS * USED };
    open_device();
    float *routes = device_alloc(ROWS * USED * sizeof(struct nano_route));
    struct nano_route *route = (struct nano_route *)(void *)routes;
    for (int i = 0; i < SLOTS; i++)
        route[i] = (struct nano_route){(int32_t)((i % USED + i / USED * (i / USED % 3)) % EXPERTS),
                                       random_float()};
    const int max_tiles = nano_cuda_moe_max_tiles(ROWS, USED, EXPERTS, NANO_CUDA_SKINNY_ROWS);
    struct nano_cuda_moe_plan_args plan = {.routes = {routes, USED * 2},
                                           .rows = ROWS,
                                           .num_used = USED,
                                           .num_experts = EXPERTS,
                                           .tile_slots = NANO_CUDA_SKINNY_ROWS,
                                           .tiles =
                                               device_alloc((size_t)max_tiles * sizeof *plan.tiles),
                                           .num_tiles = device_alloc(sizeof(int32_t)),
                                           .order = device_alloc(SLOTS * sizeof(int32_t)),
                                           .order_row = device_alloc(SLOTS * sizeof(int32_t))};
    plan_experts(&plan, max_tiles);

    for (int f = 0; f < 2; f++) {
        const enum nano_format format = f ? NANO_FORMAT_F32 : NANO_FORMAT_F16;
        const size_t element = f ? 4 : 2;
        float *x = random_floats(ROWS * COLS, 1);
        float *y = device_alloc(SLOTS * OUT * sizeof *y), *bias = random_floats(EXPERTS * OUT, 1);
        float *sums = device_alloc(ROWS * OUT * sizeof *sums);
        void *weights = random_weights(format, EXPERTS * OUT * COLS);
        struct nano_cuda_linear_args a = {
            .format = format,
            .segments = {{weights, COLS * (int64_t)element, 1, bias, {y, OUT}, OUT}},
            .num_segments = 1,
            .cols = COLS,
            .num_heads = 1,
            .tiles = plan.tiles,
            .num_tiles = plan.num_tiles,
            .tile_slots = plan.tile_slots,
            .max_tiles = max_tiles,
            .in_rows = plan.order_row,
            .out_rows = plan.order,
            .expert_bytes = OUT * COLS * (int64_t)element,
            .rows = SLOTS};
        give_input(&a, x, COLS, ROWS);
        nano_cuda_linear(device, &a);
        const struct nano_cuda_moe_combine_args combine = {.routes = plan.routes,
                                                           .in = {y, OUT},
                                                           .out = {sums, OUT},
                                                           .rows = ROWS,
                                                           .num_used = USED,
                                                           .width = OUT};
        nano_cuda_moe_combine(device, &combine);
        for (int t = 0; t < ROWS; t++)
            for (int r = 0; r < OUT; r++) {
                double expected = 0;
                for (int i = 0; i < USED; i++) {
                    const struct nano_route *to = &route[t * USED + i];
                    double sum = (double)bias[to->expert * OUT + r];
                    for (int k = 0; k < COLS; k++)
                        sum +=
                            (double)weight_at(format, weights, (to->expert * OUT + r) * COLS + k) *
                            (double)x[t * COLS + k];
                    expected += sum * (double)to->weight;
                }
                cr_assert_float_eq((double)sums[t * OUT + r], expected, f ? 1e-4 : 0.1);
            }
        device_free(x);
        device_free(y);
        device_free(bias);
        device_free(sums);
        device_free(weights);
        device_free(a.half);
        device_free(a.scales);
    }
    device_free(routes);
    device_free(plan.tiles);
    device_free(plan.num_tiles);
    device_free(plan.order);
    device_free(plan.order_row);
    close_device();
}

/* Any that are finite in F16. */
static void *blocks_finite_in_f16(enum nano_format format, size_t num_bytes)
{
    const size_t block = (size_t)nano_format_traits(format)->block_bytes;
    unsigned char *bytes = device_alloc(num_bytes + 4);
    for (size_t i = 0; i < num_bytes; i++)
        bytes[i] = (unsigned char)(tiny_random(&seed) & 0x3b);
    for (size_t i = 0; i < num_bytes && format == NANO_FORMAT_MXFP4; i += block)
        bytes[i] = (unsigned char)(120 + bytes[i] % 8);
    return bytes;
}

/* A glu of experts in tiles of every size, in all of which slots have the skinny kernel's bits. */
static void check_experts(enum nano_format format)
{
    enum { ROWS = 120, USED = 3, EXPERTS = 4, COLS = 256, OUT = 40, SLOTS = ROWS * USED };
    static const int sizes[] = {NANO_CUDA_SKINNY_ROWS, NANO_CUDA_TILE_SLOTS,
                                NANO_CUDA_HALF_TILE_SLOTS};
    const int num_sizes = format == NANO_FORMAT_F16 ? 3 : 2;
    struct nano_route *route = device_alloc(SLOTS * sizeof *route);
    for (int i = 0; i < SLOTS; i++) /* 120 of the first, 1 of the last */
        route[i].expert = i % USED == 0 ? 0 : i == 1 ? 3 : 1 + (i / 7 % 2);
    const int max_tiles = nano_cuda_moe_max_tiles(ROWS, USED, EXPERTS, NANO_CUDA_SKINNY_ROWS);
    struct nano_cuda_moe_plan_args plan = {.routes = {(float *)(void *)route, USED * 2},
                                           .rows = ROWS,
                                           .num_used = USED,
                                           .num_experts = EXPERTS,
                                           .tiles =
                                               device_alloc((size_t)max_tiles * sizeof *plan.tiles),
                                           .num_tiles = device_alloc(sizeof(int32_t)),
                                           .order = device_alloc(SLOTS * sizeof(int32_t)),
                                           .order_row = device_alloc(SLOTS * sizeof(int32_t))};
    const int64_t row_bytes = (int64_t)nano_format_row_bytes(format, COLS);
    float *x = random_floats(ROWS * COLS, 1), *before = random_floats(SLOTS * OUT, 1);
    float *y = device_alloc(SLOTS * OUT * sizeof *y), *expected = malloc(SLOTS * OUT * sizeof *y);
    struct nano_cuda_linear_args a = {.format = format,
                                      .num_segments = 2,
                                      .accumulate = true,
                                      .glu = true,
                                      .act = NANO_ACT_SILU,
                                      .cols = COLS,
                                      .num_heads = 1,
                                      .tiles = plan.tiles,
                                      .num_tiles = plan.num_tiles,
                                      .in_rows = plan.order_row,
                                      .out_rows = plan.order,
                                      .expert_bytes = OUT * row_bytes,
                                      .rows = SLOTS};
    for (int s = 0; s < 2; s++)
        a.segments[s] = (struct nano_cuda_segment){
            blocks_finite_in_f16(format, (size_t)(EXPERTS * OUT * row_bytes)),
            row_bytes,
            0x1p-8f,
            random_floats(EXPERTS * OUT, 1),
            {y, OUT},
            OUT};
    give_input(&a, x, COLS, ROWS);
    a.rows = SLOTS;
    for (int i = 0; i < num_sizes; i++)
        for (int order = 0; order < (i ? 3 : 1); order += 2) {
            nano_emulated_set_order(order);
            plan.tile_slots = a.tile_slots = sizes[i];
            a.max_tiles = nano_cuda_moe_max_tiles(ROWS, USED, EXPERTS, sizes[i]);
            plan_experts(&plan, a.max_tiles);
            memcpy(y, before, SLOTS * OUT * sizeof *y);
            nano_cuda_linear(device, &a);
            if (i == 0) {
                memcpy(expected, y, SLOTS * OUT * sizeof *y);
                for (int k = 0; k < SLOTS * OUT; k++)
                    cr_assert(isfinite(y[k]), "%s", nano_format_traits(format)->name);
            }
            cr_assert_eq(memcmp(y, expected, SLOTS * OUT * sizeof *y), 0,
                         "%s: other bits in tiles of %d", nano_format_traits(format)->name,
                         sizes[i]);
        }
    nano_emulated_set_order(0);
    for (int s = 0; s < 2; s++) {
        device_free(a.segments[s].weight);
        device_free(a.segments[s].bias);
    }
    free(expected);
    device_free(route);
    device_free(plan.tiles);
    device_free(plan.num_tiles);
    device_free(plan.order);
    device_free(plan.order_row);
    device_free(x);
    device_free(before);
    device_free(y);
    device_free(a.half);
    device_free(a.scales);
}

Test(cuda_linear, experts_in_tiles_of_any_size)
{
    open_device();
    for (int format = 0; format < NANO_NUM_FORMATS; format++)
        if (format != NANO_FORMAT_F32 && format != NANO_FORMAT_BF16)
            check_experts((enum nano_format)format);
    close_device();
}

/* Two segments and heads of quantised weights, whose rows have the skinny kernel's bits. */
static void check_quantised_rows(enum nano_format format)
{
    enum { ROWS = 70, HEADS = 2, COLS = 512, MOST = 130, Y = HEADS * 2 * MOST };
    const int64_t row_bytes = (int64_t)nano_format_row_bytes(format, COLS);
    float *x = random_floats(ROWS * HEADS * COLS, 1), *y = device_alloc(ROWS * Y * sizeof *y),
          *alone = malloc(ROWS * Y * sizeof *alone);
    for (int heads = 1; heads <= HEADS; heads++) {
        struct nano_cuda_linear_args a = {.format = format,
                                          .num_segments = 2,
                                          .cols = COLS,
                                          .num_heads = heads,
                                          .head_bytes = MOST * row_bytes,
                                          .out_stride = 2 * MOST};
        for (int s = 0; s < 2; s++)
            a.segments[s] = (struct nano_cuda_segment){
                blocks_finite_in_f16(format, (size_t)(HEADS * MOST * row_bytes)),
                row_bytes,
                0x1p-8f,
                NULL,
                {y + s * MOST, Y},
                s ? 20 : MOST};
        give_input(&a, x, COLS, ROWS * heads);
        const struct nano_cuda_linear_args whole = a;
        for (int t = 0; t < ROWS; t += ALONE_STEP) {
            memset(y, 0, ROWS * Y * sizeof *y);
            a.rows = 1;
            a.half = whole.half + t * heads * whole.half_stride;
            a.scales = whole.scales + t * heads;
            nano_cuda_linear(device, &a);
            memcpy(alone + t * Y, y, Y * sizeof *y);
        }
        a = whole;
        a.rows = ROWS;
        memset(y, 0, ROWS * Y * sizeof *y);
        nano_cuda_linear_tile_quantised(device, &a);
        for (int t = 0; t < ROWS; t += ALONE_STEP)
            cr_assert_eq(memcmp(y + t * Y, alone + t * Y, Y * sizeof *y), 0,
                         "%s, %d heads: row %d has other bits", nano_format_traits(format)->name,
                         heads, t);
        for (int s = 0; s < 2; s++)
            device_free(a.segments[s].weight);
        device_free(a.half);
        device_free(a.scales);
    }
    free(alone);
    device_free(x);
    device_free(y);
}

Test(cuda_linear, quantised_rows)
{
    open_device();
    for (int format = 0; format < NANO_NUM_FORMATS; format++)
        if (format != NANO_FORMAT_F32 && format != NANO_FORMAT_F16 && format != NANO_FORMAT_BF16)
            check_quantised_rows((enum nano_format)format);
    close_device();
}

/* ---- BF16 weights ---- */

static float f32_from_bf16(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

Test(cuda_linear, bf16_weights_are_exact_as_f16)
{
    enum { COUNT = 4096 };
    static const int exponents[] = {-126, -60, -20, 0, 40, 127}; /* of the largest */
    open_device();
    uint16_t *weights = device_alloc(COUNT * sizeof *weights), bf16[COUNT];
    int32_t *max_bits = device_alloc(sizeof *max_bits);
    for (size_t e = 0; e < sizeof exponents / sizeof *exponents; e++) {
        for (int i = 0; i < COUNT; i++) {
            const int exponent = exponents[e] - (int)(tiny_random(&seed) % 29);
            bf16[i] = (uint16_t)((tiny_random(&seed) & 0x807f) |
                                 (uint64_t)(exponent + 127 < 1 ? 0 : exponent + 127) << 7);
        }
        bf16[COUNT / 3] = (uint16_t)((exponents[e] + 127) << 7 | 0x8050);
        memcpy(weights, bf16, sizeof bf16);
        *max_bits = 0;
        struct nano_cuda_convert_args args = {weights, COUNT, max_bits, 0};
        nano_cuda_find_max(device, &args);
        args.shift = nano_cuda_convert_shift(*max_bits);
        nano_cuda_convert(device, &args);
        for (int i = 0; i < COUNT; i++)
            cr_assert_eq(ldexpf(f32_from_f16(weights[i]), -args.shift), f32_from_bf16(bf16[i]),
                         "2^%d: %04x became %04x", exponents[e], (unsigned)bf16[i],
                         (unsigned)weights[i]);
    }
    device_free(weights);
    device_free(max_bits);
    close_device();
}
