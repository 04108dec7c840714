/* Norms: a group is summed by a warp, or by a block where it is wide; which of the two, and so the
 * order of the sum, depends on its width alone. */
#include "runner/cuda/cuda_norm.h"

#include "runner/cuda/cuda_lang.h"

namespace
{
enum {
    NORM_THREADS = 256,
    NORM_WARPS = NORM_THREADS / NANO_WARP,
    WIDE = 1024, /* columns from which on a block works on one group */
};

/* Sum, or the largest, of what the threads of a team have: a warp or the block. */
template <bool Block, bool Max> __device__ float reduce(float value, float *shared)
{
    value = Max ? nano_warp_max(value) : nano_warp_sum(value);
    if (!Block)
        return value;
    __syncthreads(); /* the last one's reads are over */
    if (threadIdx.x % NANO_WARP == 0)
        shared[threadIdx.x / NANO_WARP] = value;
    __syncthreads();
    value = shared[0];
    for (int i = 1; i < NORM_WARPS; i++)
        value = Max ? fmaxf(value, shared[i]) : value + shared[i];
    return value;
}

/* A power of two that brings |x| <= max below 2^15, near the end of F16's range. */
__device__ float half_scale(float max)
{
    int exponent = static_cast<int>(nano_bits_from_f32(max) >> 23 & 255) - 127;
    exponent = exponent < -100 ? -100 : exponent;
    return nano_f32_from_bits(static_cast<uint32_t>(exponent - 14 + 127) << 23);
}

/* A column of the group, normalised. */
struct normal {
    const float *in, *weight, *bias;
    float mean, factor;

    __device__ float operator()(int64_t c) const
    {
        float x = __fmul_rn(in[c] - mean, factor);
        if (weight)
            x = __fmul_rn(x, weight[c]);
        return bias ? x + bias[c] : x;
    }
};

template <bool Block> __global__ void norm_kernel(const struct nano_cuda_norm_args a)
{
    __shared__ float shared[NORM_WARPS];
    const int num_threads = Block ? static_cast<int>(NORM_THREADS) : static_cast<int>(NANO_WARP);
    const int thread = static_cast<int>(threadIdx.x) % num_threads;
    const int64_t item =
        Block ? blockIdx.x
              : static_cast<int64_t>(blockIdx.x) * NORM_WARPS + threadIdx.x / NANO_WARP;
    if (item >= static_cast<int64_t>(a.rows) * a.num_groups)
        return;
    const int64_t row = item / a.num_groups, group = item % a.num_groups;
    struct normal n = {a.in.data + row * a.in.stride + group * a.group_stride,
                       a.weight ? a.weight + group * a.weight_stride : NULL,
                       a.bias ? a.bias + group * a.weight_stride : NULL, 0, 1};

    if (a.kind == NANO_CUDA_NORM_LAYER) {
        float sum = 0;
        for (int64_t c = thread; c < a.width; c += num_threads)
            sum += n.in[c];
        n.mean = reduce<Block, false>(sum, shared) / static_cast<float>(a.width);
    }
    if (a.kind != NANO_CUDA_NORM_NONE) {
        float sum = 0;
        for (int64_t c = thread; c < a.width; c += num_threads)
            sum = __fmaf_rn(n.in[c] - n.mean, n.in[c] - n.mean, sum);
        sum = reduce<Block, false>(sum, shared);
        n.factor = a.kind == NANO_CUDA_NORM_L2
                       ? 1.0f / fmaxf(sqrtf(sum), a.eps)
                       : 1.0f / sqrtf(sum / static_cast<float>(a.width) + a.eps);
    }
    if (a.output == NANO_CUDA_NORM_F32) {
        float *out = a.out.data + row * a.out.stride + group * a.out_group_stride;
        for (int64_t c = thread; c < a.width; c += num_threads)
            out[c] = n(c);
        return;
    }
    float largest = 0;
    for (int64_t c = thread; c < a.width; c += num_threads)
        largest = fmaxf(largest, fabsf(n(c)));
    const float scale = half_scale(reduce<Block, true>(largest, shared)), inverse = 1.0f / scale;
    if (thread == 0)
        a.scales[item] = scale;
    uint32_t *half = reinterpret_cast<uint32_t *>(a.half + item * a.half_stride);
    for (int64_t pair = thread; pair < a.half_stride / 2; pair += num_threads) {
        const float first = 2 * pair < a.width ? n(2 * pair) : 0;
        const float second = 2 * pair + 1 < a.width ? n(2 * pair + 1) : 0;
        half[pair] = nano_f16x2_from_f32(first * inverse, second * inverse);
    }
}
} // namespace

void nano_cuda_norm(struct nano_cuda_device *device, const struct nano_cuda_norm_args *args)
{
    const int64_t items = static_cast<int64_t>(args->rows) * args->num_groups;
    if (args->width >= WIDE)
        nano_launch(device, norm_kernel<true>, dim3(static_cast<unsigned>(items)),
                    dim3(NORM_THREADS), 0, *args);
    else
        nano_launch(device, norm_kernel<false>,
                    dim3(static_cast<unsigned>((items + NORM_WARPS - 1) / NORM_WARPS)),
                    dim3(NORM_THREADS), 0, *args);
}
