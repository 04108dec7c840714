/* Activation quantisers: the bytes of the reference. */
#include "simd/avx512/avx512.h"

#include <math.h>

#include "simd/avx512/vec_avx512.h"

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

void nano_quantize_q8_32_avx512(void *dst, const float *src, int64_t cols)
{
    int8_t *q = dst;
    float *d = (void *)(q + cols);
    int32_t *sums = (void *)(d + cols / 32);
    for (int64_t i = 0; i < cols / 32; i++) {
        __m512 low = _mm512_loadu_ps(src + i * 32), high = _mm512_loadu_ps(src + i * 32 + 16);
        float scale = _mm512_reduce_max_ps(_mm512_max_ps(absolute(low), absolute(high))) / 127;
        float inverse = 1 / scale, rounded = nano_f16_to_f32(nano_f32_to_f16(scale));
        __m512 factor = _mm512_set1_ps(isfinite(inverse) ? inverse : 0);
        __m512i a = round_away(_mm512_mul_ps(low, factor)),
                b = round_away(_mm512_mul_ps(high, factor));
        _mm_storeu_si128((void *)(q + i * 32), _mm512_cvtsepi32_epi8(a));
        _mm_storeu_si128((void *)(q + i * 32 + 16), _mm512_cvtsepi32_epi8(b));
        d[i] = isinf(rounded) ? scale : rounded;
        sums[i] = _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
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

void nano_quantize_q8_256_avx512(void *dst, const float *src, int64_t cols)
{
    int8_t *q = dst;
    float *d = (void *)(q + cols);
    int16_t *sums = (void *)(d + cols / 256);
    for (int64_t i = 0; i < cols / 256; i++) {
        float inverse = -127 / find_extreme(src + i * 256);
        bool is_zero = !isfinite(inverse) || inverse == 0;
        __m512 factor = _mm512_set1_ps(is_zero ? 0 : inverse);
        d[i] = is_zero ? 0 : 1 / inverse;
        for (int64_t k = i * 256; k < i * 256 + 256; k += 16) {
            __m512i levels = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(src + k), factor));
            _mm_storeu_si128((void *)(q + k), _mm512_cvtsepi32_epi8(levels));
            sums[k / 16] = (int16_t)_mm512_reduce_add_epi32(levels);
        }
    }
}
