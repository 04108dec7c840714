/* Quantisers of the formats that plain rounding fills, to the bytes of ggml's reference. */
#include "simd/quantize_blocks.h"

#include <math.h>

struct block_range {
    float min, max;
};

static struct block_range range_of(const float *x)
{
    struct block_range range = {x[0], x[0]};
    for (int k = 1; k < 32; k++) {
        range.min = x[k] < range.min ? x[k] : range.min;
        range.max = x[k] > range.max ? x[k] : range.max;
    }
    return range;
}

/* The largest magnitude. As integers floats without a sign are ordered too, and vectorise. */
static float magnitude_of(const float *x)
{
    int32_t largest = 0;
    for (int k = 0; k < 32; k++) {
        int32_t bits = (int32_t)(nano_f32_bits(x[k]) & 0x7FFFFFFF);
        largest = bits > largest ? bits : largest;
    }
    return nano_f32_from_bits((uint32_t)largest);
}

/* The value of largest magnitude, the first of equal ones. */
static float extreme_of(const float *x)
{
    const float magnitude = magnitude_of(x);
    int k = 0;
    while (k < 31 && fabsf(x[k]) != magnitude)
        k++;
    return x[k];
}

/* x * id + offset cut to an integer in [0, max]; NaN gives max. */
static uint8_t level(float x, float id, float offset, float max)
{
    float q = x * id + offset;
    q = q < max ? q : max;
    return (uint8_t)(int)(q > 0 ? q : 0);
}

void nano_pack_nibbles(uint8_t nibbles[16], const uint8_t q[32])
{
    for (int j = 0; j < 16; j++)
        nibbles[j] = (uint8_t)((q[j] & 15) | (q[16 + j] & 15) << 4);
}

void nano_pack_high(uint8_t high[4], const uint8_t q[32])
{
    uint32_t bits = 0;
    for (int k = 0; k < 32; k++)
        bits |= (uint32_t)(q[k] >> 4) << k;
    nano_store_u16(high, (uint16_t)bits);
    nano_store_u16(high + 2, (uint16_t)(bits >> 16));
}

/* The levels of one block: d and m are stored, q = round((x - m) / d) + offset. */
static void quantize_levels(uint8_t q[32], const float *x, float d, float min, float offset,
                            float max)
{
    float id = nano_inverse(d);
    for (int k = 0; k < 32; k++)
        q[k] = level(x[k] - min, id, offset, max);
}

void nano_round_f32(uint8_t *dst, const float *x)
{
    uint32_t bits = nano_f32_bits(*x);
    nano_store_u16(dst, (uint16_t)bits);
    nano_store_u16(dst + 2, (uint16_t)(bits >> 16));
}

void nano_round_f16(uint8_t *dst, const float *x)
{
    nano_store_u16(dst, nano_f32_to_f16(*x));
}

void nano_round_bf16(uint8_t *dst, const float *x)
{
    nano_store_u16(dst, nano_f32_to_bf16(*x));
}

void nano_round_q4_0(uint8_t *dst, const float *x)
{
    struct nano_block_q4_0 *block = (void *)dst;
    float d = extreme_of(x) / -8;
    uint8_t q[32];
    quantize_levels(q, x, d, 0, 8.5f, 15);
    nano_store_u16(block->d, nano_f32_to_f16(d));
    nano_pack_nibbles(block->nibbles, q);
}

void nano_round_q4_1(uint8_t *dst, const float *x)
{
    struct nano_block_q4_1 *block = (void *)dst;
    struct block_range range = range_of(x);
    float d = (range.max - range.min) / 15;
    uint8_t q[32];
    quantize_levels(q, x, d, range.min, 0.5f, 15);
    nano_store_u16(block->d, nano_f32_to_f16(d));
    nano_store_u16(block->m, nano_f32_to_f16(range.min));
    nano_pack_nibbles(block->nibbles, q);
}

void nano_round_q5_0(uint8_t *dst, const float *x)
{
    struct nano_block_q5_0 *block = (void *)dst;
    float d = extreme_of(x) / -16;
    uint8_t q[32];
    quantize_levels(q, x, d, 0, 16.5f, 31);
    nano_store_u16(block->d, nano_f32_to_f16(d));
    nano_pack_high(block->high, q);
    nano_pack_nibbles(block->nibbles, q);
}

void nano_round_q5_1(uint8_t *dst, const float *x)
{
    struct nano_block_q5_1 *block = (void *)dst;
    struct block_range range = range_of(x);
    float d = (range.max - range.min) / 31;
    uint8_t q[32];
    quantize_levels(q, x, d, range.min, 0.5f, 31);
    nano_store_u16(block->d, nano_f32_to_f16(d));
    nano_store_u16(block->m, nano_f32_to_f16(range.min));
    nano_pack_high(block->high, q);
    nano_pack_nibbles(block->nibbles, q);
}

void nano_round_q8_0(uint8_t *dst, const float *x)
{
    struct nano_block_q8_0 *block = (void *)dst;
    float d = magnitude_of(x) / 127, id = nano_inverse(d);
    nano_store_u16(block->d, nano_f32_to_f16(d));
    for (int k = 0; k < 32; k++) {
        /* Halves away from zero: the largest float below a half cannot carry anything else over. */
        float q = x[k] * id;
        q = q < 127 ? q : 127;
        q = q > -127 ? q : -127;
        block->q[k] = (int8_t)(int)(q + copysignf(0x1.FFFFFEp-2f, q));
    }
}

void nano_round_mxfp4(uint8_t *dst, const float *x)
{
    struct nano_block_mxfp4 *block = (void *)dst;
    /* E2M1 ends at 6, in the binade of 4. */
    const float exponent = floorf(log2f(magnitude_of(x))) - 2 + 127;
    const int e = exponent < 254 ? (exponent > 0 ? (int)exponent : 0) : 254;
    const float id = ldexpf(1, 127 - e);
    uint8_t q[32];
    for (int k = 0; k < 32; k++) {
        /* Ties go to the smaller magnitude. */
        const float t = fabsf(x[k] * id) * 2;
        int index = 0;
        for (int i = 0; i < 7; i++)
            index += t > 0.5f * (float)(nano_fp4_values[i] + nano_fp4_values[i + 1]);
        q[k] = (uint8_t)(index && x[k] < 0 ? index + 8 : index);
    }
    block->e = (uint8_t)e;
    nano_pack_nibbles(block->nibbles, q);
}
