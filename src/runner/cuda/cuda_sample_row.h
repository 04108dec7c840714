/* A row of logits and the block of threads that samples from it: for cuda_sample.cu.
 *
 * Sums are of integers, so it does not matter in which order threads add them up. */
#ifndef NANO_RUNNER_CUDA_CUDA_SAMPLE_ROW_H
#define NANO_RUNNER_CUDA_CUDA_SAMPLE_ROW_H

#include <math.h>

#include "runner/cuda/cuda_lang.h"

namespace
{
enum { THREADS = 1024, WARPS = THREADS / NANO_WARP };
/* Values that a thread has loaded before it looks at the first. */
enum { LOADS = 8 };

/* ---- logits as keys ---- */

constexpr uint32_t KEY_MINUS_INFINITY = 0x007fffffu, KEY_INFINITY = 0xff800000u;

/* Keys are ordered as logits are. NaN comes first, and zeros are one. */
__device__ uint32_t key_of(float x)
{
    if (isnan(x))
        return 0;
    const uint32_t bits = nano_bits_from_f32(__fadd_rn(x, 0.0f));
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ float logit_of(uint32_t key)
{
    return nano_f32_from_bits(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

/* Candidates as numbers: what comes first is larger, and of equal logits the first token's. */
__device__ uint64_t candidate_of(uint32_t key, int token)
{
    return static_cast<uint64_t>(key) << 32 | ~static_cast<uint32_t>(token);
}

__device__ int token_of(uint64_t candidate)
{
    return static_cast<int>(~static_cast<uint32_t>(candidate));
}

/* ---- a block and its row ---- */

/* What the threads of a block tell each other. */
struct sums {
    uint64_t of_warps[WARPS];
    int token;
};

struct row {
    const float *logits;
    int width;
    float max, scale;
    uint32_t max_key;
};

/* In units of 2^-44. */
__device__ uint64_t weight_of(const struct row &row, float logit)
{
    return static_cast<uint64_t>(
        __fmul_rn(expf(__fmul_rn(logit - row.max, row.scale)), 17592186044416.0f));
}

/* The sum of what the lanes up to this one give. */
template <typename T> __device__ T scan_warp(T value)
{
    const int lane = threadIdx.x % NANO_WARP;
    for (int d = 1; d < NANO_WARP; d *= 2) {
        const T other = nano_shfl(value, lane - d);
        value += lane >= d ? other : 0;
    }
    return value;
}

/* The sum of what the threads before this one give, and in *total that of all. */
template <typename T> __device__ T scan(struct sums &shared, T value, T *total)
{
    const int lane = threadIdx.x % NANO_WARP, warp = threadIdx.x / NANO_WARP;
    const T sum = scan_warp(value);
    if (lane == NANO_WARP - 1)
        shared.of_warps[warp] = sum;
    __syncthreads();
    const T warps = scan_warp(static_cast<T>(shared.of_warps[lane]));
    *total = nano_shfl(warps, NANO_WARP - 1);
    const T before = nano_shfl(warps, warp - 1);
    __syncthreads();
    return (warp > 0 ? before : 0) + sum - value;
}

/* Calls f(logit, token) for tokens first, first + stride, …, and for NaN now and then. */
template <typename F>
__device__ void for_each(const struct row &row, int first, int stride, int end, F f)
{
    for (int begin = first; begin < end; begin += LOADS * stride) {
        float x[LOADS];
        for (int i = 0; i < LOADS; i++)
            x[i] = begin + i * stride < end ? row.logits[begin + i * stride] : NAN;
        for (int i = 0; i < LOADS; i++)
            f(x[i], begin + i * stride);
    }
}

template <typename F> __device__ void for_each(const struct row &row, F f)
{
    for_each(row, static_cast<int>(threadIdx.x), THREADS, row.width, f);
}

/* The first of the largest; where all are NaN, token 0. */
__device__ uint64_t find_best(struct sums &shared, const struct row &row)
{
    uint64_t best = candidate_of(0, 0);
    for_each(row, [&](float x, int token) { best = max(best, candidate_of(key_of(x), token)); });
    for (int mask = NANO_WARP / 2; mask; mask /= 2)
        best = max(best, nano_shfl_xor(best, mask));
    if (threadIdx.x % NANO_WARP == 0)
        shared.of_warps[threadIdx.x / NANO_WARP] = best;
    __syncthreads();
    best = shared.of_warps[threadIdx.x % NANO_WARP];
    for (int mask = NANO_WARP / 2; mask; mask /= 2)
        best = max(best, nano_shfl_xor(best, mask));
    __syncthreads();
    return best;
}

/* ---- in the order of tokens ---- */

/* Tokens [warp * share, (warp + 1) * share) are a warp's share. */
__device__ int share_of_warp(const struct row &row)
{
    return (row.width + THREADS - 1) / THREADS * NANO_WARP;
}

/* Leaves the sum of value(logit) of each warp's share in of_warps, and returns that of all. */
template <typename F>
__device__ uint64_t sum_shares(struct sums &shared, const struct row &row, F value)
{
    const int lane = threadIdx.x % NANO_WARP, warp = threadIdx.x / NANO_WARP;
    const int share = share_of_warp(row), begin = warp * share;
    uint64_t sum = 0;
    for_each(row, begin + lane, NANO_WARP, min(begin + share, row.width),
             [&](float x, int) { sum += value(x); });
    for (int mask = NANO_WARP / 2; mask; mask /= 2)
        sum += nano_shfl_xor(sum, mask);
    if (lane == 0)
        shared.of_warps[warp] = sum;
    __syncthreads();
    return nano_shfl(scan_warp(shared.of_warps[lane]), WARPS - 1);
}

/* The first token at which the sum of value(logit) reaches the target; -1: none. sum_shares of the
 * same values comes first. */
template <typename F>
__device__ int find_token(struct sums &shared, const struct row &row, uint64_t target, F value)
{
    const uint64_t sums = scan_warp(shared.of_warps[threadIdx.x % NANO_WARP]);
    const int warp = __popc(nano_ballot(sums < target));
    uint64_t sum = nano_shfl(sums, warp - 1);
    if (warp == 0)
        sum = 0;
    __syncthreads();
    if (threadIdx.x == 0)
        shared.token = -1;
    const int begin = warp * share_of_warp(row);
    const int end = min(begin + share_of_warp(row), row.width);
    for (int first = begin; first < end && sum < target; first += THREADS) {
        const int token = first + static_cast<int>(threadIdx.x);
        const uint64_t own = token < end ? value(row.logits[token]) : 0;
        uint64_t total;
        const uint64_t before = sum + scan(shared, own, &total);
        if (before < target && before + own >= target)
            shared.token = token;
        sum += total;
    }
    __syncthreads();
    return shared.token;
}
} // namespace

#endif
