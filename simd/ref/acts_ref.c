/* Activation functions, alone and as gates. */
#include <math.h>

#include "simd/acts.h"
#include "simd/ref/ref.h"

float nano_tanh_ref(float x)
{
    if (isnan(x))
        return x;
    /* (e - 1) / (e + 1) with e = exp(2 x), as m / (m + 2) with m = e - 1, which is computed without
     * cancellation: 2 x = n ln 2 + r, so m = 2^n (exp(r) - 1) + (2^n - 1). From 10 on tanh is 1. */
    x = fminf(fmaxf(2 * x, -20), 20);
    float n = rintf(x * 0x1.715476p+0f);
    float r = x - n * 0x1.62e4p-1f - n * 0x1.7f7d1cp-20f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r * r + r;
    float power = ldexpf(1, (int)n), m = p * power + (power - 1);
    return m / (m + 2);
}

static float sigmoid(float x)
{
    return 1 / (1 + nano_exp_ref(-x));
}

static float none(float x)
{
    return x;
}

static float silu(float x)
{
    return x / (1 + nano_exp_ref(-x));
}

/* (1 + tanh(u)) / 2 is sigmoid(2 u). */
static float gelu(float x)
{
    return x / (1 + nano_exp_ref(-x * (NANO_GELU_CUBIC * (x * x) + NANO_GELU_LINEAR)));
}

static float gelu_erf(float x)
{
    float size = fabsf(x), t = 1 / (1 + NANO_ERFC_T * size), p = nano_erfc_terms[0];
    for (int i = 1; i < NANO_ERFC_NUM_TERMS; i++)
        p = p * t + nano_erfc_terms[i];
    return (x > 0 ? x : 0) - size * p * t * nano_exp_ref(x * x * -0.5f);
}

static float gelu_quick(float x)
{
    return x / (1 + nano_exp_ref(-1.702f * x));
}

static float relu(float x)
{
    return x < 0 ? 0 : x;
}

static float relu_squared(float x)
{
    return relu(x) * relu(x);
}

#define ACT(NAME, name)                                                             \
    static void glu_##name(float *y, const float *gate, const float *up, int64_t n) \
    {                                                                               \
        for (int64_t i = 0; i < n; i++)                                             \
            y[i] = name(gate[i]) * up[i];                                           \
    }                                                                               \
    static void act_##name(float *y, const float *x, int64_t n)                     \
    {                                                                               \
        for (int64_t i = 0; i < n; i++)                                             \
            y[i] = name(x[i]);                                                      \
    }
NANO_ACTS(ACT)

static void glu_clamped(float *y, const float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float g = gate[i] > 7 ? 7 : gate[i], u = up[i] > 7 ? 7 : up[i] < -7 ? -7 : up[i];
        y[i] = gelu_quick(g) * (u + 1);
    }
}

void nano_acts_init_ref(struct nano_kernels *kernels)
{
#define SLOTS(NAME, name)                       \
    kernels->glu[NANO_ACT_##NAME] = glu_##name; \
    kernels->act[NANO_ACT_##NAME] = act_##name;
    NANO_ACTS(SLOTS)
    kernels->glu[NANO_ACT_SWIGLU_CLAMPED] = glu_clamped;
}
