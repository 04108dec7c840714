/* BF16 weights as F16. */
#include "runner/cuda/cuda_convert.h"

#include "runner/cuda/cuda_lang.h"

namespace
{
enum { CONVERT_THREADS = 256, CONVERT_BLOCKS = 1024 };

/* Threads go through pairs of weights. */
__device__ int64_t first_pair(void)
{
    return static_cast<int64_t>(blockIdx.x) * CONVERT_THREADS + threadIdx.x;
}

__device__ int64_t pair_step(void)
{
    return static_cast<int64_t>(gridDim.x) * CONVERT_THREADS;
}

__global__ void max_kernel(const struct nano_cuda_convert_args a)
{
    const uint32_t *pairs = reinterpret_cast<const uint32_t *>(a.weights);
    int32_t largest = 0;
    for (int64_t i = first_pair(); i < a.count / 2; i += pair_step()) {
        const int32_t low = pairs[i] & 0x7fff, high = pairs[i] >> 16 & 0x7fff;
        largest = max(largest, max(low, high));
    }
    if (largest > 0)
        atomicMax(a.max_bits, largest);
}

__global__ void convert_kernel(const struct nano_cuda_convert_args a)
{
    uint32_t *pairs = reinterpret_cast<uint32_t *>(a.weights);
    const float factor = nano_f32_from_bits(static_cast<uint32_t>(a.shift + 127) << 23);
    for (int64_t i = first_pair(); i < a.count / 2; i += pair_step())
        pairs[i] = nano_f16x2_from_f32(nano_f32_from_bits(pairs[i] << 16) * factor,
                                       nano_f32_from_bits(pairs[i] & 0xffff0000u) * factor);
}
} // namespace

void nano_cuda_find_max(struct nano_cuda_device *device, const struct nano_cuda_convert_args *args)
{
    nano_launch(device, max_kernel, dim3(CONVERT_BLOCKS), dim3(CONVERT_THREADS), 0, *args);
}

void nano_cuda_convert(struct nano_cuda_device *device, const struct nano_cuda_convert_args *args)
{
    nano_launch(device, convert_kernel, dim3(CONVERT_BLOCKS), dim3(CONVERT_THREADS), 0, *args);
}
