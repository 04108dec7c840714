/* The vector of 16 floats that the bodies in simd/vec are written for, in AVX-512. "_part" loads
 * and stores touch n lanes, 0 <= n <= 16, and load zeros into the rest. */
#ifndef NANO_SIMD_AVX512_VEC_AVX512_H
#define NANO_SIMD_AVX512_VEC_AVX512_H

#include <immintrin.h>

#include "simd/inline.h"

#ifndef VEC_NAME
#define VEC_NAME(name) name##_avx512
#endif
enum { VEC_LANES = 16, VEC_REGISTERS = 32 };

typedef __m512 vec;

NANO_INLINE vec vec_zero(void)
{
    return _mm512_setzero_ps();
}

NANO_INLINE vec vec_set1(float x)
{
    return _mm512_set1_ps(x);
}

NANO_INLINE __mmask16 vec_mask(int n)
{
    return (__mmask16)((1u << n) - 1);
}

NANO_INLINE vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

NANO_INLINE vec vec_load_part(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(vec_mask(n), p);
}

NANO_INLINE void vec_store(float *p, vec x)
{
    _mm512_storeu_ps(p, x);
}

NANO_INLINE void vec_store_part(float *p, vec x, int n)
{
    _mm512_mask_storeu_ps(p, vec_mask(n), x);
}

NANO_INLINE vec vec_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}

NANO_INLINE vec vec_load_f16_part(const void *p, int n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(vec_mask(n), p));
}

NANO_INLINE void vec_store_f16_part(void *p, vec x, int n)
{
    __m256i h = _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_mask_storeu_epi16(p, vec_mask(n), h);
}

NANO_INLINE vec vec_from_bf16(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

NANO_INLINE vec vec_load_bf16(const void *p)
{
    return vec_from_bf16(_mm256_loadu_si256(p));
}

NANO_INLINE vec vec_load_bf16_part(const void *p, int n)
{
    return vec_from_bf16(_mm256_maskz_loadu_epi16(vec_mask(n), p));
}

/* As nano_f32_to_bf16: a NaN keeps its upper bits and becomes quiet, the rest rounds to even. */
NANO_INLINE void vec_store_bf16_part(void *p, vec x, int n)
{
    __m512i bits = _mm512_castps_si512(x), upper = _mm512_srli_epi32(bits, 16);
    __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    __m512i quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
    __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    __m512i h = _mm512_mask_mov_epi32(_mm512_srli_epi32(rounded, 16), is_nan, quiet);
    _mm256_mask_storeu_epi16(p, vec_mask(n), _mm512_cvtepi32_epi16(h));
}

NANO_INLINE vec vec_load_s8(const void *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
}

/* Nearest integers, those beyond an int8 saturated. */
NANO_INLINE void vec_store_s8(void *p, vec x)
{
    _mm_storeu_si128(p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)));
}

/* As nano_e4m3_to_f32, whether or not denormal numbers are flushed. */
NANO_INLINE vec vec_load_e4m3(const void *p)
{
    const __m256i code = _mm256_cvtepi8_epi16(_mm_loadu_si128(p));
    const __m256i h = _mm256_andnot_si256(_mm256_set1_epi16(0x4000), _mm256_slli_epi16(code, 7));
    return _mm512_mul_ps(_mm512_cvtph_ps(h), _mm512_set1_ps(256));
}

/* As nano_f32_to_e4m3. Added to 2^14, what is below 2^-6 is rounded to units of 2^-9. */
NANO_INLINE void vec_store_e4m3(void *p, vec x)
{
    const __m512i bits = _mm512_castps_si512(x), big = _mm512_set1_epi32(0x46800000);
    const __m512i m = _mm512_min_epi32(_mm512_and_si512(bits, _mm512_set1_epi32(0x7FFFFFFF)),
                                       _mm512_set1_epi32(0x43E00000));
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(m, 20), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(
        _mm512_add_epi32(_mm512_add_epi32(m, odd), _mm512_set1_epi32(0x7FFFF - 0x3C000000)), 20);
    const __m512i sum =
        _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(m), _mm512_castsi512_ps(big)));
    const __m512i code =
        _mm512_mask_mov_epi32(_mm512_sub_epi32(sum, big),
                              _mm512_cmpgt_epi32_mask(m, _mm512_set1_epi32(0x3C7FFFFF)), rounded);
    const __m512i sign = _mm512_and_si512(_mm512_srli_epi32(bits, 24), _mm512_set1_epi32(0x80));
    const __mmask16 is_number = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
    _mm_storeu_si128(
        p, _mm512_cvtepi32_epi8(_mm512_maskz_mov_epi32(is_number, _mm512_or_si512(code, sign))));
}

NANO_INLINE vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

NANO_INLINE vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

NANO_INLINE vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

NANO_INLINE vec vec_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}

/* a * b + c */
NANO_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* The larger; b where either is NaN. */
NANO_INLINE vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

/* The first n lanes of a, the others of b; n may be beyond both ends. */
NANO_INLINE vec vec_first_lanes(int n, vec a, vec b)
{
    return _mm512_mask_mov_ps(b, n <= 0 ? 0 : n >= VEC_LANES ? 0xFFFF : vec_mask(n), a);
}

/* Bit i is set where lane i of a equals lane i of b. */
NANO_INLINE unsigned vec_equal(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

/* The same for a >= b. */
NANO_INLINE unsigned vec_at_least(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}

NANO_INLINE __m256 vec_fold(vec x)
{
    return _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
}

/* Sum of all lanes, by halves. */
NANO_INLINE float vec_sum(vec x)
{
    __m256 y = vec_fold(x);
    __m128 z = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    z = _mm_add_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_add_ss(z, _mm_movehdup_ps(z)));
}

NANO_INLINE float vec_max_lane(vec x)
{
    return _mm512_reduce_max_ps(x);
}

/* sum += all lanes of x, in double: lane i of either half goes to lane i. */
typedef __m512d vec_double;

NANO_INLINE vec_double vec_double_zero(void)
{
    return _mm512_setzero_pd();
}

NANO_INLINE vec_double vec_double_add(vec_double sum, vec x)
{
    sum = _mm512_add_pd(sum, _mm512_cvtps_pd(_mm512_castps512_ps256(x)));
    return _mm512_add_pd(sum, _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)));
}

NANO_INLINE vec_double vec_double_add_squares(vec_double sum, vec x)
{
    __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    return _mm512_fmadd_pd(high, high, _mm512_fmadd_pd(low, low, sum));
}

NANO_INLINE double vec_double_sum(vec_double x)
{
    __m256d y = _mm256_add_pd(_mm512_castpd512_pd256(x), _mm512_extractf64x4_pd(x, 1));
    __m128d z = _mm_add_pd(_mm256_castpd256_pd128(y), _mm256_extractf128_pd(y, 1));
    return _mm_cvtsd_f64(_mm_add_sd(z, _mm_unpackhi_pd(z, z)));
}

/* Nearest integer, and x * 2^n. */
NANO_INLINE vec vec_round(vec x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

NANO_INLINE vec vec_scale(vec x, vec n)
{
    return _mm512_scalef_ps(x, n);
}

/* x[i][k] and x[k][i] change places. */
NANO_INLINE void vec_transpose(vec x[VEC_LANES])
{
    __m512 pairs[16], fours[16];
    NANO_UNROLL
    for (int i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
    }
    NANO_UNROLL
    for (int i = 0; i < 16; i += 4) {
        NANO_UNROLL
        for (int k = 0; k < 2; k++) {
            fours[i + 2 * k] = _mm512_shuffle_ps(pairs[i + k], pairs[i + k + 2], 0x44);
            fours[i + 2 * k + 1] = _mm512_shuffle_ps(pairs[i + k], pairs[i + k + 2], 0xEE);
        }
    }
    /* fours[4 * b + c] has, in quarter q, x[4 * b …][4 * q + c]. */
    NANO_UNROLL
    for (int c = 0; c < 4; c++) {
        const __m512 even_low = _mm512_shuffle_f32x4(fours[c], fours[4 + c], 0x88),
                     odd_low = _mm512_shuffle_f32x4(fours[c], fours[4 + c], 0xDD),
                     even_high = _mm512_shuffle_f32x4(fours[8 + c], fours[12 + c], 0x88),
                     odd_high = _mm512_shuffle_f32x4(fours[8 + c], fours[12 + c], 0xDD);
        x[c] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
        x[8 + c] = _mm512_shuffle_f32x4(even_low, even_high, 0xDD);
        x[4 + c] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
        x[12 + c] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xDD);
    }
}

/* ---- Rotation of pairs (a, b) by (cos, sin) ----------------------------------------------------
 */

/* x: VEC_LANES / 2 pairs side by side; cs: their (cos, sin). */
NANO_INLINE vec vec_rotate_adjacent(vec x, vec cs)
{
    vec swapped = _mm512_permute_ps(x, 0xB1);
    return _mm512_fmaddsub_ps(x, _mm512_moveldup_ps(cs),
                              _mm512_mul_ps(swapped, _mm512_movehdup_ps(cs)));
}

/* The VEC_LANES pairs at cs to one vector of cos and one of sin. */
NANO_INLINE void vec_load_cos_sin(const float *cs, vec *cos, vec *sin)
{
    const __m512i even =
        _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    vec low = vec_load(cs), high = vec_load(cs + VEC_LANES);
    *cos = _mm512_permutex2var_ps(low, even, high);
    *sin = _mm512_permutex2var_ps(low, odd, high);
}

#endif
