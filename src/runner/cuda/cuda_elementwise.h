/* Small ops on the GPU, one kernel each; what they compute stands in models/program.h and, to the
 * letter, in simd/ref. Rows do not depend on each other. */
#ifndef NANO_RUNNER_CUDA_CUDA_ELEMENTWISE_H
#define NANO_RUNNER_CUDA_CUDA_ELEMENTWISE_H

#include "runner/cuda/cuda_batch.h"
#include "runner/cuda/cuda_device.h"
#include "simd/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* NANO_OP_ROPE; angles are in double: positions may be large. */
struct nano_cuda_rope_args {
    struct nano_cuda_view x;
    const int32_t *positions; /* [rows] */
    const float *inv_freq;    /* [num_pairs], on the device */
    float magnitude;
    int num_pairs, num_heads, head_dim, rope_offset;
    bool adjacent;
    int rows;
};
void nano_cuda_rope(struct nano_cuda_device *device, const struct nano_cuda_rope_args *args);

/* NANO_OP_GLU: out = act(gate) * up; gate_width 1 goes with every column. */
struct nano_cuda_glu_args {
    enum nano_act act;
    struct nano_cuda_view out, gate, up;
    int64_t width, gate_width;
    int rows;
};
void nano_cuda_glu(struct nano_cuda_device *device, const struct nano_cuda_glu_args *args);

/* NANO_OP_ACTIVATE, _ADD (out += scale * in), _SCALE, _SOFTCAP, _POSITION_SCALE. */
struct nano_cuda_map_args {
    enum nano_op_kind kind;
    enum nano_act act;
    struct nano_cuda_view out, in;
    int64_t width;
    float scale, softcap;
    int scale_length;
    const int32_t *positions;
    int rows;
};
void nano_cuda_map(struct nano_cuda_device *device, const struct nano_cuda_map_args *args);

/* NANO_OP_SPLIT_HEADS. */
struct nano_cuda_split_heads_args {
    struct nano_cuda_view in, out[NANO_MAX_SEGMENTS];
    int64_t head_width[NANO_MAX_SEGMENTS]; /* columns of a head that go to out[i] */
    int num_out, num_heads, rows;
};
void nano_cuda_split_heads(struct nano_cuda_device *device,
                           const struct nano_cuda_split_heads_args *args);

/* out row i = in row row_ids[i]. */
struct nano_cuda_gather_args {
    struct nano_cuda_view out, in;
    const int32_t *row_ids; /* [rows] */
    int64_t width;
    int rows;
};
void nano_cuda_gather(struct nano_cuda_device *device, const struct nano_cuda_gather_args *args);

/* tokens[r] = index of the largest of row r: the first of equal ones; NaN never wins; 0 if all
 * are NaN. */
struct nano_cuda_argmax_args {
    struct nano_cuda_view in;
    int64_t width;
    int32_t *tokens; /* [rows] */
    int rows;
};
void nano_cuda_argmax(struct nano_cuda_device *device, const struct nano_cuda_argmax_args *args);

/* NANO_OP_ROUTE: out is rows of num_used struct nano_route. */
struct nano_cuda_route_args {
    struct nano_cuda_view logits, out;
    const float *bias; /* [num_experts], or NULL */
    struct nano_moe moe;
    int rows;
};
void nano_cuda_route(struct nano_cuda_device *device, const struct nano_cuda_route_args *args);

#ifdef __cplusplus
}
#endif

#endif
