/* Linears on the GPU: y[t][r] (+)= act(sum over k of weight[r][k] * x[t][k] + bias[r]).
 *
 * Every sum is made in one order, whatever kernel the number of rows calls for, so that a row's
 * bits do not depend on the batch: the columns are cut into NANO_CUDA_SLICES slices of whole spans
 * of 128, each slice is summed from its beginning (on the tensor cores, by the same instruction
 * with the same operands), and the slices' sums are added in order.
 *
 *   skinny  a block of threads has 8 or 16 rows of the weights and a warp for each slice; the
 *           weights go from memory to the tensor cores without a stop. Limited by reading them:
 *           decode.
 *   tile    a block has up to 128 rows and 192 tokens, in shared memory, and goes through the
 *           slices one after the other: prefill. Of halves, to which quantised weights are unpacked
 *           before; or on their way, in smaller blocks, for experts and some dozens of tokens. */
#ifndef NANO_RUNNER_CUDA_CUDA_LINEAR_H
#define NANO_RUNNER_CUDA_CUDA_LINEAR_H

#include "runner/cuda/cuda_batch.h"
#include "runner/cuda/cuda_device.h"
#include "runner/cuda/cuda_norm.h"
#include "simd/formats.h"
#include "simd/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    NANO_CUDA_CHUNK = 32, /* columns */
    NANO_CUDA_SLICES = 8,
    NANO_CUDA_SKINNY_ROWS = 32,     /* of the input, up to which the skinny kernel is used */
    NANO_CUDA_MADE_ROWS = 4,        /* for which it can make its input itself */
    NANO_CUDA_TILE_SLOTS = 64,      /* that the tile kernel of quantised weights takes at a time */
    NANO_CUDA_HALF_TILE_SLOTS = 128 /* and that of F16 */
};

/* Rows of one matrix. */
struct nano_cuda_segment {
    const void *weight;
    int64_t row_bytes;
    float scale;       /* of sums: a power of two; 1 for F32 weights */
    const float *bias; /* or NULL */
    struct nano_cuda_view out;
    int rows;
};

/* Some of an expert's slots: those [first, first + count) of the order that nano_cuda_moe_plan
 * makes. */
struct nano_cuda_expert_tile {
    int32_t expert, first, count;
};

struct nano_cuda_linear_args {
    enum nano_format format; /* of all segments; not BF16, see cuda_convert.h */
    struct nano_cuda_segment segments[NANO_MAX_SEGMENTS];
    int num_segments;
    bool accumulate;
    bool glu; /* two segments: act(first) * second goes to the first one's out */
    enum nano_act act;
    int64_t cols;

    /* Row t of the input; F32 weights: f32, others: half and, of F16, scales (cuda_norm.h). */
    struct nano_cuda_view f32;
    const uint16_t *half;
    int64_t half_stride;
    const float *scales;
    int rows;

    /* With makes_input, half and scales are not looked at: the kernel makes them of f32, as
     * nano_cuda_norm does. */
    bool makes_input;
    enum nano_cuda_norm_kind norm;
    const float *norm_weight, *norm_bias;
    float norm_eps;

    /* HEAD_LINEAR: a matrix per head; head h of row t is row t * num_heads + h of `half`, or
     * columns from h * in_stride of f32, and its output begins out_stride columns after the last
     * one's. */
    int num_heads; /* 1: an ordinary linear */
    int64_t head_bytes, in_stride, out_stride;

    /* Experts: `tiles` say which rows go with which; rows are then slots. Slot s is in row
     * slot_rows[s] of the input, and in row slots[s] of the output. */
    const struct nano_cuda_expert_tile *tiles; /* NULL: no experts */
    int tile_slots;                            /* of each, at most: which kernel is taken */
    const int32_t *num_tiles;
    int max_tiles;
    const int32_t *in_rows, *out_rows;
    int64_t expert_bytes;
};

void nano_cuda_linear(struct nano_cuda_device *device, const struct nano_cuda_linear_args *args);

/* True if it can and should make its input: rows are few, and reading them again in each block
 * costs less than a launch. The args without `half` and `scales`. */
bool nano_cuda_linear_can_make_input(const struct nano_cuda_linear_args *args);

/* Rows of `format` as F16: out [rows][half_stride], zero behind cols. */
struct nano_cuda_unpack_args {
    enum nano_format format;
    const void *weight;
    int64_t row_bytes, cols;
    uint16_t *out;
    int64_t half_stride;
    int rows;
};
void nano_cuda_unpack(struct nano_cuda_device *device, const struct nano_cuda_unpack_args *args);

#ifdef __cplusplus
}
#endif

#endif
