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

/* As roundf: halves go away from zero. */
NANO_INLINE __m512i round_away(__m512 x)
{
    __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
    __mmask16 up =
        _mm512_cmp_ps_mask(absolute(_mm512_sub_ps(x, whole)), _mm512_set1_ps(0.5f), _CMP_GE_OQ);
    __m512i one =
        _mm512_or_si512(_mm512_srai_epi32(_mm512_castps_si512(x), 31), _mm512_set1_epi32(1));
    __m512i q = _mm512_cvttps_epi32(whole);
    return _mm512_mask_add_epi32(q, up, q, one);
}

/* 32 levels, and what follows from them; `factor` is what the sums are times. */
NANO_INLINE void store_unit(struct nano_q8_unit *unit, __m512i low, __m512i high, float d,
                            float factor)
{
    _mm_storeu_si128((void *)unit->q, _mm512_cvtsepi32_epi8(low));
    _mm_storeu_si128((void *)(unit->q + 16), _mm512_cvtsepi32_epi8(high));
    const int32_t sum_low = _mm512_reduce_add_epi32(low), sum_high = _mm512_reduce_add_epi32(high);
    unit->d = d;
    unit->offset = -128 * (sum_low + sum_high);
    unit->offset_low = -128 * sum_low;
    unit->offset_high = -128 * sum_high;
    unit->sum = factor * (float)(sum_low + sum_high);
    unit->sum_high = factor * (float)sum_high;
}

void nano_quantize_q8_32_avx512(void *x, int64_t token, const float *src, int64_t cols)
{
    struct nano_q8_unit *unit = (struct nano_q8_unit *)x + nano_q8_index(token, cols);
    for (int64_t i = 0; i < cols; i += 32, unit += NANO_X_TILE) {
        __m512 low = _mm512_loadu_ps(src + i), high = _mm512_loadu_ps(src + i + 16);
        float scale = _mm512_reduce_max_ps(_mm512_max_ps(absolute(low), absolute(high))) / 127;
        float inverse = 1 / scale;
        float rounded = _cvtsh_ss(_cvtss_sh(scale, _MM_FROUND_TO_NEAREST_INT));
        __m512 factor = _mm512_set1_ps(isfinite(inverse) ? inverse : 0);
        const float d = isinf(rounded) ? scale : rounded;
        store_unit(unit, round_away(_mm512_mul_ps(low, factor)),
                   round_away(_mm512_mul_ps(high, factor)), d, d);
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
