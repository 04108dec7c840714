/* How the instruction-set folders walk the outputs of a linear kernel.
 *
 * A tile is a function for num_rows x num_tokens outputs that is inlined once per constant shape.
 * The promise of kernels.h (same bits whatever else is in the call) holds when every output of a
 * tile has its own accumulator, fed in the same order in every shape. */
#ifndef NANO_SIMD_LINEAR_TILES_H
#define NANO_SIMD_LINEAR_TILES_H

#include "simd/blocks.h"
#include "simd/kernel_params.h"
#include "simd/kernels.h"

#define NANO_INLINE static inline __attribute__((always_inline))

/* Before a loop of constant length over accumulators, so that they become registers. */
#ifdef __clang__
#define NANO_UNROLL _Pragma("unroll")
#else
#define NANO_UNROLL _Pragma("GCC unroll 16")
#endif

struct nano_linear_args {
    float *y;
    int64_t y_stride;
    const uint8_t *weights;
    size_t row_bytes;
    int64_t cols;
    const uint8_t *x;
    size_t x_stride;
};

typedef void nano_tile_fn(const struct nano_linear_args *args, int64_t row, int64_t token,
                          int num_rows, int num_tokens);

enum {
    NANO_TILE_TOKENS = 4,
    NANO_TOKENS_PER_PASS = 64 /* whose activations stay in the L2 cache while rows stream by */
};

NANO_INLINE const uint8_t *nano_weight_row(const struct nano_linear_args *args, int64_t row)
{
    return args->weights + (size_t)row * args->row_bytes;
}

NANO_INLINE const void *nano_token_row(const struct nano_linear_args *args, int64_t token)
{
    return args->x + (size_t)token * args->x_stride;
}

/* Asks for what the tile below reads at the same place. One token is a matter of memory bandwidth,
 * and rows that are read side by side confuse the processor's own prefetching (measured: 7 to 15
 * GB/s). */
NANO_INLINE void nano_prefetch(const struct nano_linear_args *args, const uint8_t *at, int num_rows,
                               int num_tokens)
{
    if (num_tokens == 1)
        __builtin_prefetch(at + (size_t)num_rows * args->row_bytes);
}

/* Tiles [row, row + num_rows) x [begin, end) tokens. */
NANO_INLINE void nano_tile_rows(const struct nano_linear_args *args, nano_tile_fn *tile,
                                int64_t row, int num_rows, int64_t begin, int64_t end)
{
    int64_t t = begin;
    for (; t + NANO_TILE_TOKENS <= end; t += NANO_TILE_TOKENS)
        tile(args, row, t, num_rows, NANO_TILE_TOKENS);
    for (; t < end; t++)
        tile(args, row, t, num_rows, 1);
}

/* The body of a linear kernel: tiles of tile_rows rows, and of one row at the end. */
NANO_INLINE void nano_tile_linear(enum nano_format format, nano_tile_fn *tile, int tile_rows,
                                  NANO_LINEAR_PARAMS)
{
    struct nano_linear_args args = {
        .y = y,
        .y_stride = y_stride,
        .weights = weights,
        .row_bytes = nano_format_row_bytes(format, cols),
        .cols = cols,
        .x = x,
        .x_stride = x_stride,
    };
    (void)rows;
    for (int64_t begin = 0; begin < num_tokens; begin += NANO_TOKENS_PER_PASS) {
        int64_t end = begin + NANO_TOKENS_PER_PASS, r = row_begin;
        end = end < num_tokens ? end : num_tokens;
        for (; r + tile_rows <= row_end; r += tile_rows)
            nano_tile_rows(&args, tile, r, tile_rows, begin, end);
        for (; r < row_end; r++)
            nano_tile_rows(&args, tile, r, 1, begin, end);
    }
}

/* Defines nano_linear_<name>_<isa> and its tile, an instance of
 * body(format, args, row, token, num_rows, num_tokens). */
#define NANO_DEFINE_LINEAR(NAME, name, isa, body, tile_rows)                                      \
    NANO_INLINE void tile_##name(const struct nano_linear_args *args, int64_t row, int64_t token, \
                                 int num_rows, int num_tokens)                                    \
    {                                                                                             \
        body(NANO_FORMAT_##NAME, args, row, token, num_rows, num_tokens);                         \
    }                                                                                             \
                                                                                                  \
    void nano_linear_##name##_##isa(NANO_LINEAR_PARAMS)                                           \
    {                                                                                             \
        nano_tile_linear(NANO_FORMAT_##NAME, tile_##name, tile_rows, y, y_stride, weights, rows,  \
                         cols, row_begin, row_end, x, x_stride, num_tokens);                      \
    }

#endif
