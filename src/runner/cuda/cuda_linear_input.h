/* A linear's input as halves, made by the kernel that multiplies with it instead of by a launch
 * before: for few rows, which each block makes anew. The bits are those of nano_cuda_norm. For
 * kernel files. */
#ifndef NANO_RUNNER_CUDA_CUDA_LINEAR_INPUT_H
#define NANO_RUNNER_CUDA_CUDA_LINEAR_INPUT_H

#include "runner/cuda/cuda_linear.h"
#include "runner/cuda/cuda_norm_row.h"

/* Dynamic shared memory: the rows as they are, and then as halves. These are so far apart that rows
 * lie in different banks. */
struct nano_cuda_made_layout {
    int f32_stride, half_stride; /* elements */
    size_t num_bytes;
};

static __host__ __device__ inline struct nano_cuda_made_layout
nano_cuda_made_layout_of(int64_t half_stride, int rows)
{
    struct nano_cuda_made_layout l;
    const int chunks = static_cast<int>(half_stride) / NANO_CUDA_CHUNK;
    l.f32_stride = chunks * NANO_CUDA_CHUNK;
    l.half_stride = (chunks | 1) * NANO_CUDA_CHUNK;
    l.num_bytes = static_cast<size_t>(rows) *
                  (static_cast<size_t>(l.f32_stride) * 4 + static_cast<size_t>(l.half_stride) * 2);
    return l;
}

/* In static shared memory: a scale for each row, and what warps give each other. */
struct nano_cuda_made_shared {
    float scales[NANO_CUDA_MADE_ROWS];
    float mean[NANO_CUDA_MADE_ROWS][NANO_CUDA_NORM_WARPS],
        squares[NANO_CUDA_MADE_ROWS][NANO_CUDA_NORM_WARPS],
        largest[NANO_CUDA_MADE_ROWS][NANO_CUDA_NORM_WARPS];
};

/* All columns of row r, normalised, take its place; returns the largest that the thread has. */
static __device__ inline float nano_cuda_made_normalise(const struct nano_cuda_normal &n,
                                                        float *row, int64_t width, int thread,
                                                        int num_threads)
{
    float largest = 0;
    n.each(width, thread, num_threads, [&](int64_t c, float value) {
        row[c] = value;
        largest = fmaxf(largest, fabsf(value));
    });
    return largest;
}

static __device__ inline void nano_cuda_made_halves(const float *row, int64_t width,
                                                    int64_t num_pairs, float inverse_scale,
                                                    uint16_t *half, int thread, int num_threads)
{
    const struct nano_cuda_normal as_is = {row, NULL, NULL, 0, 1};
    for (int64_t pair = thread; pair < num_pairs; pair += num_threads)
        reinterpret_cast<uint32_t *>(half)[pair] = as_is.halves(pair, width, inverse_scale);
}

/* A warp for each row. */
static __device__ inline void nano_cuda_make_narrow(const struct nano_cuda_linear_args &a,
                                                    float *row, uint16_t *half, float *scale)
{
    const int lane = static_cast<int>(threadIdx.x) % NANO_WARP;
    struct nano_cuda_normal n = {row, a.norm_weight, a.norm_bias, 0, 1};
    nano_cuda_norm_find<false>(&n, a.norm, a.cols, a.norm_eps, lane, NULL);
    const float largest = nano_cuda_made_normalise(n, row, a.cols, lane, NANO_WARP);
    *scale = nano_cuda_half_scale(nano_cuda_norm_reduce<false, true>(largest, NULL));
    __syncwarp();
    nano_cuda_made_halves(row, a.cols, a.half_stride / 2, 1.0f / *scale, half, lane, NANO_WARP);
}

/* The block does all rows at a time: so it waits for itself as often as for one. */
static __device__ inline void nano_cuda_make_wide(const struct nano_cuda_linear_args &a,
                                                  const struct nano_cuda_made_layout &l, float *f32,
                                                  uint16_t *half,
                                                  struct nano_cuda_made_shared &shared)
{
    const int thread = static_cast<int>(threadIdx.x), warp = thread / NANO_WARP;
    const bool tells = thread % NANO_WARP == 0;
    struct nano_cuda_normal n = {f32, a.norm_weight, a.norm_bias, 0, 1};
    if (a.norm == NANO_CUDA_NORM_LAYER) {
        for (int r = 0; r < a.rows; r++) {
            n.in = f32 + r * l.f32_stride;
            const float sum = nano_warp_sum(n.sum(a.cols, thread, NANO_CUDA_NORM_THREADS));
            if (tells)
                shared.mean[r][warp] = sum;
        }
        __syncthreads();
    }
    if (a.norm != NANO_CUDA_NORM_NONE) {
        for (int r = 0; r < a.rows; r++) {
            n.in = f32 + r * l.f32_stride;
            if (a.norm == NANO_CUDA_NORM_LAYER)
                n.mean = nano_cuda_norm_fold<false>(shared.mean[r]) / static_cast<float>(a.cols);
            const float sum =
                nano_warp_sum(n.sum_of_squares(a.cols, thread, NANO_CUDA_NORM_THREADS));
            if (tells)
                shared.squares[r][warp] = sum;
        }
        __syncthreads();
    }
    for (int r = 0; r < a.rows; r++) {
        n.in = f32 + r * l.f32_stride;
        if (a.norm == NANO_CUDA_NORM_LAYER)
            n.mean = nano_cuda_norm_fold<false>(shared.mean[r]) / static_cast<float>(a.cols);
        if (a.norm != NANO_CUDA_NORM_NONE)
            n.set_factor(a.norm, nano_cuda_norm_fold<false>(shared.squares[r]), a.cols, a.norm_eps);
        const float largest = nano_warp_max(nano_cuda_made_normalise(
            n, f32 + r * l.f32_stride, a.cols, thread, NANO_CUDA_NORM_THREADS));
        if (tells)
            shared.largest[r][warp] = largest;
    }
    __syncthreads();
    for (int r = 0; r < a.rows; r++) {
        const float scale = nano_cuda_half_scale(nano_cuda_norm_fold<true>(shared.largest[r]));
        if (thread == 0)
            shared.scales[r] = scale;
        nano_cuda_made_halves(f32 + r * l.f32_stride, a.cols, a.half_stride / 2, 1.0f / scale,
                              half + r * l.half_stride, thread, NANO_CUDA_NORM_THREADS);
    }
}

/* Asks for what a norm is multiplied with, before the rows are there. */
static __device__ inline void nano_cuda_made_prefetch(const struct nano_cuda_linear_args &a)
{
    if (a.norm_weight && threadIdx.x == 0)
        nano_prefetch(a.norm_weight, static_cast<int>(a.cols) * 4);
}

/* Makes all rows of the input, by a block of NANO_CUDA_NORM_THREADS; returns the first, whose
 * scale is in `shared`. */
static __device__ inline const uint16_t *nano_cuda_make_input(const struct nano_cuda_linear_args &a,
                                                              const struct nano_cuda_made_layout &l,
                                                              float *f32,
                                                              struct nano_cuda_made_shared &shared)
{
    const int thread = static_cast<int>(threadIdx.x), warp = thread / NANO_WARP;
    uint16_t *half = reinterpret_cast<uint16_t *>(f32 + a.rows * l.f32_stride);
    for (int r = 0; r < a.rows; r++)
        for (int c = 4 * thread; c < static_cast<int>(a.cols); c += 4 * NANO_CUDA_NORM_THREADS)
            nano_cp_async16(f32 + r * l.f32_stride + c, a.f32.data + r * a.f32.stride + c, true);
    nano_cp_async_commit();
    nano_cp_async_wait<0>();
    __syncthreads();
    if (a.cols >= NANO_CUDA_NORM_WIDE)
        nano_cuda_make_wide(a, l, f32, half, shared);
    else if (warp < a.rows)
        nano_cuda_make_narrow(a, f32 + warp * l.f32_stride, half + warp * l.half_stride,
                              &shared.scales[warp]);
    __syncthreads();
    return half;
}

#endif
