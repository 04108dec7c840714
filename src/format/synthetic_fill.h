/* Synthetic weights: random values, made directly as the bytes that a file would hold. */
#ifndef NANO_FORMAT_SYNTHETIC_FILL_H
#define NANO_FORMAT_SYNTHETIC_FILL_H

#include <stdbool.h>

#include "simd/formats.h"

/* Whether matrices of this format can be made: all but those of codewords, ternary and FP4 weights.
 */
bool nano_synthetic_fills(enum nano_format format);

/* A [rows, cols] matrix of finite weights with mean 0 and about the given standard deviation. Every
 * row depends on key and its number only. */
void nano_synthetic_fill(void *dst, enum nano_format format, int64_t rows, int64_t cols,
                         float standard_deviation, uint64_t key);

/* n numbers from [center - radius, center + radius). */
void nano_synthetic_fill_f32(void *dst, int64_t n, float center, float radius, uint64_t key);

#endif
