/* From the formats that a file stores to f32. */
#ifndef NANO_SIMD_DEQUANTIZE_H
#define NANO_SIMD_DEQUANTIZE_H

#include "simd/formats.h"

/* Rows [rows, cols] as in a file to dst [rows, cols], by the scalar reference. Any thread. */
void nano_dequantize_rows(enum nano_format format, const void *src, float *dst, int64_t rows,
                          int64_t cols);

#endif
