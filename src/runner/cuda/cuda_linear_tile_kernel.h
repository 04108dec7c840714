/* The tile kernel of linears; for kernel files. cuda_linear_tile.cu says which tiles there are.
 *
 *   block    eight warps, ROWS rows of the weights by INPUTS rows of the input. A warp has
 * ROW_TILES tiles of 16 rows by INPUT_TILES of 8 inputs. Neighbouring blocks have the same rows,
 *            and those of a group the same few inputs, so that the cache has them.
 *   stages   chunks of 32 columns of both in shared memory, 64 bytes a row: the eight lanes that
 *            are served at once read 128 neighbouring bytes, two rows of four parts.
 *
 * A lane's share of a chunk is the skinny kernel's: so are the sums. A slice's sum and the total of
 * those before it are two sets of registers, which is what limits a warp's tile. */
#ifndef NANO_RUNNER_CUDA_CUDA_LINEAR_TILE_KERNEL_H
#define NANO_RUNNER_CUDA_CUDA_LINEAR_TILE_KERNEL_H

#include "runner/cuda/cuda_linear_part.h"
#include "runner/cuda/cuda_linear_tile.h"
#include "runner/cuda/cuda_quant.h"

enum { NANO_CUDA_TILE_THREADS = 256, NANO_CUDA_TILE_GROUP = 8 /* blocks of inputs */ };

/* ROW_WARPS_ x INPUT_WARPS_ are the eight warps; BLOCKS_ is how many blocks a multiprocessor is to
 * have room for. */
template <enum nano_format Format, int ROW_WARPS_, int INPUT_WARPS_, int ROW_TILES_,
          int INPUT_TILES_, int STAGES_, int BLOCKS_>
struct nano_cuda_tile_shape {
    static constexpr enum nano_format format = Format;
    enum {
        ROW_WARPS = ROW_WARPS_,
        INPUT_WARPS = INPUT_WARPS_,
        ROW_TILES = ROW_TILES_,
        INPUT_TILES = INPUT_TILES_,
        STAGES = STAGES_,
        BLOCKS = BLOCKS_,
        WARP_ROWS = ROW_TILES * NANO_CUDA_MMA_ROWS,
        WARP_INPUTS = INPUT_TILES * 8,
        ROWS = ROW_WARPS * WARP_ROWS,
        INPUTS = INPUT_WARPS * WARP_INPUTS,
        CHUNK_BYTES = NANO_CUDA_CHUNK * 2,
        STAGE_BYTES = (ROWS + INPUTS) * CHUNK_BYTES,
        SHARED_BYTES = STAGES * STAGE_BYTES,
        /* What a thread copies: the same 16 bytes of a chunk in every 64th row. */
        COPY_ROWS = NANO_CUDA_TILE_THREADS / 4,
        ROW_COPIES = (ROWS + COPY_ROWS - 1) / COPY_ROWS,
        INPUT_COPIES = (INPUTS + COPY_ROWS - 1) / COPY_ROWS,
        /* A warp's totals go through shared memory some inputs at a time. */
        PIECE_TILES = INPUT_TILES % 3 == 0   ? 3
                      : INPUT_TILES % 2 == 0 ? 2
                                             : 1,
        PIECE_STRIDE = WARP_ROWS + 4,
        PIECE_FLOATS = PIECE_TILES * 8 * PIECE_STRIDE
    };
    static_assert(ROW_WARPS * INPUT_WARPS * NANO_WARP == NANO_CUDA_TILE_THREADS, "eight warps");
    static_assert(Format == NANO_FORMAT_F16 || (ROW_COPIES <= ROW_TILES && ROWS % COPY_ROWS == 0),
                  "a row is unpacked beside the products of a row tile");
    static_assert(ROW_TILES % 2 == 0, "gate and factor of a glu are one warp's");
    static_assert(NANO_CUDA_TILE_THREADS / NANO_WARP * PIECE_FLOATS * 4 <= SHARED_BYTES, "pieces");
};

static inline int nano_cuda_tile_rows(const struct nano_cuda_linear_args *args)
{
    return nano_cuda_linear_tiles(args) * (args->glu ? 2 : 1) * NANO_CUDA_MMA_ROWS;
}

/* What a block has: rows from `first_tile` tiles of 16 on, `count` inputs or slots. */
struct nano_cuda_tile_place {
    int first_tile, expert, first, count;
};

template <class Shape>
static __device__ inline struct nano_cuda_tile_place
nano_cuda_tile_find(const struct nano_cuda_linear_args &a)
{
    const int block = static_cast<int>(blockIdx.x);
    const int across = a.tiles ? a.max_tiles : (a.rows + Shape::INPUTS - 1) / Shape::INPUTS;
    const int most = a.tiles ? across : min(across, static_cast<int>(NANO_CUDA_TILE_GROUP));
    const int down = static_cast<int>(gridDim.x) / across;
    const int group = block / (most * down), in_group = block % (most * down);
    const int width = min(most, across - group * most);
    const int first_tile = in_group / width * (Shape::ROWS / NANO_CUDA_MMA_ROWS);
    const int place = group * most + in_group % width;
    if (!a.tiles)
        return {first_tile, 0, place * Shape::INPUTS,
                min(static_cast<int>(Shape::INPUTS), a.rows - place * Shape::INPUTS)};
    if (place >= *a.num_tiles)
        return {0, 0, 0, 0};
    const struct nano_cuda_expert_tile tile = a.tiles[place];
    return {first_tile, tile.expert, tile.first, tile.count};
}

/* Row tile i of 16 in the block's order is a tile of the linear's; of a glu, each two are the
 * gate's and its factor's. */
struct nano_cuda_row_tile {
    int segment, first_row;
};

static __device__ inline struct nano_cuda_row_tile
nano_cuda_find_row_tile(const struct nano_cuda_linear_args &a, int tile)
{
    struct nano_cuda_row_tile r = {-1, 0};
    r.segment = nano_cuda_find_tile(a, a.glu ? tile / 2 : tile, &r.first_row);
    if (a.glu && r.segment == 0)
        r.segment = tile % 2;
    return r;
}

/* Row `row` of the block; behind the last there are some other one's weights, for nobody. */
static __device__ inline const unsigned char *
nano_cuda_tile_weights(const struct nano_cuda_linear_args &a, const struct nano_cuda_tile_place &at,
                       int row, int head)
{
    const struct nano_cuda_row_tile tile =
        nano_cuda_find_row_tile(a, at.first_tile + row / NANO_CUDA_MMA_ROWS);
    const struct nano_cuda_segment s = nano_cuda_segment_of(a, max(tile.segment, 0));
    return static_cast<const unsigned char *>(s.weight) + at.expert * a.expert_bytes +
           head * a.head_bytes +
           min(tile.first_row + row % NANO_CUDA_MMA_ROWS, s.rows - 1) * s.row_bytes;
}

static __device__ inline int64_t nano_cuda_tile_input(const struct nano_cuda_linear_args &a,
                                                      const struct nano_cuda_tile_place &at, int i,
                                                      int head)
{
    const int slot = at.first + min(i, at.count - 1);
    return static_cast<int64_t>(a.in_rows ? a.in_rows[slot] : slot) * a.num_heads + head;
}

template <class Shape> struct nano_cuda_tile_fragment {
    uint4 low, high; /* of rows lane / 4 and lane / 4 + 8 of a tile */
};

template <class Shape>
static __device__ inline void
nano_cuda_tile_multiply(float sum[Shape::INPUT_TILES][4],
                        const struct nano_cuda_tile_fragment<Shape> &w, const uint4 &x, int n,
                        int half)
{
    const uint32_t a[4] = {half ? w.low.z : w.low.x, half ? w.high.z : w.high.x,
                           half ? w.low.w : w.low.y, half ? w.high.w : w.high.y};
    const uint32_t b[2] = {half ? x.z : x.x, half ? x.w : x.y};
    nano_mma_f16(sum[n], a, b);
}

/* A warp's totals, to where they belong: through shared memory, so that lanes have neighbouring
 * rows, and what is done with a sum is one loop's body. */
template <class Shape>
static __device__ inline void
nano_cuda_tile_finish(const struct nano_cuda_linear_args &a, const struct nano_cuda_tile_place &at,
                      float total[Shape::ROW_TILES][Shape::INPUT_TILES][4], float *shared)
{
    const int lane = threadIdx.x % NANO_WARP, warp = threadIdx.x / NANO_WARP;
    const int group = lane / 4, part = lane % 4, head = static_cast<int>(blockIdx.y);
    const int first_tile = at.first_tile + warp % Shape::ROW_WARPS * Shape::ROW_TILES;
    const int rows = a.glu ? Shape::WARP_ROWS / 2 : Shape::WARP_ROWS;
    float *piece = shared + warp * Shape::PIECE_FLOATS;
#pragma unroll 1
    for (int p = 0; p < Shape::INPUT_TILES / Shape::PIECE_TILES; p++) {
        const int first = warp / Shape::ROW_WARPS * Shape::WARP_INPUTS + p * Shape::PIECE_TILES * 8;
#pragma unroll
        for (int m = 0; m < Shape::ROW_TILES; m++)
#pragma unroll
            for (int n = 0; n < Shape::INPUT_TILES; n++)
                if (n / Shape::PIECE_TILES == p)
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        piece[(n % Shape::PIECE_TILES * 8 + part * 2 + i % 2) *
                                  Shape::PIECE_STRIDE +
                              m * NANO_CUDA_MMA_ROWS + group + i / 2 * 8] = total[m][n][i];
        __syncwarp();
        const int count = min(at.count - first, Shape::PIECE_TILES * 8);
        for (int r = lane; r < rows; r += NANO_WARP) {
            const int m = r / NANO_CUDA_MMA_ROWS * (a.glu ? 2 : 1);
            const struct nano_cuda_row_tile tile = nano_cuda_find_row_tile(a, first_tile + m);
            const struct nano_cuda_segment segment = nano_cuda_segment_of(a, tile.segment);
            const int row = tile.first_row + r % NANO_CUDA_MMA_ROWS;
            if (tile.segment < 0 || row >= segment.rows)
                continue;
            const float *sums = piece + m * NANO_CUDA_MMA_ROWS + r % NANO_CUDA_MMA_ROWS;
            for (int t = 0; t < count; t++) {
                const int slot = at.first + first + t;
                nano_cuda_linear_finish(a, segment, at.expert, a.out_rows ? a.out_rows[slot] : slot,
                                        head * a.out_stride, row,
                                        a.scales[nano_cuda_tile_input(a, at, first + t, head)],
                                        sums[t * Shape::PIECE_STRIDE],
                                        a.glu ? sums[t * Shape::PIECE_STRIDE + NANO_CUDA_MMA_ROWS]
                                              : 0);
            }
        }
        __syncwarp();
    }
}

template <class Shape>
__global__ void __launch_bounds__(NANO_CUDA_TILE_THREADS, Shape::BLOCKS)
    nano_cuda_tile_kernel(const struct nano_cuda_linear_args a)
{
    constexpr bool is_half = Shape::format == NANO_FORMAT_F16;
    constexpr int STAGES = Shape::STAGES, ROW_TILES = Shape::ROW_TILES,
                  INPUT_TILES = Shape::INPUT_TILES, CHUNK_BYTES = Shape::CHUNK_BYTES,
                  COPY_ROWS = Shape::COPY_ROWS;
    NANO_DYNAMIC_SHARED(unsigned char, shared);
    const struct nano_cuda_tile_place at = nano_cuda_tile_find<Shape>(a);
    if (at.count == 0)
        return;
    const int lane = threadIdx.x % NANO_WARP, warp = threadIdx.x / NANO_WARP;
    const int group = lane / 4, part = lane % 4, head = static_cast<int>(blockIdx.y);

    /* Inputs are found again by 16-byte pieces from the first, in one register each. */
    const int copy_row = threadIdx.x / 4, copy_part = threadIdx.x % 4;
    const unsigned char *from_weights[Shape::ROW_COPIES];
    uint32_t from_inputs[Shape::INPUT_COPIES];
#pragma unroll
    for (int i = 0; i < Shape::ROW_COPIES; i++)
        from_weights[i] = nano_cuda_tile_weights(
            a, at, min(copy_row + i * COPY_ROWS, static_cast<int>(Shape::ROWS) - 1), head);
#pragma unroll
    for (int i = 0; i < Shape::INPUT_COPIES; i++)
        from_inputs[i] = static_cast<uint32_t>(
            nano_cuda_tile_input(a, at, copy_row + i * COPY_ROWS, head) * (a.half_stride / 8) +
            copy_part);
    unsigned char *const to = shared + threadIdx.x * 16;
    const int num_chunks = static_cast<int>((a.cols + NANO_CUDA_CHUNK - 1) / NANO_CUDA_CHUNK);

    const auto copy = [&](int chunk) {
        unsigned char *stage = to + chunk % STAGES * Shape::STAGE_BYTES;
        if (chunk < num_chunks) {
            if constexpr (is_half) {
#pragma unroll
                for (int i = 0; i < Shape::ROW_COPIES; i++)
                    if (Shape::ROWS % COPY_ROWS == 0 || copy_row + i * COPY_ROWS < Shape::ROWS)
                        nano_cp_async16(stage + i * COPY_ROWS * CHUNK_BYTES,
                                        from_weights[i] +
                                            static_cast<int64_t>(chunk) * CHUNK_BYTES +
                                            copy_part * 16,
                                        true);
            }
            stage += Shape::ROWS * CHUNK_BYTES;
#pragma unroll
            for (int i = 0; i < Shape::INPUT_COPIES; i++)
                if (Shape::INPUTS % COPY_ROWS == 0 || copy_row + i * COPY_ROWS < Shape::INPUTS)
                    nano_cp_async16(stage + i * COPY_ROWS * CHUNK_BYTES,
                                    a.half + (static_cast<int64_t>(from_inputs[i]) + chunk * 4) * 8,
                                    true);
        }
        nano_cp_async_commit();
    };

    /* Quantised weights come by way of registers. Behind the last chunk it is that one again, so
     * that there is no branch between loads and what can be done meanwhile. */
    const auto unpack = [&](int chunk, int i) {
        if constexpr (!is_half) {
            const int k = min(chunk, num_chunks - 1) * NANO_CUDA_CHUNK + copy_part * 8;
            uint32_t pairs[4];
            nano_cuda_weights<Shape::format>::load8_half(from_weights[i], k, pairs);
            *reinterpret_cast<uint4 *>(to + chunk % STAGES * Shape::STAGE_BYTES +
                                       i * COPY_ROWS * CHUNK_BYTES) =
                make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
        }
    };

    const unsigned char *const my_weights =
        shared + (warp % Shape::ROW_WARPS * Shape::WARP_ROWS + group) * CHUNK_BYTES + part * 16;
    const unsigned char *const my_inputs =
        shared +
        (Shape::ROWS + warp / Shape::ROW_WARPS * Shape::WARP_INPUTS + group) * CHUNK_BYTES +
        part * 16;
    const auto load_weights = [&](struct nano_cuda_tile_fragment<Shape> *w, int stage, int m) {
        const unsigned char *row =
            my_weights + stage * Shape::STAGE_BYTES + m * NANO_CUDA_MMA_ROWS * CHUNK_BYTES;
        w->low = *reinterpret_cast<const uint4 *>(row);
        w->high = *reinterpret_cast<const uint4 *>(row + 8 * CHUNK_BYTES);
    };
    const auto load_input = [&](uint4 *x, int stage, int n) {
        *x = *reinterpret_cast<const uint4 *>(my_inputs + stage * Shape::STAGE_BYTES +
                                              n * 8 * CHUNK_BYTES);
    };

    for (int chunk = 0; chunk < STAGES; chunk++) {
        for (int i = 0; i < Shape::ROW_COPIES && chunk < STAGES - 1; i++)
            unpack(chunk, i);
        copy(chunk);
    }
    nano_cp_async_wait<STAGES - 1>();
    __syncthreads();
    struct nano_cuda_tile_fragment<Shape> w[2];
    uint4 x[INPUT_TILES];
    load_weights(&w[0], 0, 0);
#pragma unroll
    for (int n = 0; n < INPUT_TILES; n++)
        load_input(&x[n], 0, n);

    float total[ROW_TILES][INPUT_TILES][4] = {}, sum[ROW_TILES][INPUT_TILES][4] = {};
    int chunk = 0;
    for (int slice = 0; slice < NANO_CUDA_SLICES; slice++) {
        const int end = nano_cuda_slice_begin(num_chunks, slice + 1);
        for (; chunk < end; chunk++) {
            const int stage = chunk % STAGES, next_stage = (chunk + 1) % STAGES;
#pragma unroll
            for (int m = 0; m < ROW_TILES; m++) {
                const bool is_last = m == ROW_TILES - 1;
                if (is_last) { /* all of this chunk is in registers: its stage is free */
                    nano_cp_async_wait<STAGES - 2>();
                    __syncthreads();
                    copy(chunk + STAGES);
                }
                load_weights(&w[(m + 1) % 2], is_last ? next_stage : stage, is_last ? 0 : m + 1);
#pragma unroll
                for (int n = 0; n < INPUT_TILES; n++)
                    nano_cuda_tile_multiply<Shape>(sum[m], w[m % 2], x[n], n, 0);
#pragma unroll
                for (int n = 0; n < INPUT_TILES; n++) {
                    nano_cuda_tile_multiply<Shape>(sum[m], w[m % 2], x[n], n, 1);
                    if (is_last)
                        load_input(&x[n], next_stage, n);
                }
                /* Into the stage that has been free since the last chunk. */
                if (m < Shape::ROW_COPIES)
                    unpack(chunk + STAGES - 1, m);
            }
        }
#pragma unroll
        for (int m = 0; m < ROW_TILES; m++)
#pragma unroll
            for (int n = 0; n < INPUT_TILES; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    total[m][n][i] = __fadd_rn(total[m][n][i], sum[m][n][i]);
                    sum[m][n][i] = 0;
                }
    }
    __syncthreads();
    nano_cuda_tile_finish<Shape>(a, at, total, reinterpret_cast<float *>(shared));
}

template <class Shape>
static inline void nano_cuda_tile_launch(struct nano_cuda_device *device,
                                         const struct nano_cuda_linear_args *args)
{
    const int across =
        args->tiles ? args->max_tiles : (args->rows + Shape::INPUTS - 1) / Shape::INPUTS;
    const int down = (nano_cuda_tile_rows(args) + Shape::ROWS - 1) / Shape::ROWS;
    nano_launch(device, nano_cuda_tile_kernel<Shape>,
                dim3(static_cast<unsigned>(across) * static_cast<unsigned>(down),
                     static_cast<unsigned>(args->num_heads)),
                dim3(NANO_CUDA_TILE_THREADS), Shape::SHARED_BYTES, *args);
}

#endif
