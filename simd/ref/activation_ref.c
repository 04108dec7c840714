/* Rows of activations for the linear kernels; layouts in blocks.h. */
#include <math.h>
#include <string.h>

#include "simd/ref/ref.h"

size_t nano_activation_f32_row_bytes_ref(int64_t cols)
{
    return (size_t)cols * sizeof(float);
}

void nano_quantize_f32_ref(void *dst, const float *src, int64_t cols)
{
    if (cols > 0)
        memcpy(dst, src, (size_t)cols * sizeof *src);
}

/* q of 32 values and their scale, as ggml's reference makes Q8_0 blocks. Where no f16 holds the
 * scale it stays f32; where its reciprocal is infinite the block is zero. */
static float quantize_32(int8_t q[32], const float *x)
{
    float amax = 0;
    for (int k = 0; k < 32; k++)
        amax = fabsf(x[k]) > amax ? fabsf(x[k]) : amax;
    float d = amax / 127, id = 1 / d, rounded = nano_f16_to_f32(nano_f32_to_f16(d));
    if (!isfinite(id))
        id = 0;
    for (int k = 0; k < 32; k++) {
        float level = roundf(x[k] * id);
        q[k] = (int8_t)(fabsf(level) <= 127 ? level : 0); /* only NaN and infinities fail */
    }
    return isinf(rounded) ? d : rounded;
}

void nano_quantize_q8_32_ref(void *dst, const float *src, int64_t cols)
{
    int8_t *q = dst;
    float *d = (void *)(q + cols);
    int32_t *sums = (void *)(d + cols / 32);
    for (int64_t i = 0; i < cols / 32; i++) {
        d[i] = quantize_32(q + i * 32, src + i * 32);
        sums[i] = 0;
        for (int k = 0; k < 32; k++)
            sums[i] += q[i * 32 + k];
    }
}

/* As ggml's reference makes Q8_K blocks: the value of largest magnitude becomes -127. */
static float quantize_256(int8_t q[256], const float *x)
{
    float extreme = 0;
    for (int k = 0; k < 256; k++)
        extreme = fabsf(x[k]) > fabsf(extreme) ? x[k] : extreme;
    float id = -127 / extreme;
    if (!isfinite(id) || id == 0) {
        memset(q, 0, 256);
        return 0;
    }
    for (int k = 0; k < 256; k++) {
        float level = rintf(x[k] * id);
        q[k] = (int8_t)(fabsf(level) <= 127 ? level : 0);
    }
    return 1 / id;
}

void nano_quantize_q8_256_ref(void *dst, const float *src, int64_t cols)
{
    int8_t *q = dst;
    float *d = (void *)(q + cols);
    int16_t *sums = (void *)(d + cols / 256);
    for (int64_t i = 0; i < cols / 256; i++)
        d[i] = quantize_256(q + i * 256, src + i * 256);
    for (int64_t i = 0; i < cols / 16; i++) {
        int sum = 0;
        for (int k = 0; k < 16; k++)
            sum += q[i * 16 + k];
        sums[i] = (int16_t)sum;
    }
}
