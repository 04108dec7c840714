/* Synthetic weights: blocks are random bytes whose scales are then set. */
#include "format/synthetic_fill.h"

#include <math.h>
#include <stdbool.h>

#include "format/little_endian.h"
#include "simd/blocks.h"

#define NO_FIELD SIZE_MAX

/* Where the f16 fields of a block are, and what random bytes in all its other fields amount to. */
static const struct {
    size_t scale;       /* d */
    size_t minimum;     /* m or dmin */
    float unit;         /* standard deviation of the weights with d = 1 */
    float minimum_of_d; /* minimum / d that makes the mean 0 */
    bool either_sign;   /* d may be negative: makes the mean 0 where codes are not symmetric */
} layouts[NANO_NUM_FORMATS] = {
#define D(name) offsetof(struct nano_block_##name, d)
#define M(name, field) offsetof(struct nano_block_##name, field)
    [NANO_FORMAT_Q4_0] = {D(q4_0), NO_FIELD, 4.64f, 0, true},
    [NANO_FORMAT_Q4_1] = {D(q4_1), M(q4_1, m), 4.61f, -7.5f, false},
    [NANO_FORMAT_Q5_0] = {D(q5_0), NO_FIELD, 9.25f, 0, true},
    [NANO_FORMAT_Q5_1] = {D(q5_1), M(q5_1, m), 9.23f, -15.5f, false},
    [NANO_FORMAT_Q8_0] = {D(q8_0), NO_FIELD, 73.9f, 0, true},
    [NANO_FORMAT_Q2_K] = {D(q2_k), M(q2_k, dmin), 13.9f, 1.5f, false},
    [NANO_FORMAT_Q3_K] = {D(q3_k), NO_FIELD, 43.3f, 0, true},
    [NANO_FORMAT_Q4_K] = {D(q4_k), M(q4_k, dmin), 258.0f, 7.5f, false},
    [NANO_FORMAT_Q5_K] = {D(q5_k), M(q5_k, dmin), 527.0f, 15.5f, false},
    [NANO_FORMAT_Q6_K] = {D(q6_k), NO_FIELD, 1366.0f, 0, true},
    [NANO_FORMAT_IQ4_NL] = {D(iq4_nl), NO_FIELD, 67.4f, 0, true},
    [NANO_FORMAT_IQ4_XS] = {D(iq4_xs), NO_FIELD, 1246.0f, 0, true},
#undef D
#undef M
};

bool nano_synthetic_fills(enum nano_format format)
{
    return nano_format_traits(format)->block_length == 1 || layouts[format].unit > 0;
}

#define GOLDEN_GAMMA 0x9E3779B97F4A7C15u

/* splitmix64's output function (Steele et al., 2014). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* Random bits, of which `mask` are kept and `bits` are set. */
static void fill_random(uint8_t *dst, size_t num_bytes, uint64_t key, uint64_t mask, uint64_t bits)
{
    size_t i = 0;
    for (; i + 8 <= num_bytes; i += 8)
        nano_le_store(dst + i, (mix(key += GOLDEN_GAMMA) & mask) | bits, 8);
    nano_le_store(dst + i, (mix(key + GOLDEN_GAMMA) & mask) | bits, num_bytes - i);
}

/* The random bits already there vary the value by a few per cent, and its sign if it may. */
static void set_f16(uint8_t *field, uint16_t value, bool either_sign)
{
    uint16_t noise = nano_load_u16(field) & (either_sign ? 0x800F : 0x000F);
    nano_store_u16(field, value ^ noise);
}

static void fill_blocks(uint8_t *dst, enum nano_format format, size_t num_bytes,
                        float standard_deviation)
{
    size_t block_bytes = (size_t)nano_format_traits(format)->block_bytes;
    float d = standard_deviation / layouts[format].unit;
    uint16_t scale = nano_f32_to_f16(d);
    uint16_t minimum = nano_f32_to_f16(d * layouts[format].minimum_of_d);
    for (size_t i = 0; i < num_bytes; i += block_bytes) {
        set_f16(dst + i + layouts[format].scale, scale, layouts[format].either_sign);
        if (layouts[format].minimum != NO_FIELD)
            set_f16(dst + i + layouts[format].minimum, minimum, false);
    }
}

void nano_synthetic_fill(void *dst, enum nano_format format, int64_t rows, int64_t cols,
                         float standard_deviation, uint64_t key)
{
    /* Floats: random sign and mantissa under one exponent. Magnitudes uniform in [1, 2) have the
     * root mean square sqrt(7 / 3). */
    int exponent = ilogbf(standard_deviation / 1.5275f);
    uint64_t mask = UINT64_MAX, bits = 0;
    if (format == NANO_FORMAT_F32) {
        mask = 0x807FFFFF807FFFFFu;
        bits = (uint64_t)(exponent + 127) << 23 | (uint64_t)(exponent + 127) << 55;
    } else if (format == NANO_FORMAT_F16) {
        mask = 0x83FF83FF83FF83FFu;
        bits = (uint64_t)(exponent + 15) * (UINT64_C(0x0001000100010001) << 10);
    } else if (format == NANO_FORMAT_BF16) {
        mask = 0x807F807F807F807Fu;
        bits = (uint64_t)(exponent + 127) * (UINT64_C(0x0001000100010001) << 7);
    }
    size_t row_bytes = nano_format_row_bytes(format, cols);
    for (int64_t row = 0; row < rows; row++) {
        uint8_t *bytes = (uint8_t *)dst + (size_t)row * row_bytes;
        fill_random(bytes, row_bytes, mix(key + (uint64_t)row), mask, bits);
        if (bits == 0)
            fill_blocks(bytes, format, row_bytes, standard_deviation);
    }
}

void nano_synthetic_fill_f32(void *dst, int64_t n, float center, float radius, uint64_t key)
{
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = mix(key += GOLDEN_GAMMA) >> 40; /* 24 of them fill a float's mantissa */
        float value = center + radius * ((float)bits * 0x1p-23f - 1.0f);
        nano_le_store((uint8_t *)dst + 4 * i, nano_le_bits_f32(value), 4);
    }
}
