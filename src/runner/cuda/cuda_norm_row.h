/* A norm of one group of columns, for kernel files: those that make it on their way to something
 * else and those that do nothing else give the same bits.
 *
 * A group is summed by a warp, or by a block of NANO_CUDA_NORM_THREADS where it is wide; which of
 * the two, and so the order of the sum, depends on its width alone. */
#ifndef NANO_RUNNER_CUDA_CUDA_NORM_ROW_H
#define NANO_RUNNER_CUDA_CUDA_NORM_ROW_H

#include "runner/cuda/cuda_lang.h"
#include "runner/cuda/cuda_norm.h"

enum {
    NANO_CUDA_NORM_THREADS = 256,
    NANO_CUDA_NORM_WARPS = NANO_CUDA_NORM_THREADS / NANO_WARP,
    NANO_CUDA_NORM_WIDE = 1024, /* columns from which on a block works on one group */
};

/* Of what the warps of a block have. */
template <bool Max> static __device__ inline float nano_cuda_norm_fold(const float *warps)
{
    float value = warps[0];
    for (int i = 1; i < NANO_CUDA_NORM_WARPS; i++)
        value = Max ? fmaxf(value, warps[i]) : __fadd_rn(value, warps[i]);
    return value;
}

/* Sum, or the largest, of what the threads of a team have: a warp or the block. */
template <bool Block, bool Max>
static __device__ inline float nano_cuda_norm_reduce(float value, float *shared)
{
    value = Max ? nano_warp_max(value) : nano_warp_sum(value);
    if (!Block)
        return value;
    __syncthreads(); /* the last one's reads are over */
    if (threadIdx.x % NANO_WARP == 0)
        shared[threadIdx.x / NANO_WARP] = value;
    __syncthreads();
    return nano_cuda_norm_fold<Max>(shared);
}

/* A power of two that brings |x| <= max below 2^15, near the end of F16's range. */
static __device__ inline float nano_cuda_half_scale(float max)
{
    int exponent = static_cast<int>(nano_bits_from_f32(max) >> 23 & 255) - 127;
    exponent = exponent < -100 ? -100 : exponent;
    return nano_f32_from_bits(static_cast<uint32_t>(exponent - 14 + 127) << 23);
}

/* A column of the group, normalised. */
struct nano_cuda_normal {
    const float *in, *weight, *bias;
    float mean, factor;

    __device__ float operator()(int64_t c) const
    {
        float x = __fmul_rn(in[c] - mean, factor);
        if (weight)
            x = __fmul_rn(x, weight[c]);
        return bias ? __fadd_rn(x, bias[c]) : x;
    }

    /* use(c, column c) of a thread's columns. The usual norm has a loop without branches, whose
     * loads can be under way together. */
    template <class Use>
    __device__ void each(int64_t width, int thread, int num_threads, const Use &use) const
    {
        if (weight && !bias) {
#pragma unroll 4
            for (int64_t c = thread; c < width; c += num_threads)
                use(c, __fmul_rn(__fmul_rn(in[c] - mean, factor), weight[c]));
        } else {
            for (int64_t c = thread; c < width; c += num_threads)
                use(c, (*this)(c));
        }
    }

    /* What a thread of a team adds to the sums that mean and factor come from. */
    __device__ float sum(int64_t width, int thread, int num_threads) const
    {
        float sum = 0;
        for (int64_t c = thread; c < width; c += num_threads)
            sum = __fadd_rn(sum, in[c]);
        return sum;
    }

    __device__ float sum_of_squares(int64_t width, int thread, int num_threads) const
    {
        float sum = 0;
        for (int64_t c = thread; c < width; c += num_threads)
            sum = __fmaf_rn(in[c] - mean, in[c] - mean, sum);
        return sum;
    }

    __device__ void set_factor(enum nano_cuda_norm_kind kind, float sum, int64_t width, float eps)
    {
        factor = kind == NANO_CUDA_NORM_L2
                     ? 1.0f / fmaxf(sqrtf(sum), eps)
                     : 1.0f / sqrtf(__fadd_rn(sum / static_cast<float>(width), eps));
    }

    __device__ float largest(int64_t width, int thread, int num_threads) const
    {
        float largest = 0;
        each(width, thread, num_threads,
             [&](int64_t, float value) { largest = fmaxf(largest, fabsf(value)); });
        return largest;
    }

    /* Columns 2 * pair and the one after it as halves, zero behind the width. */
    __device__ uint32_t halves(int64_t pair, int64_t width, float inverse_scale) const
    {
        const float first = 2 * pair < width ? (*this)(2 * pair) : 0;
        const float second = 2 * pair + 1 < width ? (*this)(2 * pair + 1) : 0;
        return nano_f16x2_from_f32(__fmul_rn(first, inverse_scale),
                                   __fmul_rn(second, inverse_scale));
    }
};

/* Finds mean and factor, all threads of a team together. */
template <bool Block>
static __device__ inline void nano_cuda_norm_find(struct nano_cuda_normal *n,
                                                  enum nano_cuda_norm_kind kind, int64_t width,
                                                  float eps, int thread, float *shared)
{
    const int num_threads =
        Block ? static_cast<int>(NANO_CUDA_NORM_THREADS) : static_cast<int>(NANO_WARP);
    if (kind == NANO_CUDA_NORM_NONE)
        return;
    if (kind == NANO_CUDA_NORM_LAYER)
        n->mean = nano_cuda_norm_reduce<Block, false>(n->sum(width, thread, num_threads), shared) /
                  static_cast<float>(width);
    const float sum = n->sum_of_squares(width, thread, num_threads);
    n->set_factor(kind, nano_cuda_norm_reduce<Block, false>(sum, shared), width, eps);
}

#endif
