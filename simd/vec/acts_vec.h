/* Activation functions, alone and as gates, for any instruction set with a vec_<isa>.h, which comes
 * first together with math_vec.h and vectors_vec.h. Included by one file of each folder. */
#include "simd/acts.h"

NANO_INLINE vec act_none(vec x)
{
    return x;
}

/* x * sigmoid(of) */
NANO_INLINE vec times_sigmoid(vec x, vec of)
{
    return vec_div(x, vec_add(vec_set1(1), vec_exp(vec_sub(vec_zero(), of))));
}

NANO_INLINE vec act_silu(vec x)
{
    return times_sigmoid(x, x);
}

NANO_INLINE vec act_gelu(vec x)
{
    vec factor = vec_fma(vec_mul(x, x), vec_set1(NANO_GELU_CUBIC), vec_set1(NANO_GELU_LINEAR));
    return times_sigmoid(x, vec_mul(x, factor));
}

NANO_INLINE vec act_gelu_erf(vec x)
{
    vec size = vec_max(vec_sub(vec_zero(), x), x);
    vec t = vec_div(vec_set1(1), vec_fma(size, vec_set1(NANO_ERFC_T), vec_set1(1)));
    vec p = vec_set1(nano_erfc_terms[0]);
    NANO_UNROLL
    for (int i = 1; i < NANO_ERFC_NUM_TERMS; i++)
        p = vec_fma(p, t, vec_set1(nano_erfc_terms[i]));
    vec tail = vec_exp(vec_mul(vec_mul(x, x), vec_set1(-0.5f)));
    return vec_sub(vec_max(vec_zero(), x), vec_mul(vec_mul(size, p), vec_mul(t, tail)));
}

NANO_INLINE vec act_gelu_quick(vec x)
{
    return times_sigmoid(x, vec_mul(x, vec_set1(1.702f)));
}

NANO_INLINE vec act_relu(vec x)
{
    return vec_max(vec_zero(), x);
}

NANO_INLINE vec act_relu_squared(vec x)
{
    return vec_mul(act_relu(x), act_relu(x));
}

NANO_INLINE vec act_sigmoid(vec x)
{
    return times_sigmoid(vec_set1(1), x);
}

#define ACT(NAME, name)                                                               \
    static void glu_##name(float *y, const float *gate, const float *up, int64_t n)   \
    {                                                                                 \
        for (int64_t i = 0; i < n; i += VEC_LANES) {                                  \
            int lanes = lanes_at(i, n);                                               \
            vec g = vec_load_part(gate + i, lanes), u = vec_load_part(up + i, lanes); \
            vec_store_part(y + i, vec_mul(act_##name(g), u), lanes);                  \
        }                                                                             \
    }                                                                                 \
    static void apply_##name(float *y, const float *x, int64_t n)                     \
    {                                                                                 \
        for (int64_t i = 0; i < n; i += VEC_LANES) {                                  \
            int lanes = lanes_at(i, n);                                               \
            vec_store_part(y + i, act_##name(vec_load_part(x + i, lanes)), lanes);    \
        }                                                                             \
    }
NANO_ACTS(ACT)
#undef ACT

static void glu_clamped(float *y, const float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i += VEC_LANES) {
        int lanes = lanes_at(i, n);
        vec g = vec_clamp(vec_load_part(gate + i, lanes), -INFINITY, 7);
        vec u = vec_clamp(vec_load_part(up + i, lanes), -7, 7);
        vec_store_part(y + i, vec_mul(act_gelu_quick(g), vec_add(u, vec_set1(1))), lanes);
    }
}

void VEC_NAME(nano_acts_init)(struct nano_kernels *kernels)
{
#define SLOTS(NAME, name)                       \
    kernels->glu[NANO_ACT_##NAME] = glu_##name; \
    kernels->act[NANO_ACT_##NAME] = apply_##name;
    NANO_ACTS(SLOTS)
#undef SLOTS
    kernels->glu[NANO_ACT_SWIGLU_CLAMPED] = glu_clamped;
}
