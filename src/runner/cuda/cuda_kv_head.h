/* K or V of one token and head on its way into a pool, by a warp; for kernel files. */
#ifndef NANO_RUNNER_CUDA_CUDA_KV_HEAD_H
#define NANO_RUNNER_CUDA_CUDA_KV_HEAD_H

#include "runner/cuda/cuda_attention_rows.h"
#include "runner/cuda/cuda_kv.h"
#include "runner/cuda/cuda_lang.h"

static __device__ inline void nano_cuda_kv_store_q8_0(uint8_t *values, float *scale, const float *x,
                                                      int dim, int lane)
{
    float largest = 0;
    for (int i = lane; i < dim; i += NANO_WARP)
        largest = fmaxf(largest, fabsf(x[i]));
    const float step = nano_kv_q8_0_scale(nano_warp_max(largest));
    const float inverse = nano_kv_q8_0_inverse(step);
    for (int i = lane; i < dim; i += NANO_WARP)
        reinterpret_cast<int8_t *>(values)[i] = nano_kv_q8_0_code(x[i], inverse);
    if (lane == 0)
        *scale = step;
}

/* x[0 … dim of the pool) becomes token `token` (head * block_size + offset) of a block. */
template <enum nano_kv_format Format>
static __device__ inline void nano_cuda_kv_store_head(const struct nano_kv_pool &pool,
                                                      int64_t block, int64_t token, const float *x,
                                                      int lane)
{
    uint8_t *values = const_cast<uint8_t *>(nano_kv_values(pool, block, token));
    if (Format == NANO_KV_FORMAT_Q8_0) {
        nano_cuda_kv_store_q8_0(values, const_cast<float *>(nano_kv_scale(pool, block, token)), x,
                                pool.dim, lane);
    } else {
        for (int i = lane; i < pool.dim; i += NANO_WARP)
            nano_kv_store_value<Format>(values, i, x[i]);
    }
}

#endif
