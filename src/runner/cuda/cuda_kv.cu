/* The KV store: a warp takes K or V of one token and head. */
#include "runner/cuda/cuda_attention.h"
#include "runner/cuda/cuda_attention_rows.h"
#include "runner/cuda/cuda_kv_head.h"
#include "runner/cuda/cuda_lang.h"

namespace
{
enum { WARPS = 4 };

template <enum nano_kv_format Format>
__global__ void store_kernel(struct nano_cuda_kv_store_args args)
{
    nano_wait_for_earlier();
    const int lane = static_cast<int>(threadIdx.x) % NANO_WARP;
    const int parts = args.num_kv_heads * (args.v_in_k ? 1 : 2);
    const int64_t index =
        static_cast<int64_t>(blockIdx.x) * WARPS + static_cast<int>(threadIdx.x) / NANO_WARP;
    const int64_t row = index / parts;
    if (row >= args.rows || args.slots[row] < 0)
        return;
    const int part = static_cast<int>(index % parts);
    const bool is_v = part >= args.num_kv_heads;
    const int head = is_v ? part - args.num_kv_heads : part;
    const int dim = is_v ? args.v_head_dim : args.head_dim;
    const struct nano_cuda_view view = is_v ? args.v : args.k;
    const float *x = view.data + row * view.stride + static_cast<int64_t>(head) * dim;
    const struct nano_kv_pool pool = nano_kv_pool_of(args.format, is_v ? args.v_pool : args.k_pool,
                                                     args.num_kv_heads, dim, args.block_size);
    const int64_t block = args.slots[row] / args.block_size;
    const int64_t token =
        static_cast<int64_t>(head) * args.block_size + args.slots[row] % args.block_size;
    nano_cuda_kv_store_head<Format>(pool, block, token, x, lane);
}
} // namespace

size_t nano_cuda_kv_block_bytes(enum nano_kv_format format, int num_kv_heads, int head_dim,
                                int block_size)
{
    return static_cast<size_t>(
        nano_kv_pool_of(format, NULL, num_kv_heads, head_dim, block_size).block_bytes);
}

void nano_cuda_kv_store(struct nano_cuda_device *device, const struct nano_cuda_kv_store_args *args)
{
    static void (*const kernels[NANO_NUM_KV_FORMATS])(struct nano_cuda_kv_store_args) = {
        store_kernel<NANO_KV_FORMAT_F32>, store_kernel<NANO_KV_FORMAT_F16>,
        store_kernel<NANO_KV_FORMAT_BF16>, store_kernel<NANO_KV_FORMAT_Q8_0>,
        store_kernel<NANO_KV_FORMAT_FP8>};
    const int64_t parts =
        static_cast<int64_t>(args->rows) * args->num_kv_heads * (args->v_in_k ? 1 : 2);
    nano_launch_early(device, kernels[args->format],
                      dim3(static_cast<unsigned>((parts + WARPS - 1) / WARPS)),
                      dim3(WARPS * NANO_WARP), 0, *args);
}
