/* The skinny kernel's way through the weights: a warp's share of 8 or 16 rows, from memory to the
 * tensor cores. For kernel files.
 *
 * Bytes: 4.3 TB/s of an H200 at a latency of some 600 ns are 2.6 MB under way, 20 KB on each of 132
 * multiprocessors. A warp has one to four spans of its rows under way, at most PIPE_BYTES, and
 * loads one again as soon as it is unpacked; a block has eight warps, two or three blocks fit:
 *
 *                        F16   Q8_0  Q6_K  Q5_K  Q4_K  Q4_0  MXFP4
 *   KB of a block         32     17    26    22    18    18     17
 *   blocks                 2      3     2     3     3     2      2
 *
 * Matrices of fewer than 4,096 rows are too few blocks of 16 rows: they are halved, and the tensor
 * cores' other eight rows hold nothing. 1,024 rows are 128 blocks then.
 *
 * Instructions: 132 multiprocessors begin 4 x 1.9e9 a second each, 1.0e12, and a warp's is for 32
 * lanes. At 60 % of the bandwidth Q4_K (0.5625 bytes) are 4.6e12 weights a second, so that 56
 * instructions are there for eight weights of a lane; of other formats in proportion to their
 * bytes. What sm_90 takes, all of the loop included, for blocks of 16 rows:
 *
 *                        F16   Q8_0  Q6_K  Q5_K  Q4_K  Q4_0  MXFP4
 *   there are            198    105    81    68    56    56     53
 *   taken                 12     32    45    44    38    28     38  */
#ifndef NANO_RUNNER_CUDA_CUDA_LINEAR_STREAM_H
#define NANO_RUNNER_CUDA_CUDA_LINEAR_STREAM_H

#include "runner/cuda/cuda_linear_part.h"
#include "runner/cuda/cuda_quant_span.h"

enum { NANO_CUDA_PIPE_BYTES = 4096 };

/* Rows `w` of the weights, one or two a lane; the other half of the instruction's are then
 * anything, and so are their sums. */
template <int Eighths>
static __device__ inline void nano_cuda_multiply(float d[4], const uint32_t w[Eighths][4],
                                                 const uint4 &x)
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const uint32_t *low = w[0] + 2 * i, *high = w[Eighths - 1] + 2 * i;
        const uint32_t a[4] = {low[0], Eighths == 2 ? high[0] : nano_unused(), low[1],
                               Eighths == 2 ? high[1] : nano_unused()};
        const uint32_t b[2] = {i ? x.z : x.x, i ? x.w : x.y};
        nano_mma_f16(d, a, b);
    }
}

/* How many spans of 8 * Eighths rows are under way; an even number where two are in a block. Many
 * inputs take the registers. */
template <enum nano_format Format, int Eighths, int NumTiles> struct nano_cuda_stages {
    static constexpr int bytes = nano_cuda_span<Format>::PAIR_BYTES * Eighths * 4,
                         fit = NANO_CUDA_PIPE_BYTES / bytes, most = NumTiles == 4 ? 1 : 4 / Eighths,
                         least = nano_cuda_span<Format>::ROWS_END_EARLY ? 1 : 2,
                         wanted = fit < most ? fit : most,
                         count = wanted >= 4                 ? 4
                                 : wanted >= 2 || least == 2 ? 2
                                                             : 1;
};

/* The products of a span of rows `w`, and of inputs `x` from `k` on. */
template <enum nano_format Format, int Eighths, int NumTiles>
static __device__ inline void
nano_cuda_multiply_span(const struct nano_cuda_span<Format> w[Eighths], uint32_t i, uint32_t part,
                        const uint16_t *const x[NumTiles], int64_t k, float d[NumTiles][4])
{
    const auto low_scales = w[0].scales(i), high_scales = w[Eighths - 1].scales(i);
#pragma unroll
    for (int chunk = 0; chunk < NANO_CUDA_SPAN; chunk++) {
        uint32_t halves[Eighths][4];
        w[0].unpack(low_scales, chunk, part, halves[0]);
        if (Eighths == 2)
            w[Eighths - 1].unpack(high_scales, chunk, part, halves[Eighths - 1]);
#pragma unroll
        for (int n = 0; n < NumTiles; n++)
            nano_cuda_multiply<Eighths>(
                d[n], halves, nano_load_written<uint4>(x[n] + k + chunk * NANO_CUDA_CHUNK));
    }
}

/* Chunks [begin, end), whole spans: one is loaded as soon as its registers are free. */
template <enum nano_format Format, int Eighths, int NumTiles>
static __device__ inline void nano_cuda_multiply_spans(const uint8_t *const rows[Eighths],
                                                       uint32_t part,
                                                       const uint16_t *const x[NumTiles], int begin,
                                                       int end, float d[NumTiles][4])
{
    enum {
        STAGES = nano_cuda_stages<Format, Eighths, NumTiles>::count,
        STEP_BYTES = nano_cuda_span<Format>::PAIR_BYTES * STAGES / 2
    };
    struct nano_cuda_span<Format> w[STAGES][Eighths];
#pragma unroll
    for (int i = 0; i < STAGES; i++)
        for (int r = 0; r < Eighths; r++)
            w[i][r].place(rows[r]);
    const int first = begin / NANO_CUDA_SPAN, last = end / NANO_CUDA_SPAN;
    int at = first / STAGES * STAGES;
    const uint8_t *from[Eighths];
#pragma unroll
    for (int r = 0; r < Eighths; r++)
        from[r] = rows[r] + static_cast<int64_t>(at / STAGES) * STEP_BYTES;
#pragma unroll
    for (int i = 0; i < STAGES; i++)
        if (at + i >= first && at + i < last)
            for (int r = 0; r < Eighths; r++)
                w[i][r].load(from[r], i, part);
#pragma unroll 1
    for (; at < last; at += STAGES) {
#pragma unroll
        for (int r = 0; r < Eighths; r++)
            from[r] += STEP_BYTES;
#pragma unroll
        for (int i = 0; i < STAGES; i++) {
            if (at + i < last && (STAGES == 1 || at + i >= first))
                nano_cuda_multiply_span<Format, Eighths, NumTiles>(
                    w[i], i, part, x,
                    static_cast<int64_t>(at + i) * NANO_CUDA_SPAN * NANO_CUDA_CHUNK, d);
            if (at + i + STAGES < last)
                for (int r = 0; r < Eighths; r++)
                    w[i][r].load(from[r], i, part);
        }
    }
}

/* Adds to `d` the products of chunks [begin, end) of rows `rows` and of inputs `x`, which are at
 * the lane's part of their first chunk. `begin` is a whole number of spans. */
template <enum nano_format Format, int Eighths, int NumTiles>
static __device__ inline void nano_cuda_multiply_stream(const uint8_t *const rows[Eighths],
                                                        uint32_t part,
                                                        const uint16_t *const x[NumTiles],
                                                        int begin, int end, float d[NumTiles][4])
{
    if constexpr (nano_cuda_span<Format>::PAIR_BYTES != 0) {
        const int whole = end / NANO_CUDA_SPAN * NANO_CUDA_SPAN;
        nano_cuda_multiply_spans<Format, Eighths, NumTiles>(rows, part, x, begin, whole, d);
        begin = whole;
    }
    if constexpr (nano_cuda_span<Format>::ROWS_END_EARLY) {
#pragma unroll(nano_cuda_span <Format>::PAIR_BYTES == 0 ? 4 : 1)
        for (int chunk = begin; chunk < end; chunk++) {
            const int64_t k = static_cast<int64_t>(chunk) * NANO_CUDA_CHUNK;
            uint32_t halves[Eighths][4];
#pragma unroll
            for (int r = 0; r < Eighths; r++)
                nano_cuda_weights<Format>::load8_half(rows[r], k + part * 8, halves[r]);
#pragma unroll
            for (int n = 0; n < NumTiles; n++)
                nano_cuda_multiply<Eighths>(d[n], halves, nano_load_written<uint4>(x[n] + k));
        }
    }
}

#endif
