/* The vector of 8 floats that the bodies in simd/vec are written for, in AVX2 with FMA and F16C.
 * "_part" loads and stores touch n lanes, 0 <= n <= 8, and load zeros into the rest. */
#ifndef NANO_SIMD_AVX2_VEC_AVX2_H
#define NANO_SIMD_AVX2_VEC_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "simd/inline.h"

#ifndef VEC_NAME
#define VEC_NAME(name) name##_avx2
#endif
enum { VEC_LANES = 8, VEC_REGISTERS = 16 };

typedef __m256 vec;

NANO_INLINE vec vec_zero(void)
{
    return _mm256_setzero_ps();
}

NANO_INLINE vec vec_set1(float x)
{
    return _mm256_set1_ps(x);
}

NANO_INLINE __m256i vec_mask(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

NANO_INLINE vec vec_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

NANO_INLINE vec vec_load_part(const float *p, int n)
{
    return _mm256_maskload_ps(p, vec_mask(n));
}

NANO_INLINE void vec_store(float *p, vec x)
{
    _mm256_storeu_ps(p, x);
}

NANO_INLINE void vec_store_part(float *p, vec x, int n)
{
    _mm256_maskstore_ps(p, vec_mask(n), x);
}

/* n 16-bit values, zeros above. */
NANO_INLINE __m128i vec_load_u16_part(const void *p, int n)
{
    uint16_t values[8] = {0};
    if (n > 0)
        memcpy(values, p, (size_t)n * 2);
    return _mm_loadu_si128((const __m128i *)values);
}

NANO_INLINE void vec_store_u16_part(void *p, __m128i x, int n)
{
    uint16_t values[8];
    _mm_storeu_si128((__m128i *)values, x);
    if (n > 0)
        memcpy(p, values, (size_t)n * 2);
}

NANO_INLINE vec vec_load_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}

NANO_INLINE vec vec_load_f16_part(const void *p, int n)
{
    return n == VEC_LANES ? vec_load_f16(p) : _mm256_cvtph_ps(vec_load_u16_part(p, n));
}

NANO_INLINE void vec_store_f16_part(void *p, vec x, int n)
{
    vec_store_u16_part(p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), n);
}

NANO_INLINE vec vec_from_bf16(__m128i h)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

NANO_INLINE vec vec_load_bf16(const void *p)
{
    return vec_from_bf16(_mm_loadu_si128(p));
}

NANO_INLINE vec vec_load_bf16_part(const void *p, int n)
{
    return n == VEC_LANES ? vec_load_bf16(p) : vec_from_bf16(vec_load_u16_part(p, n));
}

/* As nano_f32_to_bf16: a NaN keeps its upper bits and becomes quiet, the rest rounds to even. */
NANO_INLINE void vec_store_bf16_part(void *p, vec x, int n)
{
    __m256i bits = _mm256_castps_si256(x), upper = _mm256_srli_epi32(bits, 16);
    __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
    __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    __m256i h = _mm256_blendv_epi8(_mm256_srli_epi32(rounded, 16), quiet, is_nan);
    h = _mm256_permute4x64_epi64(_mm256_packus_epi32(h, h), 0x08);
    vec_store_u16_part(p, _mm256_castsi256_si128(h), n);
}

NANO_INLINE vec vec_load_s8(const void *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p)));
}

/* Nearest integers, those beyond an int8 saturated. */
NANO_INLINE void vec_store_s8(void *p, vec x)
{
    const __m256i n = _mm256_cvtps_epi32(x);
    __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(n), _mm256_extracti128_si256(n, 1));
    _mm_storel_epi64(p, _mm_packs_epi16(h, h));
}

/* As nano_e4m3_to_f32, whether or not denormal numbers are flushed. */
NANO_INLINE vec vec_load_e4m3(const void *p)
{
    const __m128i code = _mm_cvtepi8_epi16(_mm_loadl_epi64(p));
    const __m128i h = _mm_andnot_si128(_mm_set1_epi16(0x4000), _mm_slli_epi16(code, 7));
    return _mm256_mul_ps(_mm256_cvtph_ps(h), _mm256_set1_ps(256));
}

/* As nano_f32_to_e4m3. Added to 2^14, what is below 2^-6 is rounded to units of 2^-9. */
NANO_INLINE void vec_store_e4m3(void *p, vec x)
{
    const __m256i bits = _mm256_castps_si256(x), big = _mm256_set1_epi32(0x46800000);
    const __m256i is_number = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_ORD_Q));
    const __m256i m = _mm256_min_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(0x7FFFFFFF)),
                                       _mm256_set1_epi32(0x43E00000));
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(m, 20), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_srli_epi32(
        _mm256_add_epi32(_mm256_add_epi32(m, odd), _mm256_set1_epi32(0x7FFFF - 0x3C000000)), 20);
    const __m256i sum =
        _mm256_castps_si256(_mm256_add_ps(_mm256_castsi256_ps(m), _mm256_castsi256_ps(big)));
    const __m256i code = _mm256_blendv_epi8(_mm256_sub_epi32(sum, big), rounded,
                                            _mm256_cmpgt_epi32(m, _mm256_set1_epi32(0x3C7FFFFF)));
    const __m256i sign = _mm256_and_si256(_mm256_srli_epi32(bits, 24), _mm256_set1_epi32(0x80));
    const __m256i n = _mm256_and_si256(_mm256_or_si256(code, sign), is_number);
    const __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(n), _mm256_extracti128_si256(n, 1));
    _mm_storel_epi64(p, _mm_packus_epi16(h, h));
}

NANO_INLINE vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

NANO_INLINE vec vec_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}

NANO_INLINE vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

NANO_INLINE vec vec_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}

/* a * b + c */
NANO_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* The larger; b where either is NaN. */
NANO_INLINE vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

/* The first n lanes of a, the others of b; n may be beyond both ends. */
NANO_INLINE vec vec_first_lanes(int n, vec a, vec b)
{
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(vec_mask(n)));
}

/* Bit i is set where lane i of a equals lane i of b. */
NANO_INLINE unsigned vec_equal(vec a, vec b)
{
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ));
}

/* The same for a >= b. */
NANO_INLINE unsigned vec_at_least(vec a, vec b)
{
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ));
}

/* Sum of all lanes, by halves. */
NANO_INLINE float vec_sum(vec x)
{
    __m128 z = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    z = _mm_add_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_add_ss(z, _mm_movehdup_ps(z)));
}

NANO_INLINE float vec_max_lane(vec x)
{
    __m128 z = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    z = _mm_max_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_max_ss(z, _mm_movehdup_ps(z)));
}

/* sum += all lanes of x, in double: lane i of either half goes to lane i. */
typedef __m256d vec_double;

NANO_INLINE vec_double vec_double_zero(void)
{
    return _mm256_setzero_pd();
}

NANO_INLINE vec_double vec_double_add(vec_double sum, vec x)
{
    sum = _mm256_add_pd(sum, _mm256_cvtps_pd(_mm256_castps256_ps128(x)));
    return _mm256_add_pd(sum, _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)));
}

NANO_INLINE vec_double vec_double_add_squares(vec_double sum, vec x)
{
    __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(x));
    __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
    return _mm256_fmadd_pd(high, high, _mm256_fmadd_pd(low, low, sum));
}

NANO_INLINE double vec_double_sum(vec_double x)
{
    __m128d z = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_add_sd(z, _mm_unpackhi_pd(z, z)));
}

/* Nearest integer, and x * 2^n for integers |n| <= 200: in two steps, because 2^n may not be a
 * float where the product is. */
NANO_INLINE vec vec_round(vec x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

NANO_INLINE vec vec_power_of_two(__m256i n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

NANO_INLINE vec vec_scale(vec x, vec n)
{
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    x = _mm256_mul_ps(x, vec_power_of_two(half));
    return _mm256_mul_ps(x, vec_power_of_two(_mm256_sub_epi32(whole, half)));
}

/* x[i][k] and x[k][i] change places. */
NANO_INLINE void vec_transpose(vec x[VEC_LANES])
{
    __m256 pairs[8], fours[8];
    NANO_UNROLL
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
    }
    NANO_UNROLL
    for (int i = 0; i < 8; i += 4) {
        NANO_UNROLL
        for (int k = 0; k < 2; k++) {
            fours[i + 2 * k] = _mm256_shuffle_ps(pairs[i + k], pairs[i + k + 2], 0x44);
            fours[i + 2 * k + 1] = _mm256_shuffle_ps(pairs[i + k], pairs[i + k + 2], 0xEE);
        }
    }
    NANO_UNROLL
    for (int i = 0; i < 4; i++) {
        x[i] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
        x[i + 4] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
    }
}

/* ---- Rotation of pairs (a, b) by (cos, sin) ----------------------------------------------------
 */

/* x: VEC_LANES / 2 pairs side by side; cs: their (cos, sin). */
NANO_INLINE vec vec_rotate_adjacent(vec x, vec cs)
{
    vec swapped = _mm256_permute_ps(x, 0xB1);
    return _mm256_fmaddsub_ps(x, _mm256_moveldup_ps(cs),
                              _mm256_mul_ps(swapped, _mm256_movehdup_ps(cs)));
}

/* The VEC_LANES pairs at cs to one vector of cos and one of sin. */
NANO_INLINE void vec_load_cos_sin(const float *cs, vec *cos, vec *sin)
{
    vec first = vec_load(cs), second = vec_load(cs + VEC_LANES);
    vec low = _mm256_permute2f128_ps(first, second, 0x20);
    vec high = _mm256_permute2f128_ps(first, second, 0x31);
    *cos = _mm256_shuffle_ps(low, high, 0x88);
    *sin = _mm256_shuffle_ps(low, high, 0xDD);
}

#endif
