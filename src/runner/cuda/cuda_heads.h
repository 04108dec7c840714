/* What lies between a layer's q, k, v linear and its attention, in one launch: norms of heads,
 * rotary embedding, KV store. A head's bits are those of the kernels that do one of it each. */
#ifndef NANO_RUNNER_CUDA_CUDA_HEADS_H
#define NANO_RUNNER_CUDA_CUDA_HEADS_H

#include "runner/cuda/cuda_batch.h"
#include "runner/cuda/cuda_device.h"
#include "runner/cuda/cuda_norm.h"
#include "simd/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    NANO_CUDA_HEAD_PARTS = 3,     /* q, k, v */
    NANO_CUDA_HEAD_COLUMNS = 576, /* of a head, at most */
};

/* num_heads heads of neighbouring columns, of which each is normalised, then turned, then stored.
 */
struct nano_cuda_head_part {
    struct nano_cuda_view x;
    int num_heads, head_dim;

    enum nano_cuda_norm_kind norm;
    const float *weight, *bias; /* of a head, or NULL */
    int64_t weight_stride;      /* from head to head; 0: all have the same */
    float eps;

    const float *inv_freq; /* [num_pairs]; NULL: it is not turned */
    float magnitude;
    int num_pairs, rope_offset;
    bool adjacent;

    void *pool; /* NULL: it is not stored */
};

struct nano_cuda_heads_args {
    struct nano_cuda_head_part parts[NANO_CUDA_HEAD_PARTS];
    int num_parts;
    const int32_t *positions; /* [rows] */
    const int32_t *slots;     /* [rows], if a part is stored; below 0: the row is padding */
    enum nano_kv_format format;
    int block_size;
    int rows;
};

void nano_cuda_heads(struct nano_cuda_device *device, const struct nano_cuda_heads_args *args);

#ifdef __cplusplus
}
#endif

#endif
