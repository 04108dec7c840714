/* Activation quantisers: the bytes of the reference. */
#include "simd/neon/neon.h"

#include <math.h>

#include "simd/neon/vec_neon.h"

/* The largest magnitude of n values, n a multiple of 4; NaN never wins. */
NANO_INLINE float largest_magnitude(const float *x, int n)
{
    vec max = vec_zero();
    for (int k = 0; k < n; k += 4)
        max = vec_max(vabsq_f32(vec_load(x + k)), max);
    return vec_max_lane(max);
}

/* Four vectors of integers in [-128, 127] to 16 bytes; returns their sum. */
NANO_INLINE int store_bytes(int8_t *dst, const int32x4_t q[4])
{
    int16x8_t low = vcombine_s16(vmovn_s32(q[0]), vmovn_s32(q[1]));
    int16x8_t high = vcombine_s16(vmovn_s32(q[2]), vmovn_s32(q[3]));
    int8x16_t bytes = vcombine_s8(vmovn_s16(low), vmovn_s16(high));
    vst1q_s8(dst, bytes);
    return vaddlvq_s8(bytes);
}

void nano_quantize_q8_32_neon(void *dst, const float *src, int64_t cols)
{
    int8_t *q = dst;
    float *d = (void *)(q + cols);
    int32_t *sums = (void *)(d + cols / 32);
    for (int64_t i = 0; i < cols / 32; i++) {
        float scale = largest_magnitude(src + i * 32, 32) / 127;
        float inverse = 1 / scale, rounded = nano_f16_to_f32(nano_f32_to_f16(scale));
        vec factor = vec_set1(isfinite(inverse) ? inverse : 0);
        d[i] = isinf(rounded) ? scale : rounded;
        sums[i] = 0;
        for (int64_t k = i * 32; k < i * 32 + 32; k += 16) {
            int32x4_t levels[4];
            for (int j = 0; j < 4; j++) /* as roundf: halves go away from zero */
                levels[j] = vcvtaq_s32_f32(vec_mul(vec_load(src + k + j * 4), factor));
            sums[i] += store_bytes(q + k, levels);
        }
    }
}

/* The first value of largest magnitude. */
NANO_INLINE float find_extreme(const float *x)
{
    vec amax = vec_set1(largest_magnitude(x, 256));
    for (int k = 0; k < 256; k += 4) {
        unsigned found = vec_equal(vabsq_f32(vec_load(x + k)), amax);
        if (found)
            return x[k + __builtin_ctz(found)];
    }
    return 0;
}

void nano_quantize_q8_256_neon(void *dst, const float *src, int64_t cols)
{
    int8_t *q = dst;
    float *d = (void *)(q + cols);
    int16_t *sums = (void *)(d + cols / 256);
    for (int64_t i = 0; i < cols / 256; i++) {
        float inverse = -127 / find_extreme(src + i * 256);
        bool is_zero = !isfinite(inverse) || inverse == 0;
        vec factor = vec_set1(is_zero ? 0 : inverse);
        d[i] = is_zero ? 0 : 1 / inverse;
        for (int64_t k = i * 256; k < i * 256 + 256; k += 16) {
            int32x4_t levels[4];
            for (int j = 0; j < 4; j++) /* as rintf: halves go to even */
                levels[j] = vcvtnq_s32_f32(vec_mul(vec_load(src + k + j * 4), factor));
            sums[k / 16] = (int16_t)store_bytes(q + k, levels);
        }
    }
}
