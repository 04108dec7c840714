/* The vector of 4 x 4 bytes that simd/vec/panels_vec.h is written for, in ARMv8.0's NEON. What
 * multiplies is in dots_neon.h. */
#ifndef NANO_SIMD_NEON_VECI_NEON_H
#define NANO_SIMD_NEON_VECI_NEON_H

#include "simd/blocks.h"
#include "simd/neon/vec_neon.h"

#define VECI_LEVELS VECI_NATURAL
#define VECI_OWN_DOTS

#define VECI_TILE_VECTORS 1
/* 8 integer sums, 8 float sums, 4 registers of weights; else up to 16 integer sums. */
#if defined(__ARM_FEATURE_DOTPROD)
#define VECI_TOKENS_0 8
#define VECI_TOKENS_1 4
#else
#define VECI_TOKENS_0 4
#define VECI_TOKENS_1 3
#endif
#define VECI_TOKENS_2 2

enum { VEC_FLOAT_VECTORS = 4, VEC_FLOAT_TOKENS = 6 };

typedef int32x4_t veci;

NANO_INLINE veci veci_zero(void)
{
    return vdupq_n_s32(0);
}

NANO_INLINE veci veci_load(const void *p)
{
    return vreinterpretq_s32_u8(vld1q_u8(p));
}

NANO_INLINE veci veci_set1(int32_t x)
{
    return vdupq_n_s32(x);
}

NANO_INLINE veci veci_broadcast(const int32_t *p)
{
    return vld1q_dup_s32(p);
}

NANO_INLINE veci veci_set1_u8(int x)
{
    return vreinterpretq_s32_u8(vdupq_n_u8((uint8_t)x));
}

NANO_INLINE veci veci_and(veci a, veci b)
{
    return vandq_s32(a, b);
}

NANO_INLINE veci veci_or(veci a, veci b)
{
    return vorrq_s32(a, b);
}

NANO_INLINE veci veci_shift_left(veci x, int n)
{
    return n ? vreinterpretq_s32_u8(vreinterpretq_u8_s32(x) << vdupq_n_u8((uint8_t)n)) : x;
}

NANO_INLINE veci veci_shift_right(veci x, int n)
{
    return n ? vreinterpretq_s32_u8(vreinterpretq_u8_s32(x) >> vdupq_n_u8((uint8_t)n)) : x;
}

NANO_INLINE veci veci_minus(veci x, int n)
{
    return vreinterpretq_s32_u8(vsubq_u8(vreinterpretq_u8_s32(x), vdupq_n_u8((uint8_t)n)));
}

/* Indices to levels. */
NANO_INLINE veci veci_lookup(const int8_t table[16], veci indices)
{
    return vreinterpretq_s32_s8(
        vqtbl1q_s8(vld1q_s8(table), vreinterpretq_u8_s32(indices)));
}

NANO_INLINE vec vec_from_veci(veci x)
{
    return vcvtq_f32_s32(x);
}

NANO_INLINE vec vec_broadcast(const float *p)
{
    return vld1q_dup_f32(p);
}

/* 4 bytes at any address, each in the low bits of a lane. */
NANO_INLINE uint32x4_t vec_load_bytes(const uint8_t *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(word)))));
}

NANO_INLINE vec vec_load_low_nibbles(const uint8_t *p)
{
    return vcvtq_f32_u32(vandq_u32(vec_load_bytes(p), vdupq_n_u32(15)));
}

NANO_INLINE vec vec_load_high_nibbles(const uint8_t *p)
{
    return vcvtq_f32_u32(vshrq_n_u32(vec_load_bytes(p), 4));
}

#endif
