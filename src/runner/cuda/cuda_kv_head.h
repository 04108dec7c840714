/* K or V of one token and head on its way into a pool, by a warp; for kernel files. */
#ifndef NANO_RUNNER_CUDA_CUDA_KV_HEAD_H
#define NANO_RUNNER_CUDA_CUDA_KV_HEAD_H

#include <float.h>

#include "runner/cuda/cuda_attention_rows.h"
#include "runner/cuda/cuda_lang.h"

/* A value of a format without scales. */
template <enum nano_kv_format Format>
static __device__ inline void nano_cuda_kv_store_value(uint8_t *values, int i, float x)
{
    if (Format == NANO_KV_FORMAT_F32)
        reinterpret_cast<float *>(values)[i] = x;
    else
        reinterpret_cast<uint16_t *>(values)[i] = static_cast<uint16_t>(
            Format == NANO_KV_FORMAT_F16 ? nano_f16x2_from_f32(x, 0) : nano_bf16x2_from_f32(x, 0));
}

static __device__ inline void nano_cuda_kv_store_q8_0(uint8_t *values, float *scale, const float *x,
                                                      int dim, int lane)
{
    float largest = 0;
    for (int i = lane; i < dim; i += NANO_WARP)
        largest = fmaxf(largest, fabsf(x[i]));
    const float step = nano_warp_max(largest) / 127;
    const float inverse = step >= FLT_MIN ? 1 / step : 0;
    for (int i = lane; i < dim; i += NANO_WARP) {
        const float level = rintf(__fmul_rn(x[i], inverse));
        /* What is not finite becomes 0, as in the reference. */
        reinterpret_cast<int8_t *>(values)[i] =
            static_cast<int8_t>(fabsf(level) <= 127 ? level : 0);
    }
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
            nano_cuda_kv_store_value<Format>(values, i, x[i]);
    }
}

#endif
