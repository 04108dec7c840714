/* Activation quantisers: the bytes of the reference. */
#include "simd/neon/neon.h"

#include <math.h>

#include "simd/blocks.h"
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
NANO_INLINE int32_t store_bytes(int8_t *dst, const int32x4_t q[4])
{
    int16x8_t low = vcombine_s16(vmovn_s32(q[0]), vmovn_s32(q[1]));
    int16x8_t high = vcombine_s16(vmovn_s32(q[2]), vmovn_s32(q[3]));
    int8x16_t bytes = vcombine_s8(vmovn_s16(low), vmovn_s16(high));
    vst1q_s8(dst, bytes);
    return vaddlvq_s8(bytes);
}

/* 32 levels, and what follows from them; `factor` is what the sums are times. */
NANO_INLINE void store_unit(struct nano_q8_unit *unit, const int32x4_t levels[8], float d,
                            float factor)
{
    const int32_t sum_low = store_bytes(unit->q, levels);
    const int32_t sum_high = store_bytes(unit->q + 16, levels + 4);
    nano_q8_unit_finish(unit, d, sum_low, sum_high, factor);
}

void nano_quantize_q8_32_neon(void *x, int64_t token, const float *src, int64_t cols)
{
    struct nano_q8_unit *unit = (struct nano_q8_unit *)x + nano_q8_index(token, cols);
    for (int64_t i = 0; i < cols; i += 32, unit += NANO_X_TILE) {
        int32x4_t levels[8];
        const float scale = largest_magnitude(src + i, 32) / 127;
        const float inverse = 1 / scale, rounded = nano_f16_to_f32(nano_f32_to_f16(scale));
        const vec factor = vec_set1(isfinite(inverse) ? inverse : 0);
        for (int k = 0; k < 8; k++)
            levels[k] = vcvtnq_s32_f32(vec_mul(vec_load(src + i + k * 4), factor));
        const float d = isinf(rounded) ? scale : rounded;
        store_unit(unit, levels, d, d);
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

void nano_quantize_q8_256_neon(void *x, int64_t token, const float *src, int64_t cols)
{
    struct nano_q8_unit *unit = (struct nano_q8_unit *)x + nano_q8_index(token, cols);
    for (int64_t i = 0; i < cols; i += 256) {
        const float inverse = -127 / find_extreme(src + i);
        const bool is_zero = !isfinite(inverse) || inverse == 0;
        const vec factor = vec_set1(is_zero ? 0 : inverse);
        for (int64_t k = i; k < i + 256; k += 32, unit += NANO_X_TILE) {
            int32x4_t levels[8];
            for (int j = 0; j < 8; j++)
                levels[j] = vcvtnq_s32_f32(vec_mul(vec_load(src + k + j * 4), factor));
            store_unit(unit, levels, is_zero ? 0 : 1 / inverse, 1);
        }
    }
}
