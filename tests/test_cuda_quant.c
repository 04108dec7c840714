/* Weights of every format on the emulated GPU: bit for bit those of simd/ref. The kernels do not
 * compile when a format of quant.def is missing. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "runner/cuda/cuda_embed.h"
#include "simd/half.h"
#include "tests/check_kernels.h"
#include "tests/cuda/fake_device.h"
#include "tests/cuda/quant_kernel.h"

static struct nano_kernels ref;
static struct nano_cuda_device *device;

static void open_device(void)
{
    struct nano_error err;
    nano_kernels_init_ref(&ref);
    check_start(1);
    cr_assert_eq(nano_cuda_device_open(&device, 0, &err), NANO_OK);
}

static void close_device(void)
{
    nano_cuda_device_close(device);
    cr_expect_eq(fake_device.live_allocations, 0);
}

static void *alloc_device(size_t num_bytes)
{
    void *memory;
    struct nano_error err;
    cr_assert_eq(nano_cuda_device_alloc(device, &memory, num_bytes, "test", &err), NANO_OK);
    return memory;
}

static void *copy_to_device(const void *from, size_t num_bytes)
{
    return memcpy(alloc_device(num_bytes), from, num_bytes);
}

/* Zeros may differ in their sign. */
static bool same(float a, float b)
{
    return nano_f32_bits(a) == nano_f32_bits(b) || (a == 0 && b == 0);
}

static float half_value(uint16_t half, bool is_bf16)
{
    return is_bf16 ? nano_bf16_to_f32(half) : nano_f16_to_f32(half);
}

/* Rows of stored blocks as the kernel reads them and as the reference does. */
static void compare(enum nano_format format, const void *stored, int rows, int64_t cols,
                    const char *what)
{
    const size_t num_bytes = (size_t)rows * nano_format_row_bytes(format, cols);
    struct quant_kernel_args args = {
        .format = format,
        .weights = copy_to_device(stored, num_bytes),
        .cols = cols,
        .rows = rows,
        .values = alloc_device((size_t)(rows * cols) * sizeof(float)),
        .halves = alloc_device((size_t)(rows * cols) * sizeof(uint16_t)),
        .spans = alloc_device((size_t)(rows * cols) * sizeof(uint16_t)),
    };
    const int64_t in_spans = quant_has_spans(format) ? cols / 128 * 128 : 0;
    const bool is_bf16 = quant_half_is_bf16(format);
    float *expected = malloc((size_t)cols * sizeof *expected);
    quant_kernel(device, &args);
    for (int row = 0; row < rows; row++) {
        ref.linear[format].get_row(expected, stored, rows, cols, row);
        for (int64_t k = 0; k < cols; k++) {
            const float value = args.values[row * cols + k];
            const uint32_t pair = args.halves[(row * cols + k) / 2];
            const uint16_t half = (uint16_t)(pair >> k % 2 * 16),
                           expected_half = is_bf16 ? nano_f32_to_bf16(expected[k])
                                                   : nano_f32_to_f16(expected[k]);
            cr_assert(same(value, expected[k]), "%s, %s: row %d, weight %d is %a, not %a",
                      nano_format_traits(format)->name, what, row, (int)k, (double)value,
                      (double)expected[k]);
            cr_assert(same(half_value(half, is_bf16), half_value(expected_half, is_bf16)),
                      "%s, %s: row %d, half %d is %#x, not %#x", nano_format_traits(format)->name,
                      what, row, (int)k, half, expected_half);
            if (k >= in_spans)
                continue;
            const uint16_t in_span = (uint16_t)(args.spans[(row * cols + k) / 2] >> k % 2 * 16);
            cr_assert(same(half_value(in_span, is_bf16), half_value(half, is_bf16)),
                      "%s, %s: row %d, half %d of a span is %#x, not %#x",
                      nano_format_traits(format)->name, what, row, (int)k, in_span, half);
        }
    }
    free(expected);
    nano_cuda_device_free(device, (void *)args.weights);
    nano_cuda_device_free(device, args.values);
    nano_cuda_device_free(device, args.halves);
    nano_cuda_device_free(device, args.spans);
}

Test(cuda_quant, every_format_has_the_reference_s_values, .init = open_device, .fini = close_device)
{
    for (int format = 0; format < NANO_NUM_FORMATS; format++)
        for (int pattern = 0; pattern < NUM_PATTERNS; pattern++) {
            const int rows = pattern == PATTERN_RANDOM ? 50 : 5;
            struct matrix m =
                matrix_make(&ref, (enum nano_format)format, rows, 768, (enum pattern)pattern);
            compare((enum nano_format)format, m.stored.data, rows, 768,
                    pattern_name((enum pattern)pattern));
            matrix_free(&m);
        }
}

/* Where a block's F16 scales are; -1: none. */
static void places_of_f16(enum nano_format format, int places[2])
{
    places[0] = 0, places[1] = -1;
    if (format == NANO_FORMAT_Q4_K || format == NANO_FORMAT_Q5_K)
        places[1] = 2;
    else if (format == NANO_FORMAT_Q6_K)
        places[0] = 208;
}

/* Blocks of random bytes: every code, small scale and exponent of the F16 ones, subnormal too, of
 * both signs; in rows of odd numbers of blocks, so that blocks are at every address they may be. */
Test(cuda_quant, common_formats_of_any_bytes, .init = open_device, .fini = close_device)
{
    static const enum nano_format formats[] = {NANO_FORMAT_Q4_0, NANO_FORMAT_Q8_0, NANO_FORMAT_Q4_K,
                                               NANO_FORMAT_Q5_K, NANO_FORMAT_Q6_K};
    enum { ROWS = 64 };
    uint64_t state = 7;
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        const struct nano_format_traits *traits = nano_format_traits(formats[f]);
        const int64_t cols = traits->block_length == 256 ? 3 * 256 : 13 * 32;
        const size_t num_bytes = ROWS * nano_format_row_bytes(formats[f], cols);
        unsigned char *stored = malloc(num_bytes);
        int places[2];
        places_of_f16(formats[f], places);
        for (size_t i = 0; i < num_bytes; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            stored[i] = (unsigned char)(state >> 56);
        }
        for (size_t block = 0; block < num_bytes; block += (size_t)traits->block_bytes)
            for (int i = 0; i < 2; i++) /* no infinite ones */
                if (places[i] >= 0 && (stored[block + (size_t)places[i] + 1] & 0x7C) == 0x7C)
                    stored[block + (size_t)places[i] + 1] &= 0x8F;
        compare(formats[f], stored, ROWS, cols, "random bytes");
        free(stored);
    }
}

/* A row of four blocks for each byte that the scales of a block may be, of all sixteen levels. */
Test(cuda_quant, fp4_has_every_scale, .init = open_device, .fini = close_device)
{
    static const enum nano_format formats[] = {NANO_FORMAT_MXFP4, NANO_FORMAT_NVFP4};
    static const int scale_bytes[] = {1, 4};
    enum { BLOCKS = 4 };
    for (int i = 0; i < 2; i++) {
        const struct nano_format_traits *traits = nano_format_traits(formats[i]);
        unsigned char *stored = malloc((size_t)(256 * BLOCKS * traits->block_bytes)),
                      *block = stored;
        for (int b = 0; b < 256 * BLOCKS; b++, block += traits->block_bytes)
            for (int j = 0; j < traits->block_bytes; j++)
                block[j] = (unsigned char)(j < scale_bytes[i] ? b / BLOCKS : j * 0x1F + b % BLOCKS);
        compare(formats[i], stored, 256, BLOCKS * traits->block_length, "every scale");
        free(stored);
    }
}

struct embed_case {
    float scale;
    bool has_bias, accumulate;
};

static void check_embed(enum nano_format format, int64_t width, struct embed_case c)
{
    enum { VOCAB = 9, ROWS = 4, EXTRA = 3 };
    static const int32_t ids[ROWS] = {7, 0, 8, 7};
    const int64_t stride = width + EXTRA;
    struct matrix m = matrix_make(&ref, format, VOCAB, width, PATTERN_RANDOM);
    const size_t row_bytes = nano_format_row_bytes(format, width);
    float *before = malloc((size_t)(ROWS * stride) * sizeof *before),
          *bias = malloc((size_t)width * sizeof *bias), *row = malloc((size_t)width * sizeof *row);
    fill_floats(before, ROWS * stride, PATTERN_RANDOM);
    fill_floats(bias, width, PATTERN_RANDOM);
    struct nano_cuda_embed_args args = {
        .out = {copy_to_device(before, (size_t)(ROWS * stride) * sizeof *before), stride},
        .ids = copy_to_device(ids, sizeof ids),
        .format = format,
        .weight = copy_to_device(m.stored.data, VOCAB * row_bytes),
        .row_bytes = (int64_t)row_bytes,
        .width = width,
        .scale = c.scale,
        .bias = c.has_bias ? copy_to_device(bias, (size_t)width * sizeof *bias) : NULL,
        .accumulate = c.accumulate,
        .rows = ROWS,
    };
    nano_cuda_embed(device, &args);
    for (int r = 0; r < ROWS; r++) {
        ref.linear[format].get_row(row, m.weights, VOCAB, width, ids[r]);
        for (int64_t k = 0; k < stride; k++) {
            const float old = before[r * stride + k], value = args.out.data[r * stride + k];
            float expected = old;
            if (k < width) {
                expected = row[k] * c.scale;
                if (c.has_bias)
                    expected += bias[k];
                if (c.accumulate)
                    expected = old + expected;
            }
            cr_assert(same(value, expected), "%s of width %d: row %d, column %d is %a, not %a",
                      nano_format_traits(format)->name, (int)width, r, (int)k, (double)value,
                      (double)expected);
        }
    }
    nano_cuda_device_free(device, args.out.data);
    nano_cuda_device_free(device, (void *)args.ids);
    nano_cuda_device_free(device, (void *)args.weight);
    nano_cuda_device_free(device, (void *)args.bias);
    free(before);
    free(bias);
    free(row);
    matrix_free(&m);
}

Test(cuda_quant, embeddings_are_looked_up, .init = open_device, .fini = close_device)
{
    static const struct embed_case cases[] = {{1, false, false},
                                              {0.3f, false, false},
                                              {1, true, false},
                                              {1, false, true},
                                              {0.7f, true, true}};
    static const int64_t widths[] = {1, 5, 1003, 1032};
    for (int format = 0; format < NANO_NUM_FORMATS; format++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            nano_emulated_set_order((int)i % 3);
            check_embed((enum nano_format)format, 256, cases[i]);
            check_embed((enum nano_format)format, 1280, cases[i]);
            if (nano_format_traits((enum nano_format)format)->block_length == 1)
                for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
                    check_embed((enum nano_format)format, widths[w], cases[i]);
        }
}
