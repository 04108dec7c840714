/* The tile kernel: 64 or 128 rows of the weights by 32 to 128 rows of the input.
 *
 *   shared memory: as many chunks of 32 columns of both as there is room for, 64 bytes a row, so
 *   that the eight lanes that are served at once read 128 neighbouring bytes: two rows of four
 *   parts.
 *
 *   warps: 2 along the weights' rows, 4 along the inputs.
 *
 * A lane's share of a chunk is the skinny kernel's: so are the sums. */
#include "runner/cuda/cuda_linear_tile.h"

#include "runner/cuda/cuda_linear_part.h"

namespace
{
enum {
    TILE_THREADS = 256,
    SHARED_BYTES = 48 * 1024,
    ROW_WARPS = 2,
    INPUT_WARPS = 4,
    CHUNK_BYTES = NANO_CUDA_CHUNK * 2
};

/* Row tile i of 16 in the block's order is a tile of the linear's; of a glu, each two are the
 * gate's and its factor's. */
struct row_tile {
    int segment, first_row;
};

__device__ struct row_tile find_row_tile(const struct nano_cuda_linear_args &a, int tile)
{
    struct row_tile r = {-1, 0};
    r.segment = nano_cuda_find_tile(a, a.glu ? tile / 2 : tile, &r.first_row);
    if (a.glu && r.segment == 0)
        r.segment = tile % 2;
    return r;
}

__device__ void multiply(float d[4], const uint4 &low, const uint4 &high, const uint4 &x)
{
    const uint32_t a0[4] = {low.x, high.x, low.y, high.y}, a1[4] = {low.z, high.z, low.w, high.w};
    const uint32_t b0[2] = {x.x, x.y}, b1[2] = {x.z, x.w};
    nano_mma_f16(d, a0, b0);
    nano_mma_f16(d, a1, b1);
}

/* RowTiles of 16 rows and InputTiles of 8 inputs per warp. */
template <int RowTiles, int InputTiles>
__global__ void __launch_bounds__(TILE_THREADS, 1) tile_kernel(const struct nano_cuda_linear_args a)
{
    enum {
        BLOCK_TILES = ROW_WARPS * RowTiles,
        ROWS = BLOCK_TILES * NANO_CUDA_MMA_ROWS,
        INPUTS = INPUT_WARPS * InputTiles * 8,
        /* Small tiles are for few blocks, which wait for memory: more of it is on its way. */
        STAGES = SHARED_BYTES / ((ROWS + INPUTS) * CHUNK_BYTES)
    };
    __shared__ __align__(128) unsigned char weights[STAGES][ROWS][CHUNK_BYTES];
    __shared__ __align__(128) unsigned char inputs[STAGES][INPUTS][CHUNK_BYTES];
    const int lane = threadIdx.x % NANO_WARP, warp = threadIdx.x / NANO_WARP;
    const int group = lane / 4, part = lane % 4;
    const int row_warp = warp % ROW_WARPS, input_warp = warp / ROW_WARPS;
    const int first_tile = blockIdx.y * BLOCK_TILES, first_input = blockIdx.x * INPUTS;

    /* What this thread copies: the same 16 bytes of a chunk in every (TILE_THREADS / 4)th row. */
    enum { COPY_ROWS = TILE_THREADS / 4 };
    const int copy_row = threadIdx.x / 4, copy_part = threadIdx.x % 4;
    const unsigned char *from_weights[(ROWS + COPY_ROWS - 1) / COPY_ROWS];
    const unsigned char *from_inputs[(INPUTS + COPY_ROWS - 1) / COPY_ROWS];
#pragma unroll
    for (int i = 0; i < (ROWS + COPY_ROWS - 1) / COPY_ROWS; i++) {
        const int r = copy_row + i * COPY_ROWS;
        const struct row_tile tile = find_row_tile(a, first_tile + r / NANO_CUDA_MMA_ROWS);
        const struct nano_cuda_segment s = nano_cuda_segment_of(a, tile.segment);
        const int row = tile.first_row + r % NANO_CUDA_MMA_ROWS;
        from_weights[i] =
            tile.segment < 0 || row >= s.rows
                ? NULL
                : static_cast<const unsigned char *>(s.weight) + row * s.row_bytes + copy_part * 16;
    }
#pragma unroll
    for (int i = 0; i < (INPUTS + COPY_ROWS - 1) / COPY_ROWS; i++) {
        const int t = first_input + copy_row + i * COPY_ROWS;
        from_inputs[i] = t >= a.rows
                             ? NULL
                             : reinterpret_cast<const unsigned char *>(a.half + t * a.half_stride) +
                                   copy_part * 16;
    }
    const unsigned char *nothing = reinterpret_cast<const unsigned char *>(a.half);
    const int num_chunks = static_cast<int>((a.cols + NANO_CUDA_CHUNK - 1) / NANO_CUDA_CHUNK);
    const auto copy = [&](int chunk) {
        const int stage = chunk % STAGES;
        if (chunk < num_chunks) {
            const int64_t offset = static_cast<int64_t>(chunk) * CHUNK_BYTES;
#pragma unroll
            for (int i = 0; i < (ROWS + COPY_ROWS - 1) / COPY_ROWS; i++)
                if (ROWS % COPY_ROWS == 0 || copy_row + i * COPY_ROWS < ROWS)
                    nano_cp_async16(&weights[stage][copy_row + i * COPY_ROWS][copy_part * 16],
                                    from_weights[i] ? from_weights[i] + offset : nothing,
                                    from_weights[i] != NULL);
#pragma unroll
            for (int i = 0; i < (INPUTS + COPY_ROWS - 1) / COPY_ROWS; i++)
                if (INPUTS % COPY_ROWS == 0 || copy_row + i * COPY_ROWS < INPUTS)
                    nano_cp_async16(&inputs[stage][copy_row + i * COPY_ROWS][copy_part * 16],
                                    from_inputs[i] ? from_inputs[i] + offset : nothing,
                                    from_inputs[i] != NULL);
        }
        nano_cp_async_commit();
    };

    float total[RowTiles][InputTiles][4] = {}, sum[RowTiles][InputTiles][4] = {};
    for (int chunk = 0; chunk < STAGES - 1; chunk++)
        copy(chunk);
    int chunk = 0;
    for (int slice = 0; slice < NANO_CUDA_SLICES; slice++) {
        const int end = nano_cuda_slice_begin(num_chunks, slice + 1);
        for (; chunk < end; chunk++) {
            nano_cp_async_wait<STAGES - 2>();
            __syncthreads();
            copy(chunk + STAGES - 1); /* into the stage that all have read before the barrier */
            const int stage = chunk % STAGES;
            uint4 x[InputTiles];
#pragma unroll
            for (int n = 0; n < InputTiles; n++)
                x[n] = *reinterpret_cast<const uint4 *>(
                    &inputs[stage][(input_warp * InputTiles + n) * 8 + group][part * 16]);
#pragma unroll
            for (int m = 0; m < RowTiles; m++) {
                const int row = (row_warp * RowTiles + m) * NANO_CUDA_MMA_ROWS + group;
                const uint4 low = *reinterpret_cast<const uint4 *>(&weights[stage][row][part * 16]);
                const uint4 high =
                    *reinterpret_cast<const uint4 *>(&weights[stage][row + 8][part * 16]);
#pragma unroll
                for (int n = 0; n < InputTiles; n++)
                    multiply(sum[m][n], low, high, x[n]);
            }
        }
#pragma unroll
        for (int m = 0; m < RowTiles; m++)
#pragma unroll
            for (int n = 0; n < InputTiles; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    total[m][n][i] += sum[m][n][i];
                    sum[m][n][i] = 0;
                }
    }

#pragma unroll
    for (int m = 0; m < RowTiles; m++) {
        if (a.glu && m % 2)
            continue;
        const struct row_tile tile = find_row_tile(a, first_tile + row_warp * RowTiles + m);
        if (tile.segment < 0)
            continue;
        const struct nano_cuda_segment segment = nano_cuda_segment_of(a, tile.segment);
#pragma unroll
        for (int n = 0; n < InputTiles; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int t = first_input + (input_warp * InputTiles + n) * 8 + part * 2 + i % 2;
                const int row = tile.first_row + group + i / 2 * 8;
                if (t >= a.rows || row >= segment.rows)
                    continue;
                const float up = m + 1 < RowTiles ? total[m + 1 < RowTiles ? m + 1 : m][n][i] : 0;
                nano_cuda_linear_finish(a, segment, 0, t, 0, row, a.scales[t], total[m][n][i], up);
            }
    }
}

template <int RowTiles, int InputTiles>
void launch(struct nano_cuda_device *device, const struct nano_cuda_linear_args *args)
{
    const int tiles = nano_cuda_linear_tiles(args) * (args->glu ? 2 : 1);
    const int block_tiles = ROW_WARPS * RowTiles, block_inputs = INPUT_WARPS * InputTiles * 8;
    nano_launch(device, tile_kernel<RowTiles, InputTiles>,
                dim3(static_cast<unsigned>((args->rows + block_inputs - 1) / block_inputs),
                     static_cast<unsigned>((tiles + block_tiles - 1) / block_tiles)),
                dim3(TILE_THREADS), 0, *args);
}
} // namespace

/* The largest tile that still gives every multiprocessor of a large GPU something to do. */
void nano_cuda_linear_tile(struct nano_cuda_device *device,
                           const struct nano_cuda_linear_args *args)
{
    enum { ENOUGH_BLOCKS = 128 };
    const int64_t rows = nano_cuda_linear_tiles(args) * (args->glu ? 2 : 1) * NANO_CUDA_MMA_ROWS;
    if ((rows / 128) * (args->rows / 128) >= ENOUGH_BLOCKS)
        launch<4, 4>(device, args);
    else if ((rows / 64) * (args->rows / 64) >= ENOUGH_BLOCKS)
        launch<2, 2>(device, args);
    else
        launch<2, 1>(device, args);
}
