/* KV store and attention on the GPU.
 *
 * A pool is [num_blocks][num_kv_heads][block_size][head_dim] elements of its format. With Q8_0 a
 * block has its codes, int8, and behind them [num_kv_heads][block_size] scales, float. Elements and
 * scales of a block are each rounded up to 16 bytes. head_dim and v_head_dim are at most 576. */
#ifndef NANO_RUNNER_CUDA_CUDA_ATTENTION_H
#define NANO_RUNNER_CUDA_CUDA_ATTENTION_H

#include "runner/cuda/cuda_batch.h"
#include "runner/cuda/cuda_device.h"
#include "simd/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of one block of K or V. */
size_t nano_cuda_kv_block_bytes(enum nano_kv_format format, int num_kv_heads, int head_dim,
                                int block_size);

struct nano_cuda_kv_store_args {
    enum nano_kv_format format;
    int num_kv_heads, head_dim, v_head_dim, block_size;
    bool v_in_k; /* v is not looked at */
    struct nano_cuda_view k, v;
    const int32_t *slots; /* [rows]; below 0: the row is padding */
    void *k_pool, *v_pool;
    int rows;
};

void nano_cuda_kv_store(struct nano_cuda_device *device,
                        const struct nano_cuda_kv_store_args *args);

struct nano_cuda_attention_args {
    const struct nano_cuda_batch *batch; /* on the device */
    int group;
    enum nano_kv_format format;
    int num_heads, num_kv_heads, head_dim, v_head_dim, block_size;
    bool v_in_k; /* V is the first v_head_dim elements of K; v_pool is not looked at */
    int window;  /* 0: none */
    bool bidirectional;
    float scale, softcap;
    const float *sinks;           /* [num_heads] on the device, or NULL */
    struct nano_cuda_view q, out; /* head h: columns from h * head_dim, h * v_head_dim */
    const void *k_pool, *v_pool;
    float *partials; /* [partial rows][num_heads][nano_cuda_partial_floats] */
    int num_blocks;  /* of threads that the GPU runs at a time, about */
};

/* Blocks that go through the items, for each KV head: about twice what runs at a time, since even a
 * block that finds nothing to do takes its turn. */
static inline int nano_cuda_attention_blocks(const struct nano_cuda_attention_args *args)
{
    return 2 * args->num_blocks / args->num_kv_heads + 1;
}

/* Queries of one item, at most, for a shape. */
int nano_cuda_attention_queries(int num_heads, int num_kv_heads);

/* Floats of a partial row for one head: the weighted sum, the largest score, the sum of weights. */
static inline int64_t nano_cuda_partial_floats(int v_head_dim)
{
    return v_head_dim + 2;
}

/* All items of the group, and then its merges. A row's bits do not depend on how it was cut into
 * items, nor on what else is in the batch. */
void nano_cuda_attention(struct nano_cuda_device *device,
                         const struct nano_cuda_attention_args *args);

#ifdef __cplusplus
}
#endif

#endif
