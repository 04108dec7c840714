/* simd/quantize.h: bytes of the rounding formats, errors of those that search, bad input. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simd/blocks.h"
#include "simd/dequantize.h"
#include "simd/kernels.h"
#include "simd/quantize.h"

enum { ROWS = 8, COLS = 512, VALUES = ROWS * COLS };
enum { DENORMAL_ROW = 6 }; /* see the data's README: ggml's bytes there are an accident */

/* Whether the format's bytes follow from rounding alone. */
static bool is_rounded(enum nano_format format)
{
    return format <= NANO_FORMAT_Q8_0 || format == NANO_FORMAT_MXFP4;
}

/* Reads exactly num_bytes of $NANOVLLM_TEST_DATA/zoo/quant/NAME.EXTENSION. */
static void *read_golden(const char *name, const char *extension, size_t num_bytes)
{
    const char *data = getenv("NANOVLLM_TEST_DATA");
    char path[4096];
    if (!data)
        cr_skip_test("NANOVLLM_TEST_DATA is not set");
    snprintf(path, sizeof path, "%s/zoo/quant/%s.%s", data, name, extension);
    FILE *file = fopen(path, "rb");
    cr_assert(file, "cannot open %s", path);
    void *bytes = malloc(num_bytes + 1);
    cr_assert(bytes);
    cr_assert_eq(fread(bytes, 1, num_bytes + 1, file), num_bytes, "size of %s", path);
    fclose(file);
    return bytes;
}

/* A uniform number from [-1, 1). */
static float uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005 + 1442695040888963407;
    return (float)(*state >> 40) * 0x1p-23f - 1;
}

/* Sums of uniform numbers: a bell, as weights have. */
static void fill_random(float *x, int count, float scale, uint64_t seed)
{
    for (int k = 0; k < count; k++)
        x[k] = scale * (uniform(&seed) + uniform(&seed) + uniform(&seed) + uniform(&seed));
}

static double squared_error(const float *a, const float *b, const float *weights, int count)
{
    double sum = 0;
    for (int k = 0; k < count; k++) {
        double e = (double)a[k] - (double)b[k];
        sum += (weights ? (double)weights[k] : 1) * e * e;
    }
    return sum;
}

/* What rows become when they are stored. */
static void round_trip(enum nano_format format, float *back, const float *x, int rows, int cols,
                       const float *importance)
{
    unsigned char *stored = malloc((size_t)rows * nano_format_row_bytes(format, cols));
    nano_quantize_rows(format, x, stored, rows, cols, importance);
    nano_dequantize_rows(format, stored, back, rows, cols);
    free(stored);
}

Test(quantize, bytes_of_rounding_formats_equal_the_goldens)
{
    float *input = read_golden("input", "f32", VALUES * 4);
    for (int i = 0; i < NANO_NUM_FORMATS; i++) {
        enum nano_format format = (enum nano_format)i;
        const struct nano_format_traits *traits = nano_format_traits(format);
        size_t row_bytes = nano_format_row_bytes(format, COLS);
        if (!is_rounded(format) || format == NANO_FORMAT_F32)
            continue;
        unsigned char stored[VALUES * 2],
            *golden = read_golden(traits->name, "bin", ROWS * row_bytes);
        nano_quantize_rows(format, input, stored, ROWS, COLS, NULL);
        for (size_t r = 0; r < ROWS; r++)
            if (r != DENORMAL_ROW || traits->block_length == 1)
                cr_expect_eq(memcmp(stored + r * row_bytes, golden + r * row_bytes, row_bytes), 0,
                             "%s row %zu", traits->name, r);
        free(golden);
    }
    free(input);
}

/* Each row, and all but that with the outlier (which would be all of the sum). */
Test(quantize, errors_are_at_most_those_of_the_goldens_and_two_per_cent)
{
    enum { OUTLIER_ROW = 5 };
    float *input = read_golden("input", "f32", VALUES * 4), back[VALUES];
    for (int i = 1; i < NANO_NUM_FORMATS; i++) {
        enum nano_format format = (enum nano_format)i;
        const char *name = nano_format_traits(format)->name;
        float *golden = read_golden(name, "f32", VALUES * 4);
        double ours = 0, theirs = 0;
        round_trip(format, back, input, ROWS, COLS, NULL);
        for (int r = 0; r < ROWS; r++) {
            const float *x = input + r * COLS;
            double error = sqrt(squared_error(back + r * COLS, x, NULL, COLS)),
                   allowed = sqrt(squared_error(golden + r * COLS, x, NULL, COLS));
            cr_expect_leq(error, 1.02 * allowed, "%s row %d: %g, golden %g", name, r, error,
                          allowed);
            ours += r == OUTLIER_ROW ? 0 : error * error;
            theirs += r == OUTLIER_ROW ? 0 : allowed * allowed;
        }
        cr_expect_leq(sqrt(ours), 1.02 * sqrt(theirs), "%s", name);
        free(golden);
    }
    free(input);
}

/* Without the data: the relative error of a bell of 64 rows of 512, rounded up by a per cent or two
 * when all formats kept to the goldens' errors. */
Test(quantize, errors_of_random_rows_stay_small)
{
    static const double bounds[NANO_NUM_FORMATS] = {
        [NANO_FORMAT_F16] = 0.00022,    [NANO_FORMAT_BF16] = 0.0017,
        [NANO_FORMAT_Q4_0] = 0.0830,    [NANO_FORMAT_Q4_1] = 0.0769,
        [NANO_FORMAT_Q5_0] = 0.0412,    [NANO_FORMAT_Q5_1] = 0.0374,
        [NANO_FORMAT_Q8_0] = 0.0052,    [NANO_FORMAT_Q2_K] = 0.2609,
        [NANO_FORMAT_Q3_K] = 0.1406,    [NANO_FORMAT_Q4_K] = 0.0689,
        [NANO_FORMAT_Q5_K] = 0.0342,    [NANO_FORMAT_Q6_K] = 0.0167,
        [NANO_FORMAT_IQ4_NL] = 0.0734,  [NANO_FORMAT_IQ4_XS] = 0.0739,
        [NANO_FORMAT_MXFP4] = 0.1183,   [NANO_FORMAT_NVFP4] = 0.0911,
        [NANO_FORMAT_Q1_0] = 0.5989,    [NANO_FORMAT_Q2_0] = 0.3545,
        [NANO_FORMAT_TQ1_0] = 0.4258,   [NANO_FORMAT_TQ2_0] = 0.4258,
        [NANO_FORMAT_IQ1_S] = 0.4407,   [NANO_FORMAT_IQ1_M] = 0.4099,
        [NANO_FORMAT_IQ2_XXS] = 0.3299, [NANO_FORMAT_IQ2_XS] = 0.2897,
        [NANO_FORMAT_IQ2_S] = 0.2412,   [NANO_FORMAT_IQ3_XXS] = 0.1807,
        [NANO_FORMAT_IQ3_S] = 0.1327,
    };
    enum { COUNT = 64 * 512 };
    static float x[COUNT], back[COUNT];
    fill_random(x, COUNT, 0.02f, 3);
    double squares = 0;
    for (int k = 0; k < COUNT; k++)
        squares += (double)x[k] * (double)x[k];
    for (int i = 0; i < NANO_NUM_FORMATS; i++) {
        round_trip((enum nano_format)i, back, x, 64, 512, NULL);
        double error = sqrt(squared_error(back, x, NULL, COUNT) / squares);
        cr_expect_leq(error, bounds[i], "%s: %.5f", nano_format_traits((enum nano_format)i)->name,
                      error);
    }
}

/* For every format that can choose, columns that matter get better at the others' cost. */
Test(quantize, importance_lowers_the_weighted_error)
{
    enum { COUNT = 16 * 512 };
    static float x[COUNT], plain[COUNT], weighted[COUNT], weights[COUNT];
    uint64_t seed = 9;
    fill_random(x, COUNT, 0.02f, 5);
    for (int k = 0; k < 512; k++)
        weights[k] = expf(3 * uniform(&seed));
    for (int k = 512; k < COUNT; k++)
        weights[k] = weights[k % 512];
    for (int i = NANO_FORMAT_Q4_0; i < NANO_NUM_FORMATS; i++) {
        enum nano_format format = (enum nano_format)i;
        round_trip(format, plain, x, 16, 512, NULL);
        round_trip(format, weighted, x, 16, 512, weights);
        double before = squared_error(plain, x, weights, COUNT),
               after = squared_error(weighted, x, weights, COUNT);
        if (format == NANO_FORMAT_Q8_0 || format == NANO_FORMAT_MXFP4)
            cr_expect_eq(after, before);
        else
            cr_expect_lt(after, before, "%s: %g after %g", nano_format_traits(format)->name, after,
                         before);
    }
}

/* Equal importance is none, where a search is made without it too. */
Test(quantize, scaling_importance_changes_nothing)
{
    static float x[512], plain[512], weighted[512], weights[512];
    fill_random(x, 512, 0.02f, 6);
    for (int k = 0; k < 512; k++)
        weights[k] = 0x1p-20f;
    for (int i = 0; i < NANO_NUM_FORMATS; i++) {
        if (is_rounded((enum nano_format)i))
            continue;
        round_trip((enum nano_format)i, plain, x, 1, 512, NULL);
        round_trip((enum nano_format)i, weighted, x, 1, 512, weights);
        cr_expect_eq(memcmp(plain, weighted, sizeof plain), 0, "%s",
                     nano_format_traits((enum nano_format)i)->name);
    }
}

Test(quantize, rows_do_not_depend_on_each_other)
{
    static float x[3 * 512];
    unsigned char whole[3 * 512 * 4], row[512 * 4];
    fill_random(x, 3 * 512, 1, 8);
    for (int i = 0; i < NANO_NUM_FORMATS; i++) {
        enum nano_format format = (enum nano_format)i;
        size_t row_bytes = nano_format_row_bytes(format, 512);
        nano_quantize_rows(format, x, whole, 3, 512, NULL);
        for (size_t r = 0; r < 3; r++) {
            nano_quantize_rows(format, x + r * 512, row, 1, 512, NULL);
            cr_expect_eq(memcmp(row, whole + r * row_bytes, row_bytes), 0, "%s",
                         nano_format_traits(format)->name);
        }
    }
}

/* Tiny values must give zeros, not what a conversion of infinity happens to give. */
Test(quantize, denormals_become_zero)
{
    float tiny[256], back[256];
    for (int k = 0; k < 256; k++)
        tiny[k] = k % 2 ? 1e-40f : -1e-40f;
    for (int i = NANO_FORMAT_Q4_0; i < NANO_NUM_FORMATS; i++) {
        round_trip((enum nano_format)i, back, tiny, 1, 256, NULL);
        for (int k = 0; k < 256; k++)
            cr_expect_eq(back[k], 0, "%s", nano_format_traits((enum nano_format)i)->name);
    }
}

static const float extremes[] = {0,     -0.0f, 1,        -1,        1e-45f, -1e-38f, 6e-8f,
                                 1e-5f, 65504, -7e4f,    3e8f,      -1e15f, 3e38f,   -3.4e38f,
                                 NAN,   -NAN,  INFINITY, -INFINITY, 0.375f, 1e30f};
enum { NUM_EXTREMES = sizeof extremes / sizeof *extremes, NUM_FINITE = 8 };

/* No crash, no endless loop, and what is finite and of a weight's size stays finite. */
Test(quantize, any_input_gives_a_block, .timeout = 120)
{
    enum { CASES = 400 };
    uint64_t seed = 1;
    for (int i = 0; i < NANO_NUM_FORMATS * CASES; i++) {
        enum nano_format format = (enum nano_format)(i % NANO_NUM_FORMATS);
        int round = i / NANO_NUM_FORMATS;
        float x[256], back[256], importance[256];
        int variety = round % 4, available = round % 3 ? NUM_EXTREMES : NUM_FINITE;
        for (int k = 0; k < 256; k++) {
            int any = (int)((uniform(&seed) + 1) / 2 * (float)available);
            x[k] = variety == 0   ? extremes[round / 4 % available]
                   : variety == 1 ? uniform(&seed)
                                  : extremes[any];
            if (variety == 1 && k % 64 == 5)
                x[k] = extremes[any];
            importance[k] =
                variety == 3 ? extremes[NUM_EXTREMES - 1 - any] : (float)(k % 5 == 0) * 1e-12f;
        }
        round_trip(format, back, x, 1, 256, round % 2 ? importance : NULL);
        for (int k = 0; k < 256 && available == NUM_FINITE; k++)
            cr_assert(isfinite(back[k]), "%s case %d", nano_format_traits(format)->name, round);
    }
}

/* Weights that a format holds exactly come back exactly: what was quantised stays. */
Test(quantize, ternary_and_binary_weights_are_kept)
{
    static const enum nano_format formats[] = {NANO_FORMAT_TQ1_0, NANO_FORMAT_TQ2_0,
                                               NANO_FORMAT_Q2_0, NANO_FORMAT_Q1_0};
    float x[256], back[256];
    uint64_t seed = 4;
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < 256; k++) {
            float trit = floorf((uniform(&seed) + 1) * 1.4999f) - 1;
            x[k] = 0.0625f * (i == 3 && trit == 0 ? 1 : trit);
        }
        round_trip(formats[i], back, x, 1, 256, NULL);
        cr_expect_eq(memcmp(x, back, sizeof x), 0, "%s", nano_format_traits(formats[i])->name);
    }
}

/* The activation format of blocks of 32 is Q8_0 in another arrangement. */
Test(quantize, activations_have_the_integers_of_q8_0)
{
    float *input = read_golden("input", "f32", VALUES * 4);
    struct nano_block_q8_0 *golden = read_golden("Q8_0", "bin", VALUES / 32 * sizeof *golden);
    struct nano_kernels kernels;
    struct nano_q8_unit units[COLS / 32 * NANO_X_TILE];
    nano_kernels_init(&kernels, NANO_CPU_REF);
    cr_assert_eq(kernels.activation[NANO_ACTIVATION_Q8_32].bytes(1, COLS), sizeof units);
    for (int r = 0; r < ROWS; r++) {
        if (r == DENORMAL_ROW)
            continue;
        kernels.activation[NANO_ACTIVATION_Q8_32].quantize(units, r, input + r * COLS, COLS);
        for (int i = 0; i < COLS / 32; i++) {
            const struct nano_block_q8_0 *block = &golden[r * COLS / 32 + i];
            const struct nano_q8_unit *unit = &units[i * NANO_X_TILE + r];
            int sum = 0;
            for (int k = 0; k < 32; k++)
                sum += block->q[k];
            cr_assert_eq(memcmp(unit->q, block->q, 32), 0, "row %d block %d", r, i);
            cr_assert_eq(unit->d, nano_load_f16(block->d));
            cr_assert_eq(unit->sum, unit->d * (float)sum);
        }
    }
    free(input);
    free(golden);
}
