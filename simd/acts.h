/* Activation functions: the list of those that a body computes on its own, and constants that all
 * bodies share. */
#ifndef NANO_SIMD_ACTS_H
#define NANO_SIMD_ACTS_H

#define NANO_ACTS(ROW)              \
    ROW(NONE, none)                 \
    ROW(SILU, silu)                 \
    ROW(GELU, gelu)                 \
    ROW(GELU_ERF, gelu_erf)         \
    ROW(GELU_QUICK, gelu_quick)     \
    ROW(RELU, relu)                 \
    ROW(RELU_SQUARED, relu_squared) \
    ROW(SIGMOID, sigmoid)

/* gelu(x) = x * sigmoid(x * (LINEAR + CUBIC * x^2)): 2 sqrt(2 / pi), and 0.044715 times it. */
#define NANO_GELU_LINEAR 1.5957691216f
#define NANO_GELU_CUBIC 0.07135481283f

/* erfc(|x| / sqrt(2)) / 2 = exp(-x^2 / 2) * t * (terms[0] t^9 + … + terms[9]) with
 * t = 1 / (1 + NANO_ERFC_T |x|), off by less than 1e-8 of it for |x| < 15: fitted for the smallest
 * largest relative error. */
#define NANO_ERFC_T 0.2474873734f
enum { NANO_ERFC_NUM_TERMS = 10 };
#define NANO_ERFC_TERMS                                                                   \
    0.019834039f, -0.082993430f, 0.099264437f, -0.025586705f, 0.053601061f, 0.067401868f, \
        0.077615037f, 0.093498624f, 0.098626273f, 0.098738800f
static const float nano_erfc_terms[NANO_ERFC_NUM_TERMS] = {NANO_ERFC_TERMS};

#endif
