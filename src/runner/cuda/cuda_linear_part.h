/* What the kernels of linears share: which row of which matrix a tile's row is, and what becomes of
 * its sum. For kernel files. */
#ifndef NANO_RUNNER_CUDA_CUDA_LINEAR_PART_H
#define NANO_RUNNER_CUDA_CUDA_LINEAR_PART_H

#include "runner/cuda/cuda_act.h"
#include "runner/cuda/cuda_lang.h"
#include "runner/cuda/cuda_linear.h"

/* Rows of a tensor core's tile. */
enum { NANO_CUDA_MMA_ROWS = 16 };

static inline int nano_cuda_mma_tiles(int rows)
{
    return (rows + NANO_CUDA_MMA_ROWS - 1) / NANO_CUDA_MMA_ROWS;
}

/* Tiles of 16 rows of all segments in a row, each segment's padded; of a glu the gate's, whose
 * factor is the same rows of segment 1. */
static inline int nano_cuda_linear_tiles(const struct nano_cuda_linear_args *a)
{
    int tiles = 0;
    for (int i = 0; i < (a->glu ? 1 : a->num_segments); i++)
        tiles += nano_cuda_mma_tiles(a->segments[i].rows);
    return tiles;
}

/* Segment and first row of a tile; segment -1: behind the last. */
static __device__ inline int nano_cuda_find_tile(const struct nano_cuda_linear_args &a, int tile,
                                                 int *first_row)
{
    *first_row = 0;
    const int count = a.glu ? 1 : a.num_segments;
    for (int i = 0; i < count; i++) {
        const int tiles = (a.segments[i].rows + NANO_CUDA_MMA_ROWS - 1) / NANO_CUDA_MMA_ROWS;
        if (tile < tiles) {
            *first_row = tile * NANO_CUDA_MMA_ROWS;
            return i;
        }
        tile -= tiles;
    }
    return -1;
}

/* A segment's fields: read with constant indices, so that the arguments stay where they are. */
static __device__ inline struct nano_cuda_segment
nano_cuda_segment_of(const struct nano_cuda_linear_args &a, int index)
{
    struct nano_cuda_segment segment = a.segments[0];
    for (int i = 1; i < NANO_MAX_SEGMENTS; i++)
        if (index == i)
            segment = a.segments[i];
    return segment;
}

/* Slices are whole spans of four chunks, 128 columns, but for what a row ends with: a warp then
 * reads what a span has in common once. Of few spans the first slices are empty. */
static __device__ inline int nano_cuda_slice_begin(int num_chunks, int slice)
{
    const int spans = (num_chunks + 3) / 4;
    return min(num_chunks,
               static_cast<int>(static_cast<int64_t>(spans) * slice / NANO_CUDA_SLICES) * 4);
}

/* Row `row` of `segment` for output row `t`, whose input has a scale; `up` is the factor's sum of a
 * glu. Every rounding is written down: else one kernel could have the product with a scale and the
 * sum after it fused, and another one not. */
static __device__ inline void nano_cuda_linear_finish(const struct nano_cuda_linear_args &a,
                                                      const struct nano_cuda_segment &segment,
                                                      int expert, int64_t t, int64_t column,
                                                      int row, float scale, float sum, float up)
{
    sum = __fmul_rn(sum, __fmul_rn(scale, segment.scale));
    up = __fmul_rn(up, __fmul_rn(scale, a.segments[1].scale));
    const int64_t bias_row = static_cast<int64_t>(expert) * segment.rows + row;
    if (segment.bias)
        sum = __fadd_rn(sum, segment.bias[bias_row]);
    if (a.glu) {
        if (a.segments[1].bias)
            up = __fadd_rn(up, a.segments[1].bias[bias_row]);
        sum = nano_cuda_gated(a.act, sum, up);
    } else {
        sum = nano_cuda_act(a.act, sum);
    }
    float *out = segment.out.data + t * segment.out.stride + column + row;
    *out = a.accumulate ? __fadd_rn(*out, sum) : sum;
}

#endif
