/* Activation quantisers: the bytes of the reference. */
#include "simd/avx2/avx2.h"

#include <math.h>

#include "simd/avx2/vec_avx2.h"
#include "simd/blocks.h"

NANO_INLINE __m256 absolute(__m256 x)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

/* Four vectors of 8 integers in [-128, 127] to 32 bytes. */
NANO_INLINE void store_bytes(int8_t *dst, const __m256i q[4])
{
    __m256i words0 = _mm256_packs_epi32(q[0], q[1]), words1 = _mm256_packs_epi32(q[2], q[3]);
    __m256i bytes = _mm256_packs_epi16(words0, words1); /* dwords of q0 q1 q2 q3 | q0 q1 q2 q3 */
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((void *)dst, bytes);
}

NANO_INLINE int sum_lanes(__m256i x)
{
    __m128i y = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_add_epi32(y, _mm_unpackhi_epi64(y, y));
    return _mm_cvtsi128_si32(_mm_add_epi32(y, _mm_shuffle_epi32(y, 1)));
}

/* 32 levels, and what follows from them; `factor` is what the sums are times. */
NANO_INLINE void store_unit(struct nano_q8_unit *unit, const __m256i levels[4], float d,
                            float factor)
{
    store_bytes(unit->q, levels);
    const int32_t sum_low = sum_lanes(_mm256_add_epi32(levels[0], levels[1]));
    const int32_t sum_high = sum_lanes(_mm256_add_epi32(levels[2], levels[3]));
    nano_q8_unit_finish(unit, d, sum_low, sum_high, factor);
}

void nano_quantize_q8_32_avx2(void *x, int64_t token, const float *src, int64_t cols)
{
    struct nano_q8_unit *unit = (struct nano_q8_unit *)x + nano_q8_index(token, cols);
    for (int64_t i = 0; i < cols; i += 32, unit += NANO_X_TILE) {
        __m256 values[4], max = _mm256_setzero_ps();
        __m256i levels[4];
        for (int k = 0; k < 4; k++) {
            values[k] = _mm256_loadu_ps(src + i + k * 8);
            max = _mm256_max_ps(absolute(values[k]), max);
        }
        float scale = vec_max_lane(max) / 127;
        float inverse = 1 / scale;
        float rounded = _cvtsh_ss(_cvtss_sh(scale, _MM_FROUND_TO_NEAREST_INT));
        __m256 factor = _mm256_set1_ps(isfinite(inverse) ? inverse : 0);
        for (int k = 0; k < 4; k++)
            levels[k] = _mm256_cvtps_epi32(_mm256_mul_ps(values[k], factor));
        const float d = isinf(rounded) ? scale : rounded;
        store_unit(unit, levels, d, d);
    }
}

/* The first value of largest magnitude. */
NANO_INLINE float find_extreme(const float *x)
{
    __m256 max = _mm256_setzero_ps();
    for (int k = 0; k < 256; k += 8)
        max = _mm256_max_ps(absolute(_mm256_loadu_ps(x + k)), max);
    __m256 amax = _mm256_set1_ps(vec_max_lane(max));
    for (int k = 0; k < 256; k += 8) {
        unsigned found = vec_equal(absolute(_mm256_loadu_ps(x + k)), amax);
        if (found)
            return x[k + __builtin_ctz(found)];
    }
    return 0;
}

void nano_quantize_q8_256_avx2(void *x, int64_t token, const float *src, int64_t cols)
{
    struct nano_q8_unit *unit = (struct nano_q8_unit *)x + nano_q8_index(token, cols);
    for (int64_t i = 0; i < cols; i += 256) {
        float inverse = -127 / find_extreme(src + i);
        bool is_zero = !isfinite(inverse) || inverse == 0;
        __m256 factor = _mm256_set1_ps(is_zero ? 0 : inverse);
        for (int64_t k = i; k < i + 256; k += 32, unit += NANO_X_TILE) {
            __m256i levels[4];
            for (int j = 0; j < 4; j++)
                levels[j] =
                    _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(src + k + j * 8), factor));
            store_unit(unit, levels, is_zero ? 0 : 1 / inverse, 1);
        }
    }
}
