/* Searches that the quantisers share: how a few weights are best written as a scale times levels.
 *
 * All of them minimise sum of w * (x - x')^2, the weighted squared error. "Gain" is what is left of
 * sum of w * x^2 when that error is taken away: larger is better. */
#ifndef NANO_SIMD_QUANTIZE_SEARCH_H
#define NANO_SIMD_QUANTIZE_SEARCH_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* Four neighbours; sums are made of four chains, so that they vectorise on any processor. */
typedef float nano_f4 __attribute__((vector_size(16)));

/* A block to quantise: finite values of bounded size, and weights that are not all zero. */
struct nano_source {
    nano_f4 x[64], w[64];
    int length;
};

/* x and the importance of its columns (or NULL) to a source of up to 256. NaN becomes zero and
 * values past what any block can hold are cut off. */
void nano_source_load(struct nano_source *source, const float *x, const float *importance,
                      int length);

/* Integers in [min, max], or the 16 ascending values of a table. */
struct nano_levels {
    int min, max;
    const int8_t *table;
};

struct nano_fit {
    float d, m; /* x' = d * level + m */
    float gain;
};

/* The best d for `count` values, a multiple of 4 up to 256. d may be negative. */
struct nano_fit nano_fit_scale(const struct nano_levels *levels, const nano_f4 *x, const nano_f4 *w,
                               int count);

/* The best d and m for levels 0 … max and up to 32 values; m <= 0 unless any_min. */
struct nano_fit nano_fit_range(int max, bool any_min, const nano_f4 *x, const nano_f4 *w,
                               int count);

/* The levels nearest to (x - m) / d. */
void nano_round_to(const struct nano_levels *levels, float d, float m, const nano_f4 *x, int count,
                   int8_t *values);

/* The weighted error that they leave. */
float nano_round_error(const struct nano_levels *levels, float d, float m, const nano_f4 *x,
                       const nano_f4 *w, int count);

/* The sum of w * x^2. */
float nano_square_sum(const nano_f4 *x, const nano_f4 *w, int count);

/* 1 / d; 0 where the reciprocal has no finite value. */
static inline float nano_inverse(float d)
{
    const float inverse = 1 / d;
    return isfinite(inverse) ? inverse : 0;
}

/* A scale as f16 that is finite. */
uint16_t nano_scale_f16(float d);

#endif
