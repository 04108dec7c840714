/* simd: the traits table, f16, bf16 and E4M3, dequantisation against ggml's values. */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "simd/blocks.h"
#include "simd/kernels.h"

enum { GOLDEN_ROWS = 8, GOLDEN_COLS = 512, GOLDEN_VALUES = GOLDEN_ROWS * GOLDEN_COLS };

Test(formats, look_ups_find_every_row_of_the_table)
{
    for (int i = 0; i < NANO_NUM_FORMATS; i++) {
        enum nano_format format = (enum nano_format)i;
        const struct nano_format_traits *traits = nano_format_traits(format);
        cr_assert_eq(nano_format_from_gguf_id(traits->gguf_id), format);
        cr_assert_eq(nano_format_from_name(traits->name), format);
        cr_assert_eq(nano_format_from_name(traits->lower_name), format);
        cr_assert_eq(nano_format_row_bytes(format, 512),
                     (size_t)(512 / traits->block_length * traits->block_bytes));
        cr_assert_eq(nano_format_row_bytes(format, 0), 0);
    }
    cr_assert_eq(nano_format_from_gguf_id(4), NANO_NUM_FORMATS);
    cr_assert_eq(nano_format_from_name("q4_"), NANO_NUM_FORMATS);
    cr_assert_eq(nano_format_from_name("q4_00"), NANO_NUM_FORMATS);
    cr_assert_eq(nano_format_from_name(""), NANO_NUM_FORMATS);
    cr_assert_eq(nano_format_from_name("Q5_k"), NANO_FORMAT_Q5_K);
    cr_assert_eq(nano_format_traits(NANO_FORMAT_BF16)->gguf_id, 30);
    cr_assert_eq(nano_format_traits(NANO_FORMAT_Q6_K)->activation, NANO_ACTIVATION_Q8_256);
}

/* The value of an f16 by its definition. */
static double f16_value(int h)
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double magnitude = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return h & 0x8000 ? -magnitude : magnitude;
}

Test(half, every_f16_is_exact_and_comes_back)
{
    for (int h = 0; h < 65536; h++) {
        float x = nano_f16_to_f32((uint16_t)h);
        int exponent = h >> 10 & 31, mantissa = h & 1023;
        if (exponent == 31 && mantissa) {
            cr_assert(isnan(x));
            cr_assert_eq(nano_f32_to_f16(x), h | 0x200); /* quiet, same payload */
            continue;
        }
        cr_assert_eq(nano_f32_to_f16(x), h);
        cr_assert_eq(!!signbit(x), h >> 15);
        if (exponent == 31)
            cr_assert(isinf(x));
        else
            cr_assert_eq((double)x, f16_value(h));
    }
}

/* Between neighbours the nearer one wins, in the middle the even one. */
Test(half, f16_rounds_to_nearest_even)
{
    for (int h = 0; h < 0x7C00; h++) {
        double low = f16_value(h), high = h == 0x7BFF ? 65536 : f16_value(h + 1);
        float middle = (float)((low + high) / 2);
        cr_assert_eq(nano_f32_to_f16(middle), h + (h & 1), "%a", middle);
        cr_assert_eq(nano_f32_to_f16(nextafterf(middle, 0)), h);
        cr_assert_eq(nano_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        cr_assert_eq(nano_f32_to_f16(-middle), 0x8000 | (h + (h & 1)));
    }
    cr_assert_eq(nano_f32_to_f16(1e30f), 0x7C00);
    cr_assert_eq(nano_f32_to_f16(-INFINITY), 0xFC00);
    cr_assert_eq(nano_f32_to_f16(1e-30f), 0);
}

Test(half, every_bf16_is_exact_and_rounds_to_nearest_even)
{
    for (int h = 0; h < 65536; h++) {
        float x = nano_bf16_to_f32((uint16_t)h);
        uint32_t bits = (uint32_t)h << 16;
        cr_assert_eq(memcmp(&x, &bits, 4), 0);
        if (isnan(x)) {
            cr_assert_eq(nano_f32_to_bf16(x), h | 0x40);
            continue;
        }
        cr_assert_eq(nano_f32_to_bf16(x), h);
        if (isinf(x))
            continue;
        cr_assert_eq(nano_f32_to_bf16(nano_f32_from_bits(bits | 0x7FFF)), h);
        cr_assert_eq(nano_f32_to_bf16(nano_f32_from_bits(bits | 0x8000)), h + (h & 1));
        cr_assert_eq(nano_f32_to_bf16(nano_f32_from_bits(bits | 0x8001)), h + 1);
    }
}

/* The value of an E4M3 code by its definition; 480 for the one that means NaN. */
static double e4m3_value(int code)
{
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    const double magnitude = exponent ? ldexp(8 + mantissa, exponent - 10) : ldexp(mantissa, -9);
    return code & 0x80 ? -magnitude : magnitude;
}

Test(half, every_e4m3_is_exact_and_comes_back)
{
    for (int code = 0; code < 256; code++) {
        const float x = nano_e4m3_to_f32((uint8_t)code);
        cr_assert_eq((double)x, e4m3_value(code));
        cr_assert_eq(!!signbit(x), code >> 7);
        cr_assert_eq(nano_f32_to_e4m3(x), (code & 0x7F) == 0x7F ? code - 1 : code);
    }
}

/* Beyond the largest all become it, and what is no number becomes 0. */
Test(half, e4m3_rounds_to_nearest_even_and_saturates)
{
    static const float large[] = {448.1f, 464, 480, 1e30f, FLT_MAX, INFINITY};
    for (int code = 0; code < 0x7E; code++) {
        const float middle = (float)((e4m3_value(code) + e4m3_value(code + 1)) / 2);
        cr_assert_eq(nano_f32_to_e4m3(middle), code + (code & 1), "%a", middle);
        cr_assert_eq(nano_f32_to_e4m3(nextafterf(middle, 0)), code);
        cr_assert_eq(nano_f32_to_e4m3(nextafterf(middle, INFINITY)), code + 1);
        cr_assert_eq(nano_f32_to_e4m3(-middle), 0x80 | (code + (code & 1)));
    }
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        cr_assert_eq(nano_f32_to_e4m3(large[i]), 0x7E);
        cr_assert_eq(nano_f32_to_e4m3(-large[i]), 0xFE);
    }
    cr_assert_eq(nano_f32_to_e4m3(1e-40f), 0);
    cr_assert_eq(nano_f32_to_e4m3(-1e-40f), 0x80);
    cr_assert_eq(nano_f32_to_e4m3(NAN), 0);
    cr_assert_eq(nano_f32_to_e4m3(-NAN), 0);
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

/* F32 has no golden file: it is the input itself. */
static void *read_stored(enum nano_format format)
{
    size_t num_bytes = GOLDEN_ROWS * nano_format_row_bytes(format, GOLDEN_COLS);
    return format == NANO_FORMAT_F32
               ? read_golden("input", "f32", num_bytes)
               : read_golden(nano_format_traits(format)->name, "bin", num_bytes);
}

Test(dequantize, every_format_equals_the_goldens_bit_for_bit)
{
    struct nano_kernels kernels;
    for (int tier = 0; tier < NANO_NUM_CPU_TIERS; tier++) {
        if (!nano_cpu_supports((enum nano_cpu_tier)tier))
            continue;
        nano_kernels_init(&kernels, (enum nano_cpu_tier)tier);
        for (int i = 0; i < NANO_NUM_FORMATS; i++) {
            const struct nano_linear_kernels *linear = &kernels.linear[i];
            const char *name = nano_format_traits((enum nano_format)i)->name;
            void *stored = read_stored((enum nano_format)i), *packed = NULL;
            float *golden =
                read_golden(i == NANO_FORMAT_F32 ? "input" : name, "f32", GOLDEN_VALUES * 4);
            float row[GOLDEN_COLS];
            if (linear->pack) {
                packed = aligned_alloc(64, (linear->packed_bytes(GOLDEN_ROWS, GOLDEN_COLS) + 63) /
                                               64 * 64);
                linear->pack(packed, stored, GOLDEN_ROWS, GOLDEN_COLS, 0, GOLDEN_ROWS);
            }
            for (int r = 0; r < GOLDEN_ROWS; r++) {
                linear->get_row(row, packed ? packed : stored, GOLDEN_ROWS, GOLDEN_COLS, r);
                cr_assert_eq(memcmp(row, golden + r * GOLDEN_COLS, sizeof row), 0, "%s: %s row %d",
                             kernels.name, name, r);
            }
            free(packed);
            free(stored);
            free(golden);
        }
    }
}

/* The same without the data: what 16 blocks of pseudo-random bytes dequantise to, hashed (FNV-1a,
 * 64 bits) when every format equalled the goldens. Infinities and NaN are left out. */
Test(dequantize, pseudo_random_blocks_keep_their_values)
{
    static const uint64_t recorded[NANO_NUM_FORMATS] = {
        [NANO_FORMAT_F32] = 0x402625BA564DB01F,     [NANO_FORMAT_F16] = 0xAA750517CB6F6277,
        [NANO_FORMAT_BF16] = 0x9EBAB6BAB5D6700E,    [NANO_FORMAT_Q4_0] = 0x5202B5763B0B4689,
        [NANO_FORMAT_Q4_1] = 0x815B63A294B896FE,    [NANO_FORMAT_Q5_0] = 0x12154E068C277EDB,
        [NANO_FORMAT_Q5_1] = 0xB7F4C15FD7DF0747,    [NANO_FORMAT_Q8_0] = 0x54AFC127774B9DAC,
        [NANO_FORMAT_Q2_K] = 0x022149E76C9E7C5E,    [NANO_FORMAT_Q3_K] = 0x6D51F2A3103B4468,
        [NANO_FORMAT_Q4_K] = 0xC5E97F44E6DBB150,    [NANO_FORMAT_Q5_K] = 0x28578CB5600587BA,
        [NANO_FORMAT_Q6_K] = 0x80446A1091468C60,    [NANO_FORMAT_IQ4_NL] = 0x5C7BEEB75F7D6965,
        [NANO_FORMAT_IQ4_XS] = 0xEB51CBEEF879B7D9,  [NANO_FORMAT_MXFP4] = 0x94F06A84DED4F2EE,
        [NANO_FORMAT_NVFP4] = 0xB48E2D70BB3B6775,   [NANO_FORMAT_Q1_0] = 0xF8B9B293CAEE9BA5,
        [NANO_FORMAT_Q2_0] = 0xC19A92EF27F16774,    [NANO_FORMAT_TQ1_0] = 0x9CA027118661A591,
        [NANO_FORMAT_TQ2_0] = 0xE60E3FB181C0E856,   [NANO_FORMAT_IQ1_S] = 0x35814309F8DA387D,
        [NANO_FORMAT_IQ1_M] = 0xB0D60169F04F575F,   [NANO_FORMAT_IQ2_XXS] = 0x578409D5F2C128C9,
        [NANO_FORMAT_IQ2_XS] = 0xEDFB3488E7F61C3B,  [NANO_FORMAT_IQ2_S] = 0x33B3DB933CF73CF5,
        [NANO_FORMAT_IQ3_XXS] = 0x0C75ADDA5A377207, [NANO_FORMAT_IQ3_S] = 0xEB7D7E3F27AB071D,
    };
    struct nano_kernels kernels;
    nano_kernels_init(&kernels, NANO_CPU_REF);
    for (int i = 0; i < NANO_NUM_FORMATS; i++) {
        const struct nano_format_traits *traits = nano_format_traits((enum nano_format)i);
        unsigned char blocks[16 * 256];
        float values[16 * 256];
        uint64_t hash = 0xCBF29CE484222325, state = 1;
        int num_values = 16 * traits->block_length;
        for (int k = 0; k < 16 * traits->block_bytes; k++) {
            state = state * 6364136223846793005 + 1442695040888963407;
            blocks[k] = (unsigned char)(state >> 56);
        }
        kernels.linear[i].get_row(values, blocks, 1, num_values, 0);
        for (int k = 0; k < num_values; k++) {
            uint32_t bits = isfinite(values[k]) ? nano_f32_bits(values[k]) : 0;
            for (int byte = 0; byte < 4; byte++)
                hash = (hash ^ (bits >> 8 * byte & 255)) * 0x100000001B3;
        }
        cr_expect_eq(hash, recorded[i], "%s: %016llx", traits->name, (unsigned long long)hash);
    }
}

Test(cpu, tiers_are_named_and_masked)
{
    cr_assert(nano_cpu_supports(NANO_CPU_REF));
    cr_assert_not(nano_cpu_supports(NANO_NUM_CPU_TIERS));
    for (int i = 0; i < NANO_NUM_CPU_TIERS; i++) {
        enum nano_cpu_tier tier = (enum nano_cpu_tier)i;
        setenv("NANOVLLM_CPU", nano_cpu_tier_name(tier), 1);
        if (!nano_cpu_supports(tier))
            continue;
        struct nano_kernels kernels;
        cr_assert_eq(nano_cpu_detect(), tier);
        nano_kernels_init(&kernels, tier);
        cr_assert_str_eq(kernels.name, nano_cpu_tier_name(tier));
    }
    setenv("NANOVLLM_CPU", "no such tier", 1);
    enum nano_cpu_tier fallback = nano_cpu_detect();
    unsetenv("NANOVLLM_CPU");
    cr_assert_eq(fallback, nano_cpu_detect());
}
