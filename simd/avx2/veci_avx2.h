/* The vector of 8 x 4 bytes that simd/vec/panels_vec.h is written for, in AVX2 and, where the
 * includer defines VECI_VNNI, AVX-VNNI. */
#ifndef NANO_SIMD_AVX2_VECI_AVX2_H
#define NANO_SIMD_AVX2_VECI_AVX2_H

#include <string.h>

#include "simd/avx2/vec_avx2.h"
#include "simd/blocks.h"

#ifdef VECI_VNNI
#define VECI_LEVELS VECI_TOP
#else
#define VECI_LEVELS VECI_NATURAL
#endif

/* 4 integer sums, 4 float sums, 8 registers for the rest. */
#define VECI_TILE_VECTORS 1
#define VECI_TOKENS_0 4
#define VECI_TOKENS_1 3
#define VECI_TOKENS_2 2

enum { VEC_FLOAT_VECTORS = 2, VEC_FLOAT_TOKENS = 4 };

typedef __m256i veci;

NANO_INLINE veci veci_zero(void)
{
    return _mm256_setzero_si256();
}

NANO_INLINE veci veci_load(const void *p)
{
    return _mm256_loadu_si256(p);
}

NANO_INLINE veci veci_set1(int32_t x)
{
    return _mm256_set1_epi32(x);
}

NANO_INLINE veci veci_broadcast(const int32_t *p)
{
    return _mm256_set1_epi32(*p);
}

NANO_INLINE veci veci_set1_u8(int x)
{
    return _mm256_set1_epi8((char)x);
}

NANO_INLINE veci veci_and(veci a, veci b)
{
    return _mm256_and_si256(a, b);
}

NANO_INLINE veci veci_or(veci a, veci b)
{
    return _mm256_or_si256(a, b);
}

/* Bits move between neighbouring bytes. */
NANO_INLINE veci veci_shift_left(veci x, int n)
{
    return n ? _mm256_slli_epi32(x, n) : x;
}

NANO_INLINE veci veci_shift_right(veci x, int n)
{
    return n ? _mm256_srli_epi32(x, n) : x;
}

NANO_INLINE veci veci_minus(veci x, int n)
{
    return _mm256_sub_epi8(x, veci_set1_u8(n));
}

/* Indices to levels; to levels + 128 where levels are unsigned. */
NANO_INLINE veci veci_lookup(const int8_t table[16], veci indices)
{
    __m128i values = _mm_loadu_si128((const void *)table);
#ifdef VECI_VNNI
    values = _mm_xor_si128(values, _mm_set1_epi8(-128));
#endif
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), indices);
}

/* sum + the products of each lane's 4 weights with the 4 signed x.
 *
 * VPMADDUBSW wants one unsigned factor: the sign of a signed w moves to x. Its 16-bit sums of two
 * are exact: 2 * 63 * 127 for levels, 2 * 128 * 127 for signed weights. */
NANO_INLINE veci veci_dot(veci sum, veci w, const int8_t *x, bool is_signed)
{
    int32_t word;
    memcpy(&word, x, sizeof word);
    veci xs = _mm256_set1_epi32(word);
#ifdef VECI_VNNI
    (void)is_signed;
    return _mm256_dpbusd_avx_epi32(sum, w, xs);
#else
    if (is_signed) {
        xs = _mm256_sign_epi8(xs, w);
        w = _mm256_abs_epi8(w);
    }
    return _mm256_add_epi32(sum,
                            _mm256_madd_epi16(_mm256_maddubs_epi16(w, xs), _mm256_set1_epi16(1)));
#endif
}

NANO_INLINE vec vec_from_veci(veci x)
{
    return _mm256_cvtepi32_ps(x);
}

NANO_INLINE vec vec_broadcast(const float *p)
{
    return _mm256_set1_ps(*p);
}

NANO_INLINE vec vec_load_low_nibbles(const uint8_t *p)
{
    __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p));
    return _mm256_cvtepi32_ps(_mm256_and_si256(bytes, _mm256_set1_epi32(15)));
}

NANO_INLINE vec vec_load_high_nibbles(const uint8_t *p)
{
    __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p));
    return _mm256_cvtepi32_ps(_mm256_srli_epi32(bytes, 4));
}

#endif
