/* The kernels of attention with tensor cores, for the usual sizes of heads: what files of some
 * formats each have in common.
 *
 * K and V of a chunk of keys at a time come into a ring of slots in shared memory, as halves: K of
 * a chunk, its V, K of the next one; or K only where V is a part of it. Each is a step behind a
 * barrier, which also says that the slot of the step before can be filled again. */
#ifndef NANO_RUNNER_CUDA_CUDA_ATTENTION_MMA_H
#define NANO_RUNNER_CUDA_CUDA_ATTENTION_MMA_H

#include "runner/cuda/cuda_attention_load.h"
#include "runner/cuda/cuda_attention_tile.h"

namespace
{
/* Rows of an item from first_row on, as many as a block has. */
template <typename Shape>
__device__ void attend(const struct nano_attention_params &p,
                       const struct nano_cuda_attention_item &item, int first_row, uint8_t *shared)
{
    struct nano_attention_tile<Shape> tile;
    struct nano_attention_loader<Shape, (Shape::RAW_SLOTS > 0)> in;
    typename nano_attention_tile<Shape>::total_type total[Shape::COLUMN_TILES][4];
    const int first_chunk = item.begin / Shape::CHUNK * Shape::CHUNK;
    in.keys.p = tile.p = &p;
    in.keys.item = tile.item = &item;
    in.keys.kv_head = tile.kv_head = static_cast<int>(blockIdx.y);
    in.keys.table = nano_attention_table(p, item);
    in.shared = shared;
    in.begin(first_chunk);

    tile.warp = static_cast<int>(threadIdx.x) / NANO_WARP;
    tile.lane = static_cast<int>(threadIdx.x) % NANO_WARP;
    tile.g = tile.lane / 4;
    tile.t = tile.lane % 4;
    tile.shared_scores = reinterpret_cast<float *>(shared + Shape::SCORES_AT);
    tile.first_row = first_row + (Shape::IS_SHARED ? 0 : tile.warp * Shape::TILE);
    tile.num_rows = item.num_queries * p.group_heads - tile.first_row;
    if (tile.num_rows > Shape::TILE)
        tile.num_rows = Shape::TILE;
    tile.first_column = Shape::IS_SHARED ? tile.warp * (8 * Shape::COLUMN_TILES) : 0;
    tile.start();
#pragma unroll
    for (int i = 0; i < Shape::COLUMN_TILES * 4; i++)
        total[i / 4][i % 4] = 0;
    for (int chunk = first_chunk; chunk < item.end; chunk += Shape::CHUNK) {
        const bool sees = tile.sees(chunk);
        const uint16_t *slot = NULL;
#pragma unroll
        for (int is_v = 0; is_v < 2; is_v++) {
            if (is_v && Shape::V_IN_K)
                __syncthreads();
            else
                slot = in.next();
            if (sees && !is_v)
                tile.score_keys(slot, chunk);
            if (sees && is_v)
                tile.add_values(slot, chunk);
        }
        const int next = chunk + Shape::CHUNK;
        if (next >= item.end || next % NANO_ATTENTION_SPLIT == 0)
            tile.end_range(total);
    }
    if (item.partial < 0)
        tile.write_out(total);
    nano_cp_async_wait<0>();
    __syncthreads();
}

/* Whole: for more rows than a tile has. */
template <typename Whole, typename Shared>
__global__ void __launch_bounds__(Whole::THREADS, Whole::BLOCKS)
    attention_kernel(struct nano_attention_params p)
{
    nano_wait_for_earlier();
    NANO_DYNAMIC_SHARED(uint8_t, shared);
    const int num_items = p.args.batch->groups[p.args.group].num_items;
    const int first_row = static_cast<int>(blockIdx.z) * Whole::ROWS;
    for (int i = static_cast<int>(blockIdx.x); i < num_items; i += static_cast<int>(gridDim.x)) {
        const struct nano_cuda_attention_item item = nano_attention_items(p)[i];
        const int num_rows = item.num_queries * p.group_heads - first_row;
        if (num_rows <= 0)
            continue;
        if (Whole::IS_SHARED || num_rows <= Shared::TILE)
            attend<Shared>(p, item, first_row, shared);
        else
            attend<Whole>(p, item, first_row, shared);
    }
}

template <typename Whole, typename Shared>
void launch(struct nano_cuda_device *device, const struct nano_attention_params &params)
{
    const struct nano_cuda_attention_args &args = params.args;
    const int max_rows =
        params.group_heads * nano_cuda_attention_queries(args.num_heads, args.num_kv_heads);
    const int bytes =
        Whole::SHARED_BYTES > Shared::SHARED_BYTES ? Whole::SHARED_BYTES : Shared::SHARED_BYTES;
    nano_launch_early(device, attention_kernel<Whole, Shared>,
                      dim3(static_cast<unsigned>(nano_cuda_attention_blocks(&args)),
                           static_cast<unsigned>(args.num_kv_heads),
                           static_cast<unsigned>((max_rows + Whole::ROWS - 1) / Whole::ROWS)),
                      dim3(Whole::THREADS), static_cast<size_t>(bytes), params);
}

constexpr bool is_bytes(enum nano_kv_format format)
{
    return format == NANO_KV_FORMAT_Q8_0 || format == NANO_KV_FORMAT_FP8;
}

template <int Dim, enum nano_kv_format Format, int Blocks>
void launch_small(struct nano_cuda_device *device, const struct nano_attention_params &params)
{
    constexpr int slots = is_bytes(Format) ? 2 : 4, raw_slots = is_bytes(Format) ? 4 : 0;
    launch<nano_attention_shape<Dim, Dim, false, Format, 4, 1, 32, slots, raw_slots, Blocks>,
           nano_attention_shape<Dim, Dim, false, Format, 4, 4, 32, slots, raw_slots, Blocks>>(
        device, params);
}

/* Tiles that are too much for the registers of one warp are always shared. */
template <int KDim, int VDim, bool VInK, enum nano_kv_format Format, int Warps, int Chunk,
          int Slots, int RawSlots, int Blocks>
void launch_large(struct nano_cuda_device *device, const struct nano_attention_params &params)
{
    constexpr int slots = is_bytes(Format) ? Slots : 2, raw_slots = is_bytes(Format) ? RawSlots : 0;
    typedef nano_attention_shape<KDim, VDim, VInK, Format, Warps, Warps, Chunk, slots, raw_slots,
                                 Blocks>
        shape;
    launch<shape, shape>(device, params);
}

template <enum nano_kv_format Format>
bool launch_format(struct nano_cuda_device *device, const struct nano_attention_params &params)
{
    const int dim = params.args.head_dim, v_dim = params.args.v_head_dim;
    const bool same = dim == v_dim && !params.args.v_in_k;
    if (same && dim == 64)
        launch_small<64, Format, 3>(device, params);
    else if (same && dim == 80)
        launch_small<80, Format, 2>(device, params);
    else if (same && dim == 96)
        launch_small<96, Format, 2>(device, params);
    else if (same && dim == 112)
        launch_small<112, Format, 2>(device, params);
    else if (same && dim == 128)
        launch_small<128, Format, 2>(device, params);
    else if (same && dim == 192)
        launch_large<192, 192, false, Format, 4, 32, 2, 2, 3>(device, params);
    else if (same && dim == 256)
        launch_large<256, 256, false, Format, 4, 32, 2, 1, 3>(device, params);
    else if (params.args.v_in_k && dim == 576 && v_dim == 512)
        launch_large<576, 512, true, Format, 8, 16, 1, 2, 2>(device, params);
    else
        return false;
    return true;
}
} // namespace

#endif
