/* exp for any instruction set with a vec_<isa>.h, which comes first. */
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

#endif
