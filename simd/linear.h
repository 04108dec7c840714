/* Linear kernels' contract: products of activations with packed weights (kernels.h has the rest).
 */
#ifndef NANO_SIMD_LINEAR_H
#define NANO_SIMD_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One call of a linear kernel:
 *
 *   y[t][r] = sum over k of W[r][k] * x[t][k]  (+ bias[r])  (+ y[t][r] before)
 *
 * for r in [row_begin, row_end) and t in [token_begin, token_end). y must not overlap x. */
struct nano_linear_args {
    float *y;
    int64_t y_stride; /* floats from token to token */
    const void *weights;
    int64_t rows, cols;
    int64_t row_begin, row_end; /* row_begin is a multiple of row_align */
    const void *x;   /* token 0's activations, in the layout of the format's activation kernels */
    size_t x_stride; /* F32 activations: bytes from token to token, a multiple of 4 */
    int64_t token_begin, token_end;
    const float *bias; /* [rows], or NULL */
    bool accumulate;   /* add to y */
};

typedef void nano_linear_fn(const struct nano_linear_args *args);

/* Everything known about multiplying with one weight format. */
struct nano_linear_kernels {
    /* Memory of a packed [rows, cols] matrix, and its making from rows [row_begin, row_end) of the
     * stored one (`src` is row 0 as in the file). Ranges begin at multiples of row_align and may
     * run on several threads. NULL: the kernel reads the file's layout. */
    size_t (*packed_bytes)(int64_t rows, int64_t cols);
    void (*pack)(void *packed, const void *src, int64_t rows, int64_t cols, int64_t row_begin,
                 int64_t row_end);

    /* Dequantises row `row` of a matrix in the layout that `linear` reads (embedding lookup). */
    void (*get_row)(float *dst, const void *weights, int64_t rows, int64_t cols, int64_t row);

    nano_linear_fn *linear;

    int row_align; /* rows are handed out in multiples of this; at least 1 */
};

/* How activations are stored for the linear kernels. */
struct nano_activation_kernels {
    size_t (*bytes)(int64_t num_tokens, int64_t cols);
    /* Writes token `token` of activations that begin at x. Any number of threads may write tokens
     * of one x. NaN and infinities give unspecified finite or NaN outputs. */
    void (*quantize)(void *x, int64_t token, const float *src, int64_t cols);
};

#endif
