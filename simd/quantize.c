/* Quantisers of the formats that plain rounding fills. */
#include "simd/quantize.h"

#include <math.h>
#include <string.h>

#include "simd/blocks.h"

struct block_range {
    float min, max,
        extreme; /* `extreme`: the value of largest magnitude, the first of equal ones */
};

static struct block_range range_of(const float *x)
{
    struct block_range range = {x[0], x[0], x[0]};
    for (int k = 1; k < 32; k++) {
        range.min = x[k] < range.min ? x[k] : range.min;
        range.max = x[k] > range.max ? x[k] : range.max;
        range.extreme = fabsf(x[k]) > fabsf(range.extreme) ? x[k] : range.extreme;
    }
    return range;
}

/* 1 / d; 0 where the reciprocal has no finite value. */
static float inverse(float d)
{
    float id = 1.0f / d;
    return isfinite(id) ? id : 0.0f;
}

/* x * id + offset cut to an integer in [0, max]. */
static uint8_t level(float x, float id, float offset, int max)
{
    int q = (int)(x * id + offset);
    return (uint8_t)(q < max ? q : max);
}

static void pack_nibbles(uint8_t nibbles[16], const uint8_t q[32])
{
    for (int j = 0; j < 16; j++)
        nibbles[j] = (uint8_t)((q[j] & 15) | (q[16 + j] & 15) << 4);
}

static void pack_high(uint8_t high[4], const uint8_t q[32])
{
    uint32_t bits = 0;
    for (int k = 0; k < 32; k++)
        bits |= (uint32_t)(q[k] >> 4) << k;
    nano_store_u16(high, (uint16_t)bits);
    nano_store_u16(high + 2, (uint16_t)(bits >> 16));
}

/* The levels of one block: d and m are stored, q = round((x - m) / d) + offset. */
static void quantize_levels(uint8_t q[32], const float *x, float d, float min, float offset,
                            int max)
{
    float id = inverse(d);
    for (int k = 0; k < 32; k++)
        q[k] = level(x[k] - min, id, offset, max);
}

static void quantize_f32(uint8_t *dst, const float *x)
{
    uint32_t bits = nano_f32_bits(*x);
    nano_store_u16(dst, (uint16_t)bits);
    nano_store_u16(dst + 2, (uint16_t)(bits >> 16));
}

static void quantize_f16(uint8_t *dst, const float *x)
{
    nano_store_u16(dst, nano_f32_to_f16(*x));
}

static void quantize_bf16(uint8_t *dst, const float *x)
{
    nano_store_u16(dst, nano_f32_to_bf16(*x));
}

static void quantize_q4_0(uint8_t *dst, const float *x)
{
    struct nano_block_q4_0 *block = (void *)dst;
    float d = range_of(x).extreme / -8;
    uint8_t q[32];
    quantize_levels(q, x, d, 0, 8.5f, 15);
    nano_store_u16(block->d, nano_f32_to_f16(d));
    pack_nibbles(block->nibbles, q);
}

static void quantize_q4_1(uint8_t *dst, const float *x)
{
    struct nano_block_q4_1 *block = (void *)dst;
    struct block_range range = range_of(x);
    float d = (range.max - range.min) / 15;
    uint8_t q[32];
    quantize_levels(q, x, d, range.min, 0.5f, 15);
    nano_store_u16(block->d, nano_f32_to_f16(d));
    nano_store_u16(block->m, nano_f32_to_f16(range.min));
    pack_nibbles(block->nibbles, q);
}

static void quantize_q5_0(uint8_t *dst, const float *x)
{
    struct nano_block_q5_0 *block = (void *)dst;
    float d = range_of(x).extreme / -16;
    uint8_t q[32];
    quantize_levels(q, x, d, 0, 16.5f, 31);
    nano_store_u16(block->d, nano_f32_to_f16(d));
    pack_high(block->high, q);
    pack_nibbles(block->nibbles, q);
}

static void quantize_q5_1(uint8_t *dst, const float *x)
{
    struct nano_block_q5_1 *block = (void *)dst;
    struct block_range range = range_of(x);
    float d = (range.max - range.min) / 31;
    uint8_t q[32];
    quantize_levels(q, x, d, range.min, 0.5f, 31);
    nano_store_u16(block->d, nano_f32_to_f16(d));
    nano_store_u16(block->m, nano_f32_to_f16(range.min));
    pack_high(block->high, q);
    pack_nibbles(block->nibbles, q);
}

static void quantize_q8_0(uint8_t *dst, const float *x)
{
    struct nano_block_q8_0 *block = (void *)dst;
    float d = fabsf(range_of(x).extreme) / 127, id = inverse(d);
    nano_store_u16(block->d, nano_f32_to_f16(d));
    for (int k = 0; k < 32; k++)
        block->q[k] = (int8_t)roundf(x[k] * id);
}

void nano_quantize_rows(enum nano_format format, const float *src, void *dst, int64_t rows,
                        int64_t cols, const float *importance)
{
    static void (*const quantizers[NANO_NUM_FORMATS])(uint8_t * dst, const float *x) = {
        [NANO_FORMAT_F32] = quantize_f32,   [NANO_FORMAT_F16] = quantize_f16,
        [NANO_FORMAT_BF16] = quantize_bf16, [NANO_FORMAT_Q4_0] = quantize_q4_0,
        [NANO_FORMAT_Q4_1] = quantize_q4_1, [NANO_FORMAT_Q5_0] = quantize_q5_0,
        [NANO_FORMAT_Q5_1] = quantize_q5_1, [NANO_FORMAT_Q8_0] = quantize_q8_0,
    };
    const struct nano_format_traits *traits = nano_format_traits(format);
    uint8_t *out = dst;
    (void)importance;
    if (!quantizers[format]) {
        memset(dst, 0, (size_t)rows * nano_format_row_bytes(format, cols));
        return;
    }
    for (int64_t k = 0; k < rows * cols; k += traits->block_length, out += traits->block_bytes)
        quantizers[format](out, src + k);
}
