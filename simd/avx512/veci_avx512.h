/* The vector of 16 x 4 bytes that simd/vec/panels_vec.h is written for, in AVX-512 VNNI. */
#ifndef NANO_SIMD_AVX512_VECI_AVX512_H
#define NANO_SIMD_AVX512_VECI_AVX512_H

#include <string.h>

#include "simd/avx512/vec_avx512.h"
#include "simd/blocks.h"

#define VECI_LEVELS VECI_TOP

/* 12 integer sums, 12 float sums, 8 registers for the rest. Intel's two 512-bit pipes also unpack
 * the levels, so there one vector of rows is unpacked for as many tokens as fit; AMD's have others
 * for that, and two vectors halve the loads of x. */
#ifdef VECI_FEW_LOADS
#define VECI_TILE_VECTORS 2
#define VECI_TOKENS_0 6
#define VECI_TOKENS_1 4
#define VECI_TOKENS_2 2
#else
#define VECI_TILE_VECTORS 1
#define VECI_TOKENS_0 12
#define VECI_TOKENS_1 8
#define VECI_TOKENS_2 4
#endif

enum { VEC_FLOAT_VECTORS = 2, VEC_FLOAT_TOKENS = 6 };

typedef __m512i veci;

NANO_INLINE veci veci_zero(void)
{
    return _mm512_setzero_si512();
}

NANO_INLINE veci veci_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

NANO_INLINE veci veci_set1(int32_t x)
{
    return _mm512_set1_epi32(x);
}

NANO_INLINE veci veci_broadcast(const int32_t *p)
{
    return _mm512_set1_epi32(*p);
}

NANO_INLINE veci veci_set1_u8(int x)
{
    return _mm512_set1_epi8((char)x);
}

NANO_INLINE veci veci_and(veci a, veci b)
{
    return _mm512_and_si512(a, b);
}

NANO_INLINE veci veci_or(veci a, veci b)
{
    return _mm512_or_si512(a, b);
}

/* Bits move between neighbouring bytes. */
NANO_INLINE veci veci_shift_left(veci x, int n)
{
    return n ? _mm512_slli_epi32(x, (unsigned)n) : x;
}

NANO_INLINE veci veci_shift_right(veci x, int n)
{
    return n ? _mm512_srli_epi32(x, (unsigned)n) : x;
}

NANO_INLINE veci veci_minus(veci x, int n)
{
    return _mm512_sub_epi8(x, veci_set1_u8(n));
}

/* Indices to levels + 128. */
NANO_INLINE veci veci_lookup(const int8_t table[16], veci indices)
{
    __m128i values = _mm_loadu_si128((const void *)table);
    values = _mm_xor_si128(values, _mm_set1_epi8(-128));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values), indices);
}

/* sum + the products of each lane's 4 unsigned weights with the 4 signed x. */
NANO_INLINE veci veci_dot(veci sum, veci w, const int8_t *x, bool is_signed)
{
    int32_t word;
    (void)is_signed;
    memcpy(&word, x, sizeof word);
    return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(word));
}

NANO_INLINE vec vec_from_veci(veci x)
{
    return _mm512_cvtepi32_ps(x);
}

NANO_INLINE vec vec_broadcast(const float *p)
{
    return _mm512_set1_ps(*p);
}

NANO_INLINE vec vec_load_low_nibbles(const uint8_t *p)
{
    __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p));
    return _mm512_cvtepi32_ps(_mm512_and_si512(bytes, _mm512_set1_epi32(15)));
}

NANO_INLINE vec vec_load_high_nibbles(const uint8_t *p)
{
    __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p));
    return _mm512_cvtepi32_ps(_mm512_srli_epi32(bytes, 4));
}

#endif
