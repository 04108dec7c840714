/* Activation quantisers: the bytes of the reference. */
#include "simd/avx512/avx512.h"

#include <math.h>

#include "simd/avx512/vec_avx512.h"
#include "simd/blocks.h"

NANO_INLINE __m512 absolute(__m512 x)
{
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7FFFFFFF)));
}

/* 32 levels, and what follows from them; `factor` is what the sums are times. */
NANO_INLINE void store_unit(struct nano_q8_unit *unit, __m512i low, __m512i high, float d,
                            float factor)
{
    const __m128i a = _mm512_cvtsepi32_epi8(low), b = _mm512_cvtsepi32_epi8(high);
    _mm_storeu_si128((void *)unit->q, a);
    _mm_storeu_si128((void *)(unit->q + 16), b);
    /* sums of 4 of both halves, then lane 0: of k < 16, lane 1: of k >= 16 */
    const __m128i ones = _mm_set1_epi8(1);
    __m128i sums = _mm_hadd_epi32(_mm_dpbusd_epi32(_mm_setzero_si128(), ones, a),
                                  _mm_dpbusd_epi32(_mm_setzero_si128(), ones, b));
    sums = _mm_hadd_epi32(sums, sums);
    const int32_t sum_low = _mm_cvtsi128_si32(sums), sum_high = _mm_extract_epi32(sums, 1);
    nano_q8_unit_finish(unit, d, sum_low, sum_high, factor);
}

/* Scales of up to 16 blocks of 32, and what their values are multiplied with. */
NANO_INLINE void find_scales(const float *src, int num_blocks, float d[16], float factors[16])
{
    float largest[16] = {0};
    for (int i = 0; i < num_blocks; i++)
        largest[i] = _mm512_reduce_max_ps(_mm512_max_ps(
            absolute(_mm512_loadu_ps(src + 32 * i)), absolute(_mm512_loadu_ps(src + 32 * i + 16))));
    const __m512 infinity = _mm512_set1_ps(INFINITY);
    __m512 scale = _mm512_div_ps(_mm512_loadu_ps(largest), _mm512_set1_ps(127));
    __m512 inverse = _mm512_div_ps(_mm512_set1_ps(1), scale);
    __m512 rounded = _mm512_cvtph_ps(_mm512_cvtps_ph(scale, _MM_FROUND_TO_NEAREST_INT));
    __mmask16 too_large = _mm512_cmp_ps_mask(rounded, infinity, _CMP_EQ_OQ);
    __mmask16 finite = _mm512_cmp_ps_mask(inverse, infinity, _CMP_LT_OQ);
    _mm512_storeu_ps(d, _mm512_mask_mov_ps(rounded, too_large, scale));
    _mm512_storeu_ps(factors, _mm512_maskz_mov_ps(finite, inverse));
}

void nano_quantize_q8_32_avx512(void *x, int64_t token, const float *src, int64_t cols)
{
    struct nano_q8_unit *unit = (struct nano_q8_unit *)x + nano_q8_index(token, cols);
    for (int64_t i = 0; i < cols; i += 512) {
        const int num_blocks = cols - i < 512 ? (int)(cols - i) / 32 : 16;
        float d[16], factors[16];
        find_scales(src + i, num_blocks, d, factors);
        for (int k = 0; k < num_blocks; k++, unit += NANO_X_TILE) {
            const float *values = src + i + 32 * k;
            __m512 factor = _mm512_set1_ps(factors[k]);
            __m512 low = _mm512_mul_ps(_mm512_loadu_ps(values), factor);
            __m512 high = _mm512_mul_ps(_mm512_loadu_ps(values + 16), factor);
            store_unit(unit, _mm512_cvtps_epi32(low), _mm512_cvtps_epi32(high), d[k], d[k]);
        }
    }
}

/* The first value of largest magnitude. */
NANO_INLINE float find_extreme(const float *x)
{
    __m512 max = _mm512_setzero_ps();
    for (int k = 0; k < 256; k += 16)
        max = _mm512_max_ps(absolute(_mm512_loadu_ps(x + k)), max);
    __m512 amax = _mm512_set1_ps(_mm512_reduce_max_ps(max));
    for (int k = 0; k < 256; k += 16) {
        unsigned found = _mm512_cmp_ps_mask(absolute(_mm512_loadu_ps(x + k)), amax, _CMP_EQ_OQ);
        if (found)
            return x[k + __builtin_ctz(found)];
    }
    return 0;
}

void nano_quantize_q8_256_avx512(void *x, int64_t token, const float *src, int64_t cols)
{
    struct nano_q8_unit *unit = (struct nano_q8_unit *)x + nano_q8_index(token, cols);
    for (int64_t i = 0; i < cols; i += 256) {
        float inverse = -127 / find_extreme(src + i);
        bool is_zero = !isfinite(inverse) || inverse == 0;
        __m512 factor = _mm512_set1_ps(is_zero ? 0 : inverse);
        const float d = is_zero ? 0 : 1 / inverse;
        for (int64_t k = i; k < i + 256; k += 32, unit += NANO_X_TILE)
            store_unit(unit, _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(src + k), factor)),
                       _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(src + k + 16), factor)), d,
                       1);
    }
}
