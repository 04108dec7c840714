/* The skinny kernel, and the choice between kernels. */
#include "runner/cuda/cuda_linear.h"

#include "runner/cuda/cuda_linear_input.h"
#include "runner/cuda/cuda_linear_part.h"
#include "runner/cuda/cuda_linear_stream.h"
#include "runner/cuda/cuda_linear_tile.h"

namespace
{
enum {
    SKINNY_THREADS = NANO_CUDA_SLICES * NANO_WARP,
    PREFETCH_BYTES = 4096,       /* of a warp; of all blocks at a time, some of the cache */
    MADE_BYTES = 38 * 1024,      /* of shared memory, for an input that a block makes */
    MADE_READS = 8 * 1024 * 1024 /* bytes that all blocks together read for it, at most */
};
static_assert(int{SKINNY_THREADS} == int{NANO_CUDA_NORM_THREADS}, "sums of norms have one order");

/* Which of the input a block has. */
struct skinny_inputs {
    int expert, first, count;
};

/* At most `most` rows for the block; none: it is behind the last tile. */
__device__ struct skinny_inputs find_inputs(const struct nano_cuda_linear_args &a, int most)
{
    const int place = static_cast<int>(blockIdx.y);
    if (!a.tiles)
        return {0, place * most, min(most, a.rows - place * most)};
    if (place >= *a.num_tiles)
        return {0, 0, 0};
    const struct nano_cuda_expert_tile tile = a.tiles[place];
    return {tile.expert, tile.first, tile.count};
}

/* Row of the input for row `i` of the block's: those behind the last are the last one again. */
__device__ int64_t input_row(const struct nano_cuda_linear_args &a, const struct skinny_inputs &in,
                             int i)
{
    const int row = in.first + (i < in.count ? i : in.count - 1);
    return a.in_rows ? a.in_rows[row] : row;
}

/* How many blocks are to fit a multiprocessor: where most instructions are spent, three hide better
 * that one begins or ends. 0: as many as the registers let. */
template <enum nano_format Format> constexpr int min_blocks(int num_tiles)
{
    if (num_tiles == 1 && (Format == NANO_FORMAT_Q4_K || Format == NANO_FORMAT_Q5_K))
        return 3;
    const bool is_greedy = Format == NANO_FORMAT_Q4_0 || Format == NANO_FORMAT_MXFP4;
    return num_tiles == 4 || is_greedy ? 2 : 0;
}

/* Asks for a block's rows of weights, or as much of them as is well held until it is read: each
 * warp for the beginning of an eighth. */
__device__ void prefetch_rows(const void *weight, int64_t offset, int64_t num_bytes, int most,
                              int warp)
{
    const int64_t part = num_bytes / NANO_CUDA_SLICES / 16 * 16;
    const int count = part < most ? static_cast<int>(part) : most;
    const uint8_t *first = static_cast<const uint8_t *>(weight) + offset + warp * part;
    first -= reinterpret_cast<uintptr_t>(first) % 16; /* still in the tensor, which is aligned */
    if (count > 0 && threadIdx.x % NANO_WARP == 0)
        nano_prefetch(first, count);
}

/* A lane's share of a chunk of 32 columns is 8 neighbouring ones, from 8 * (lane % 4) on: of rows
 * lane / 4 and lane / 4 + 8 of the weights, and of row lane / 4 of the input. Which column is which
 * of the instruction's does not matter as long as both operands agree (and the tile kernel's). With
 * Eighths 1, blocks have half as many rows, and there are twice as many. */
template <enum nano_format Format, int NumTiles, int Eighths, bool MakesInput>
__global__ void __launch_bounds__(SKINNY_THREADS, min_blocks<Format>(NumTiles))
    skinny_kernel(const struct nano_cuda_linear_args a)
{
    enum { ROWS = Eighths * 8 };
    __shared__ float sums[NANO_CUDA_SLICES][2][NumTiles * 8][ROWS + 1];
    const int lane = threadIdx.x % NANO_WARP, warp = threadIdx.x / NANO_WARP;
    const int group = lane / 4, part = lane % 4, head = blockIdx.z;
    int first_row;
    const int index = nano_cuda_find_tile(a, blockIdx.x * ROWS / NANO_CUDA_MMA_ROWS, &first_row);
    const int num_rows = nano_cuda_segment_of(a, index).rows;
    first_row += blockIdx.x * ROWS % NANO_CUDA_MMA_ROWS;
    const bool has_rows = first_row < num_rows;
    const int num_matrices = a.glu ? 2 : 1;

    const int num_chunks = static_cast<int>((a.cols + NANO_CUDA_CHUNK - 1) / NANO_CUDA_CHUNK);
    const int begin = nano_cuda_slice_begin(num_chunks, warp);
    const int end = nano_cuda_slice_begin(num_chunks, warp + 1);

    /* No kernel writes weights: they may be on their way before the input is there. */
    for (int m = 0; m < num_matrices && has_rows && !a.tiles; m++) {
        const struct nano_cuda_segment s = nano_cuda_segment_of(a, m ? 1 : index);
        prefetch_rows(s.weight, head * a.head_bytes + first_row * s.row_bytes,
                      min(ROWS + 0, num_rows - first_row) * s.row_bytes,
                      PREFETCH_BYTES / num_matrices, warp);
    }
    if (MakesInput && has_rows)
        nano_cuda_made_prefetch(a);
    nano_wait_for_earlier();
    const struct skinny_inputs in = find_inputs(a, NumTiles * 8);
    if (!has_rows || in.count == 0)
        return;
    const int64_t offset = in.expert * a.expert_bytes + head * a.head_bytes;

    const uint16_t *x[NumTiles];
    __shared__ struct nano_cuda_made_shared made;
    if constexpr (MakesInput) {
        NANO_DYNAMIC_SHARED(float, f32);
        const struct nano_cuda_made_layout layout = nano_cuda_made_layout_of(a.half_stride, a.rows);
        x[0] = nano_cuda_make_input(a, layout, f32, made) +
               min(group, a.rows - 1) * layout.half_stride + part * 8;
    } else {
#pragma unroll
        for (int n = 0; n < NumTiles; n++)
            x[n] = a.half + (input_row(a, in, n * 8 + group) * a.num_heads + head) * a.half_stride +
                   part * 8;
    }
    for (int m = 0; m < num_matrices; m++) { /* rows behind the last are the last one again */
        const struct nano_cuda_segment s = nano_cuda_segment_of(a, m ? 1 : index);
        const uint8_t *rows[Eighths];
        for (int r = 0; r < Eighths; r++)
            rows[r] = static_cast<const uint8_t *>(s.weight) + offset +
                      min(first_row + group + r * 8, num_rows - 1) * s.row_bytes;
        float d[NumTiles][4] = {};
        nano_cuda_multiply_stream<Format, Eighths, NumTiles>(rows, part, x, begin, end, d);
#pragma unroll
        for (int n = 0; n < NumTiles; n++)
            for (int i = 0; i < Eighths * 2; i++)
                sums[warp][m][n * 8 + part * 2 + i % 2][group + i / 2 * 8] = d[n][i];
    }
    __syncthreads();

    const struct nano_cuda_segment segment = nano_cuda_segment_of(a, nano_hidden(index));
    for (int i = threadIdx.x; i < NumTiles * 8 * ROWS; i += SKINNY_THREADS) {
        const int t = i / ROWS, row = i % ROWS;
        if (t >= in.count || first_row + row >= segment.rows)
            continue;
        float sum = 0, up = 0;
        for (int slice = 0; slice < NANO_CUDA_SLICES; slice++) {
            sum += sums[slice][0][t][row];
            if (a.glu)
                up += sums[slice][1][t][row];
        }
        const float scale =
            MakesInput ? made.scales[t] : a.scales[input_row(a, in, t) * a.num_heads + head];
        const int slot = in.first + t;
        nano_cuda_linear_finish(a, segment, in.expert, a.out_rows ? a.out_rows[slot] : slot,
                                head * a.out_stride, first_row + row, scale, sum, up);
    }
}

template <enum nano_format Format, int NumTiles, int Eighths, bool MakesInput = false>
void launch_skinny(struct nano_cuda_device *device, const struct nano_cuda_linear_args *args)
{
    const int inputs =
        args->tiles ? args->max_tiles : (args->rows + NumTiles * 8 - 1) / (NumTiles * 8);
    const size_t shared_bytes =
        MakesInput ? nano_cuda_made_layout_of(args->half_stride, args->rows).num_bytes : 0;
    nano_launch_early(device, skinny_kernel<Format, NumTiles, Eighths, MakesInput>,
                      dim3(static_cast<unsigned>(nano_cuda_linear_tiles(args) * (2 / Eighths)),
                           static_cast<unsigned>(inputs), static_cast<unsigned>(args->num_heads)),
                      dim3(SKINNY_THREADS), shared_bytes, *args);
}

/* Formats that have kernels of their own for few rows: each takes the compiler a while. */
template <enum nano_format Format> constexpr bool is_common(void)
{
    return Format == NANO_FORMAT_F16 || Format == NANO_FORMAT_Q4_0 || Format == NANO_FORMAT_Q8_0 ||
           Format == NANO_FORMAT_Q4_K || Format == NANO_FORMAT_Q5_K || Format == NANO_FORMAT_Q6_K ||
           Format == NANO_FORMAT_MXFP4;
}

/* Of up to 8 inputs: blocks have 8 rows of the weights each if there are few of them. */
int eighths_of(const struct nano_cuda_linear_args *args)
{
    enum { ENOUGH_BLOCKS = 256 }; /* two on every multiprocessor of a large GPU */
    return nano_cuda_linear_tiles(args) * args->num_heads < ENOUGH_BLOCKS ? 1 : 2;
}

template <enum nano_format Format>
void linear_skinny(struct nano_cuda_device *device, const struct nano_cuda_linear_args *args)
{
    if constexpr (is_common<Format>()) {
        const int eighths = eighths_of(args);
        if (args->makes_input) {
            if (eighths == 1)
                launch_skinny<Format, 1, 1, true>(device, args);
            else
                launch_skinny<Format, 1, 2, true>(device, args);
            return;
        }
        if (!args->tiles && args->rows <= 8) {
            if (eighths == 1)
                launch_skinny<Format, 1, 1>(device, args);
            else
                launch_skinny<Format, 1, 2>(device, args);
            return;
        }
        if (!args->tiles && args->rows <= 16) {
            launch_skinny<Format, 2, 2>(device, args);
            return;
        }
    }
    launch_skinny<Format, 4, 2>(device, args);
}

/* ---- F32: for exactness, not for speed ---- */

/* A warp has a row of the weights, and goes through the inputs eight at a time. Lane l sums columns
 * l, l + 32 …, and lanes are added in one order. */
__global__ void __launch_bounds__(NANO_CUDA_MMA_ROWS *NANO_WARP)
    f32_kernel(const struct nano_cuda_linear_args a)
{
    nano_wait_for_earlier();
    enum { INPUTS = 8 };
    const int lane = threadIdx.x % NANO_WARP, head = blockIdx.z;
    const struct skinny_inputs in = find_inputs(a, INPUTS);
    if (in.count == 0)
        return;
    int first_row;
    const int index = nano_cuda_find_tile(a, blockIdx.x, &first_row);
    const struct nano_cuda_segment segment = nano_cuda_segment_of(a, index);
    const int row = first_row + threadIdx.x / NANO_WARP;
    if (row >= segment.rows)
        return;
    const int64_t offset = in.expert * a.expert_bytes + head * a.head_bytes;
    const float *weights[2];
    for (int m = 0; m < 2; m++) {
        const struct nano_cuda_segment &s = m && a.glu ? a.segments[1] : segment;
        weights[m] = reinterpret_cast<const float *>(static_cast<const uint8_t *>(s.weight) +
                                                     offset + row * s.row_bytes);
    }
    for (int first = 0; first < in.count; first += INPUTS) {
        float sums[2][INPUTS] = {};
        for (int t = 0; t < INPUTS && first + t < in.count; t++) {
            const float *x =
                a.f32.data + input_row(a, in, first + t) * a.f32.stride + head * a.in_stride;
            for (int m = 0; m < (a.glu ? 2 : 1); m++) {
                float sum = 0;
                for (int64_t k = lane; k < a.cols; k += NANO_WARP)
                    sum = __fmaf_rn(weights[m][k], x[k], sum);
                sums[m][t] = nano_warp_sum(sum);
            }
        }
        if (lane == 0)
            for (int t = 0; t < INPUTS && first + t < in.count; t++) {
                const int slot = in.first + first + t;
                nano_cuda_linear_finish(a, segment, in.expert, a.out_rows ? a.out_rows[slot] : slot,
                                        head * a.out_stride, row, 1, sums[0][t], sums[1][t]);
            }
    }
}

void linear_f32(struct nano_cuda_device *device, const struct nano_cuda_linear_args *args)
{
    const int inputs = args->tiles ? args->max_tiles : (args->rows + 7) / 8;
    nano_launch_early(device, f32_kernel,
                      dim3(static_cast<unsigned>(nano_cuda_linear_tiles(args)),
                           static_cast<unsigned>(inputs), static_cast<unsigned>(args->num_heads)),
                      dim3(NANO_CUDA_MMA_ROWS * NANO_WARP), 0, *args);
}
} // namespace

bool nano_cuda_linear_can_make_input(const struct nano_cuda_linear_args *args)
{
    bool common = false;
    nano_cuda_for_format(args->format,
                         [&](auto format) { common = is_common<decltype(format)::value>(); });
    if (!common || args->tiles || args->num_heads != 1 || args->rows > NANO_CUDA_MADE_ROWS ||
        args->cols % 4 != 0 || args->f32.stride % 4 != 0 ||
        reinterpret_cast<uintptr_t>(args->f32.data) % 16 != 0)
        return false;
    const int64_t blocks =
        static_cast<int64_t>(nano_cuda_linear_tiles(args)) * (2 / eighths_of(args));
    const int64_t reads = blocks * args->rows * args->cols * static_cast<int64_t>(sizeof(float));
    return reads <= MADE_READS &&
           nano_cuda_made_layout_of(args->half_stride, args->rows).num_bytes <= MADE_BYTES;
}

void nano_cuda_linear(struct nano_cuda_device *device, const struct nano_cuda_linear_args *args)
{
    if (args->format == NANO_FORMAT_F16 &&
        (args->tiles ? args->tile_slots : args->rows) > NANO_CUDA_SKINNY_ROWS) {
        nano_cuda_linear_tile(device, args);
        return;
    }
    if (nano_cuda_linear_tile_pays(device, args)) {
        nano_cuda_linear_tile_quantised(device, args);
        return;
    }
    if (args->format == NANO_FORMAT_F32) {
        linear_f32(device, args);
        return;
    }
    nano_cuda_for_format(args->format, [&](auto format) {
        constexpr enum nano_format value = decltype(format)::value;
        if constexpr (value != NANO_FORMAT_F32 && value != NANO_FORMAT_BF16)
            linear_skinny<value>(device, args);
    });
}
