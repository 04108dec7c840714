/* Attention with tensor cores, for F16 and BF16 and the usual sizes of heads.
 *
 * K and V of a chunk of keys at a time come into a ring of slots in shared memory: K of a chunk,
 * its V, K of the next one; or K only where V is a part of it. Each is a step behind a barrier,
 * which also says that the slot of the step before can be filled again. */
#include "runner/cuda/cuda_attention_tile.h"

namespace
{
/* Fills slots, step after step. Neighbouring threads load a key, each its share of 16 bytes. */
template <typename Shape> struct loader {
    static constexpr int KEY_THREADS = Shape::THREADS / Shape::CHUNK;
    static constexpr int CHUNK_STEPS = Shape::V_IN_K ? 1 : 2;
    const struct nano_attention_params *p;
    const struct nano_cuda_attention_item *item;
    const int32_t *table;
    uint16_t *slots;
    int kv_head, num_steps;
    int position;  /* of the thread's key in the next chunk */
    int32_t block; /* where it is; read a chunk ahead */
    int64_t token; /* of the chunk that is being loaded, from the pool's beginning */
    bool valid;

    __device__ void look_up(void)
    {
        if (position >= item->begin && position < item->end)
            block = table[position / p->args.block_size];
    }

    __device__ void begin(int first_chunk)
    {
        num_steps = CHUNK_STEPS * ((item->end - first_chunk + Shape::CHUNK - 1) / Shape::CHUNK);
        position = first_chunk + static_cast<int>(threadIdx.x) / KEY_THREADS;
        block = 0;
        token = 0;
        valid = false;
        look_up();
    }

    __device__ void next_chunk(void)
    {
        const int block_size = p->args.block_size;
        valid = position >= item->begin && position < item->end;
        token = valid
                    ? (static_cast<int64_t>(block) * p->args.num_kv_heads + kv_head) * block_size +
                          position % block_size
                    : 0;
        position += Shape::CHUNK;
        look_up();
    }

    template <int Dim> __device__ void copy(const uint8_t *pool, int step) const
    {
        const uint16_t *from = reinterpret_cast<const uint16_t *>(pool) + token * Dim;
        uint16_t *to = slots + step % Shape::SLOTS * Shape::SLOT_HALVES +
                       static_cast<int>(threadIdx.x) / KEY_THREADS * Shape::STRIDE;
#pragma unroll
        for (int i = 0; i < Dim / 8; i += KEY_THREADS) {
            const int unit = i + static_cast<int>(threadIdx.x) % KEY_THREADS;
            if (Dim / 8 % KEY_THREADS == 0 || unit < Dim / 8)
                nano_cp_async16(to + 8 * unit, from + 8 * unit, valid);
        }
    }

    __device__ void load(int step)
    {
        if (step < num_steps) {
            if (step % CHUNK_STEPS == 0) {
                next_chunk();
                copy<Shape::K_DIM>(p->k.data, step);
            } else {
                copy<Shape::V_DIM>(p->v.data, step);
            }
        }
        nano_cp_async_commit();
    }
};

/* Rows of an item from first_row on, as many as a block has. */
template <typename Shape>
__device__ void attend(const struct nano_attention_params &p,
                       const struct nano_cuda_attention_item &item, int first_row, uint16_t *shared)
{
    struct nano_attention_tile<Shape> tile;
    struct loader<Shape> in;
    typename nano_attention_tile<Shape>::total_type total[Shape::COLUMN_TILES][4];
    const int first_chunk = item.begin / Shape::CHUNK * Shape::CHUNK;
    in.p = tile.p = &p;
    in.item = tile.item = &item;
    in.kv_head = tile.kv_head = static_cast<int>(blockIdx.y);
    in.table = nano_attention_table(p, item);
    in.slots = shared;
    in.begin(first_chunk);
#pragma unroll
    for (int step = 0; step < Shape::SLOTS - 1; step++)
        in.load(step);

    tile.warp = static_cast<int>(threadIdx.x) / NANO_WARP;
    tile.lane = static_cast<int>(threadIdx.x) % NANO_WARP;
    tile.g = tile.lane / 4;
    tile.t = tile.lane % 4;
    tile.shared_scores = reinterpret_cast<float *>(shared + Shape::SLOTS * Shape::SLOT_HALVES);
    tile.first_row = first_row + (Shape::IS_SHARED ? 0 : tile.warp * Shape::TILE);
    tile.num_rows = item.num_queries * p.group_heads - tile.first_row;
    if (tile.num_rows > Shape::TILE)
        tile.num_rows = Shape::TILE;
    tile.first_column = Shape::IS_SHARED ? tile.warp * (Shape::V_DIM / Shape::WARPS) : 0;
    tile.start();
#pragma unroll
    for (int i = 0; i < Shape::COLUMN_TILES * 4; i++)
        total[i / 4][i % 4] = 0;
    int step = 0;
    for (int chunk = first_chunk; chunk < item.end; chunk += Shape::CHUNK) {
        const bool sees = tile.sees(chunk);
        const uint16_t *slot = shared;
#pragma unroll
        for (int is_v = 0; is_v < 2; is_v++) {
            if (is_v && Shape::V_IN_K) {
                __syncthreads();
            } else {
                nano_cp_async_wait<Shape::SLOTS - 2>();
                __syncthreads();
                in.load(step + Shape::SLOTS - 1);
                slot = shared + step % Shape::SLOTS * Shape::SLOT_HALVES;
                step++;
            }
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
    NANO_DYNAMIC_SHARED(uint16_t, shared);
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

template <int Dim, bool Bf16, int Blocks>
void launch_small(struct nano_cuda_device *device, const struct nano_attention_params &params)
{
    launch<nano_attention_shape<Dim, Dim, false, Bf16, 4, 1, 32, 4, Blocks>,
           nano_attention_shape<Dim, Dim, false, Bf16, 4, 4, 32, 4, Blocks>>(device, params);
}

/* Tiles that are too much for the registers of one warp are always shared. */
template <int KDim, int VDim, bool VInK, bool Bf16, int Warps, int Chunk, int Blocks>
void launch_large(struct nano_cuda_device *device, const struct nano_attention_params &params)
{
    typedef nano_attention_shape<KDim, VDim, VInK, Bf16, Warps, Warps, Chunk, 2, Blocks> shape;
    launch<shape, shape>(device, params);
}

template <bool Bf16>
bool launch_format(struct nano_cuda_device *device, const struct nano_attention_params &params)
{
    const int dim = params.args.head_dim, v_dim = params.args.v_head_dim;
    const bool same = dim == v_dim && !params.args.v_in_k;
    if (same && dim == 64)
        launch_small<64, Bf16, 3>(device, params);
    else if (same && dim == 96)
        launch_small<96, Bf16, 2>(device, params);
    else if (same && dim == 128)
        launch_small<128, Bf16, 2>(device, params);
    else if (same && dim == 256)
        launch_large<256, 256, false, Bf16, 4, 32, 3>(device, params);
    else if (params.args.v_in_k && dim == 576 && v_dim == 512)
        launch_large<576, 512, true, Bf16, 8, 16, 2>(device, params);
    else
        return false;
    return true;
}
} // namespace

bool nano_cuda_attention_mma(struct nano_cuda_device *device,
                             const struct nano_attention_params &params)
{
    if (params.args.format == NANO_KV_FORMAT_F16)
        return launch_format<false>(device, params);
    return params.args.format == NANO_KV_FORMAT_BF16 && launch_format<true>(device, params);
}
