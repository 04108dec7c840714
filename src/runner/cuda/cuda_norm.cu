/* Norms on their own. */
#include "runner/cuda/cuda_norm.h"

#include "runner/cuda/cuda_lang.h"
#include "runner/cuda/cuda_norm_row.h"

namespace
{
template <bool Block> __global__ void norm_kernel(const struct nano_cuda_norm_args a)
{
    nano_wait_for_earlier();
    __shared__ float shared[NANO_CUDA_NORM_WARPS];
    const int num_threads =
        Block ? static_cast<int>(NANO_CUDA_NORM_THREADS) : static_cast<int>(NANO_WARP);
    const int thread = static_cast<int>(threadIdx.x) % num_threads;
    const int64_t item =
        Block ? blockIdx.x
              : static_cast<int64_t>(blockIdx.x) * NANO_CUDA_NORM_WARPS + threadIdx.x / NANO_WARP;
    if (item >= static_cast<int64_t>(a.rows) * a.num_groups)
        return;
    const int64_t row = item / a.num_groups, group = item % a.num_groups;
    struct nano_cuda_normal n = {a.in.data + row * a.in.stride + group * a.group_stride,
                                 a.weight ? a.weight + group * a.weight_stride : NULL,
                                 a.bias ? a.bias + group * a.weight_stride : NULL, 0, 1};
    nano_cuda_norm_find<Block>(&n, a.kind, a.width, a.eps, thread, shared);
    if (a.output == NANO_CUDA_NORM_F32) {
        float *out = a.out.data + row * a.out.stride + group * a.out_group_stride;
        for (int64_t c = thread; c < a.width; c += num_threads)
            out[c] = n(c);
        return;
    }
    const float largest = n.largest(a.width, thread, num_threads);
    const float scale = nano_cuda_half_scale(nano_cuda_norm_reduce<Block, true>(largest, shared)),
                inverse = 1.0f / scale;
    if (thread == 0)
        a.scales[item] = scale;
    uint32_t *half = reinterpret_cast<uint32_t *>(a.half + item * a.half_stride);
    for (int64_t pair = thread; pair < a.half_stride / 2; pair += num_threads)
        half[pair] = n.halves(pair, a.width, inverse);
}
} // namespace

void nano_cuda_norm(struct nano_cuda_device *device, const struct nano_cuda_norm_args *args)
{
    const int64_t items = static_cast<int64_t>(args->rows) * args->num_groups;
    if (args->width >= NANO_CUDA_NORM_WIDE)
        nano_launch_early(device, norm_kernel<true>, dim3(static_cast<unsigned>(items)),
                          dim3(NANO_CUDA_NORM_THREADS), 0, *args);
    else
        nano_launch_early(
            device, norm_kernel<false>,
            dim3(static_cast<unsigned>((items + NANO_CUDA_NORM_WARPS - 1) / NANO_CUDA_NORM_WARPS)),
            dim3(NANO_CUDA_NORM_THREADS), 0, *args);
}
