/* Norms, rotary embedding, sums and reductions over vectors. */
#include <math.h>

#include "simd/ref/ref.h"

float nano_exp_ref(float x)
{
    if (x < -104)
        return 0;
    if (x > 89)
        return INFINITY;
    if (isnan(x))
        return x;
    /* x = n ln 2 + r with |r| <= ln 2 / 2, ln 2 in two parts of which the first times n is exact;
     * the Taylor series of exp(r) up to r^7 is off by less than 6e-9. */
    float n = rintf(x * 0x1.715476p+0f);
    float r = x - n * 0x1.62e4p-1f - n * 0x1.7f7d1cp-20f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1;
    p = p * r + 1;
    return ldexpf(p, (int)n);
}

/* Sums in double, so that n and the values' sizes do not matter. */
void nano_rms_norm_ref(float *y, const float *x, const float *weight, int64_t n, float eps)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    float scale = 1 / sqrtf((float)(sum / (double)n) + eps);
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * scale * weight[i];
}

void nano_layer_norm_ref(float *y, const float *x, const float *weight, const float *bias,
                         int64_t n, float eps)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    float mean = (float)(sum / (double)n);
    for (int64_t i = 0; i < n; i++)
        squares += (double)(x[i] - mean) * (x[i] - mean);
    float scale = 1 / sqrtf((float)(squares / (double)n) + eps);
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * scale * weight[i] + (bias ? bias[i] : 0);
}

void nano_l2_norm_ref(float *y, const float *x, int64_t n, float eps)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    nano_scale_ref(y, x, n, 1 / fmaxf((float)sqrt(sum), eps));
}

void nano_rope_ref(float *x, const float *cos_sin, int64_t num_pairs, bool adjacent)
{
    int64_t step = adjacent ? 2 : 1, distance = adjacent ? 1 : num_pairs;
    for (int64_t i = 0; i < num_pairs; i++) {
        float *a = &x[i * step], *b = a + distance;
        float cos = cos_sin[2 * i], sin = cos_sin[2 * i + 1], old = *a;
        *a = old * cos - *b * sin;
        *b = old * sin + *b * cos;
    }
}

void nano_add_ref(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += x[i];
}

void nano_add_scaled_ref(float *y, const float *x, int64_t n, float scale)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = fmaf(scale, x[i], y[i]);
}

void nano_scale_ref(float *y, const float *x, int64_t n, float scale)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = scale * x[i];
}

void nano_softcap_ref(float *y, const float *x, int64_t n, float cap)
{
    float inverse = 1 / cap;
    for (int64_t i = 0; i < n; i++)
        y[i] = cap * nano_tanh_ref(x[i] * inverse);
}

int64_t nano_argmax_ref(const float *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++) {
        if (x[i] > x[best] || (isnan(x[best]) && !isnan(x[i])))
            best = i;
    }
    return best;
}

int64_t nano_collect_ref(int32_t *out, const float *x, int64_t n, float floor)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        if (x[i] >= floor)
            out[count++] = (int32_t)i;
    return count;
}

double nano_sum_exp_ref(const float *x, int64_t n, float max, float scale)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += nano_exp_ref((x[i] - max) * scale);
    return sum;
}

double nano_log_sum_exp_ref(const float *x, int64_t n)
{
    float max = x[nano_argmax_ref(x, n)];
    return isinf(max) ? max : max + log(nano_sum_exp_ref(x, n, max, 1));
}
