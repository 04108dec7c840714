/* From f32 to the formats that a file stores: for synthetic models and tests. */
#ifndef NANO_SIMD_QUANTIZE_H
#define NANO_SIMD_QUANTIZE_H

#include <stdbool.h>

#include "simd/formats.h"

/* Writes nano_format_row_bytes(format, cols) bytes. By plain rounding, to the bytes that ggml's
 * reference quantisers give; a block whose scale is too small for them (all values far below the
 * smallest f16) becomes zero. False, and nothing written, for formats that need a search (K and
 * IQ). */
bool nano_quantize_row(enum nano_format format, const float *src, void *dst, int64_t cols);

#endif
