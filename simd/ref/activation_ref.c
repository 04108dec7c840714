/* Activations for the linear kernels; layouts in blocks.h. */
#include <math.h>
#include <string.h>

#include "simd/ref/ref.h"

size_t nano_activation_f32_bytes_ref(int64_t num_tokens, int64_t cols)
{
    return (size_t)(num_tokens * cols) * sizeof(float);
}

void nano_quantize_f32_ref(void *x, int64_t token, const float *src, int64_t cols)
{
    if (cols > 0)
        memcpy((float *)x + token * cols, src, (size_t)cols * sizeof *src);
}

/* q of 32 values and their scale, as in Q8_0 blocks, but that halves go to even as the processor's
 * own rounding has it. Where no f16 holds the scale it stays f32; where its reciprocal is infinite
 * the block is zero. */
static float quantize_32(int8_t q[32], const float *x)
{
    float amax = 0;
    for (int k = 0; k < 32; k++)
        amax = fabsf(x[k]) > amax ? fabsf(x[k]) : amax;
    float d = amax / 127, id = 1 / d, rounded = nano_f16_to_f32(nano_f32_to_f16(d));
    if (!isfinite(id))
        id = 0;
    for (int k = 0; k < 32; k++) {
        float level = rintf(x[k] * id);
        q[k] = (int8_t)(fabsf(level) <= 127 ? level : 0); /* only NaN and infinities fail */
    }
    return isinf(rounded) ? d : rounded;
}

static int32_t sum_16(const int8_t q[16])
{
    int32_t sum = 0;
    for (int k = 0; k < 16; k++)
        sum += q[k];
    return sum;
}

static void finish(struct nano_q8_unit *unit, float d, float factor)
{
    nano_q8_unit_finish(unit, d, sum_16(unit->q), sum_16(unit->q + 16), factor);
}

void nano_quantize_q8_32_ref(void *x, int64_t token, const float *src, int64_t cols)
{
    struct nano_q8_unit *unit = (struct nano_q8_unit *)x + nano_q8_index(token, cols);
    for (int64_t i = 0; i < cols; i += 32, unit += NANO_X_TILE) {
        const float d = quantize_32(unit->q, src + i);
        finish(unit, d, d);
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

void nano_quantize_q8_256_ref(void *x, int64_t token, const float *src, int64_t cols)
{
    struct nano_q8_unit *unit = (struct nano_q8_unit *)x + nano_q8_index(token, cols);
    for (int64_t i = 0; i < cols; i += 256) {
        int8_t q[256];
        const float d = quantize_256(q, src + i);
        for (int u = 0; u < 8; u++, unit += NANO_X_TILE) {
            memcpy(unit->q, q + 32 * u, 32);
            finish(unit, d, 1);
        }
    }
}
