/* From f32 to the formats that a file stores. */
#ifndef NANO_SIMD_QUANTIZE_H
#define NANO_SIMD_QUANTIZE_H

#include "simd/formats.h"

/* Quantises rows [rows, cols], cols a multiple of the block length, to
 * rows * nano_format_row_bytes(format, cols) bytes at dst. Any thread; allocates nothing.
 *
 * importance: [cols], what an error in a column costs (mean squares of the layer's inputs), not
 * negative; NULL: all columns are equal. Without it F32 … Q8_0 and MXFP4 are rounded plainly, to
 * the bytes that ggml's reference quantisers give; all else is a search for the smallest (weighted)
 * sum of squared errors. A block that its scale cannot hold (all values far below the smallest f16)
 * becomes zero. NaN and infinities give unspecified weights. */
void nano_quantize_rows(enum nano_format format, const float *src, void *dst, int64_t rows,
                        int64_t cols, const float *importance);

#endif
