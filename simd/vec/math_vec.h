/* exp, softplus, exp2 and tanh for any instruction set with a vec_<isa>.h, which comes first. */
#ifndef NANO_SIMD_VEC_MATH_VEC_H
#define NANO_SIMD_VEC_MATH_VEC_H

/* As nano_exp_ref, with fused multiply-adds. NaN stays NaN. */
NANO_INLINE vec vec_exp(vec x)
{
    x = vec_max(vec_set1(-105), x);
    x = vec_sub(vec_zero(), vec_max(vec_set1(-90), vec_sub(vec_zero(), x)));
    vec n = vec_round(vec_mul(x, vec_set1(0x1.715476p+0f)));
    vec r = vec_fma(n, vec_set1(-0x1.62e4p-1f), x);
    r = vec_fma(n, vec_set1(-0x1.7f7d1cp-20f), r);
    vec p = vec_set1(1.0f / 5040);
    p = vec_fma(p, r, vec_set1(1.0f / 720));
    p = vec_fma(p, r, vec_set1(1.0f / 120));
    p = vec_fma(p, r, vec_set1(1.0f / 24));
    p = vec_fma(p, r, vec_set1(1.0f / 6));
    p = vec_fma(p, r, vec_set1(0.5f));
    p = vec_fma(p, r, vec_set1(1));
    p = vec_fma(p, r, vec_set1(1));
    return vec_scale(p, n);
}

/* The nearest value between low and high; NaN stays NaN. */
NANO_INLINE vec vec_clamp(vec x, float low, float high)
{
    x = vec_max(vec_set1(low), x);
    return vec_sub(vec_zero(), vec_max(vec_set1(-high), vec_sub(vec_zero(), x)));
}

/* As nano_tanh_ref, with fused multiply-adds. NaN stays NaN. */
NANO_INLINE vec vec_tanh(vec x)
{
    x = vec_clamp(vec_add(x, x), -20, 20);
    vec n = vec_round(vec_mul(x, vec_set1(0x1.715476p+0f)));
    vec r = vec_fma(n, vec_set1(-0x1.62e4p-1f), x);
    r = vec_fma(n, vec_set1(-0x1.7f7d1cp-20f), r);
    vec p = vec_set1(1.0f / 5040);
    p = vec_fma(p, r, vec_set1(1.0f / 720));
    p = vec_fma(p, r, vec_set1(1.0f / 120));
    p = vec_fma(p, r, vec_set1(1.0f / 24));
    p = vec_fma(p, r, vec_set1(1.0f / 6));
    p = vec_fma(p, r, vec_set1(0.5f));
    p = vec_fma(vec_mul(p, r), r, r);
    vec power = vec_scale(vec_set1(1), n);
    vec m = vec_fma(p, power, vec_sub(power, vec_set1(1)));
    return vec_div(m, vec_add(m, vec_set1(2)));
}

/* As nano_softplus_ref. */
NANO_INLINE vec vec_softplus(vec x)
{
    const vec positive = vec_max(x, vec_zero());
    const vec e = vec_exp(vec_sub(x, vec_add(positive, positive)));
    const vec s = vec_div(e, vec_add(vec_set1(2), e)), z = vec_mul(s, s);
    vec p = vec_set1(2.0f / 15);
    p = vec_fma(p, z, vec_set1(2.0f / 13));
    p = vec_fma(p, z, vec_set1(2.0f / 11));
    p = vec_fma(p, z, vec_set1(2.0f / 9));
    p = vec_fma(p, z, vec_set1(2.0f / 7));
    p = vec_fma(p, z, vec_set1(2.0f / 5));
    p = vec_fma(p, z, vec_set1(2.0f / 3));
    p = vec_fma(p, z, vec_set1(2));
    return vec_fma(p, s, positive);
}

/* 2^x to 2 units in the last place for x <= 0, 0 below -150: n vectors at once, because one alone
 * is a chain of operations that wait for each other. The polynomial is the best one of its degree
 * for 2^r, |r| <= 1/2, that is 1 at 0: off by less than 3e-9. */
NANO_INLINE void vec_exp2(vec *x, const int n)
{
    static const float coefficients[] = {0x1.5f7276p-10f, 0x1.3b270ep-7f, 0x1.c6ae72p-5f,
                                         0x1.ebfbe2p-3f,  0x1.62e432p-1f, 1};
    vec whole[4], p[4];
    NANO_UNROLL
    for (int i = 0; i < n; i++) {
        x[i] = vec_max(x[i], vec_set1(-151));
        whole[i] = vec_round(x[i]);
        x[i] = vec_sub(x[i], whole[i]);
        p[i] = vec_set1(0x1.470b4ap-13f);
    }
    NANO_UNROLL
    for (int k = 0; k < 6; k++) {
        NANO_UNROLL
        for (int i = 0; i < n; i++)
            p[i] = vec_fma(p[i], x[i], vec_set1(coefficients[k]));
    }
    NANO_UNROLL
    for (int i = 0; i < n; i++)
        x[i] = vec_scale(p[i], whole[i]);
}

#endif
