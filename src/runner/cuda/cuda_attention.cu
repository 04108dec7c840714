/* Attention: which kernel, and the merge of partial rows. */
#include "runner/cuda/cuda_attention.h"
#include "runner/cuda/cuda_attention_rows.h"
#include "runner/cuda/cuda_lang.h"

namespace
{
enum { WARPS = 4, AHEAD = 8, TILE_ROWS = 64 };
enum { MERGE_BLOCKS = 4 /* times num_blocks: all threads that a multiprocessor can have */ };

/* A warp takes 32 columns of a row, and reads several ranges before it adds the first: what it
 * waits for is memory. */
__device__ void merge_columns(const struct nano_attention_params &p,
                              const struct nano_cuda_attention_merge &merge, int head, int column)
{
    const int dim = p.args.v_head_dim;
    const bool inside = column < dim;
    struct nano_attention_total total = {-INFINITY, 0};
    float value = 0;
    for (int i = 0; i < merge.count; i += AHEAD) {
        float values[AHEAD], max[AHEAD], sum[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            const bool exists = i + k < merge.count;
            const float *partial = nano_attention_partial(
                p, merge.partial + static_cast<int64_t>(exists ? i + k : 0) * merge.stride, head);
            values[k] = exists && inside ? partial[column] : 0;
            max[k] = exists ? partial[dim] : -INFINITY;
            sum[k] = exists ? partial[dim + 1] : 0;
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            value = nano_attention_add_value(nano_attention_add(total, max[k], sum[k]), value,
                                             values[k]);
    }
    if (inside)
        nano_attention_out(p, merge.row, head)[column] =
            __fmul_rn(value, nano_attention_factor(p, total, head));
}

__global__ void merge_kernel(struct nano_attention_params p)
{
    nano_wait_for_earlier();
    const struct nano_cuda_batch *batch = p.args.batch;
    const struct nano_cuda_attention_merge *merges =
        reinterpret_cast<const struct nano_cuda_attention_merge *>(
            reinterpret_cast<const int32_t *>(batch) + batch->groups[p.args.group].merges);
    const int slices = (p.args.v_head_dim + NANO_WARP - 1) / NANO_WARP,
              parts = slices * p.args.num_heads;
    const int64_t count = static_cast<int64_t>(batch->groups[p.args.group].num_merges) * parts;
    const int64_t num_warps = static_cast<int64_t>(gridDim.x) * WARPS;
    for (int64_t i =
             static_cast<int64_t>(blockIdx.x) * WARPS + static_cast<int>(threadIdx.x) / NANO_WARP;
         i < count; i += num_warps) {
        const int part = static_cast<int>(i % parts);
        merge_columns(p, merges[i / parts], part / slices,
                      part % slices * NANO_WARP + static_cast<int>(threadIdx.x) % NANO_WARP);
    }
}
} // namespace

int nano_cuda_attention_queries(int num_heads, int num_kv_heads)
{
    const int queries = TILE_ROWS * num_kv_heads / num_heads;
    return queries > 1 ? queries : 1;
}

void nano_cuda_attention(struct nano_cuda_device *device,
                         const struct nano_cuda_attention_args *args)
{
    struct nano_attention_params params;
    params.args = *args;
    params.inverse_softcap = args->softcap != 0 ? 1 / args->softcap : 0;
    params.group_heads = args->num_heads / args->num_kv_heads;
    params.k = nano_kv_pool_of(args->format, args->k_pool, args->num_kv_heads, args->head_dim,
                               args->block_size);
    params.v = args->v_in_k ? params.k
                            : nano_kv_pool_of(args->format, args->v_pool, args->num_kv_heads,
                                              args->v_head_dim, args->block_size);
    if (!nano_cuda_attention_mma(device, params) && !nano_cuda_attention_mma8(device, params))
        nano_cuda_attention_any(device, params);
    nano_launch_early(device, merge_kernel,
                      dim3(static_cast<unsigned>(MERGE_BLOCKS * args->num_blocks)),
                      dim3(WARPS * NANO_WARP), 0, params);
}
