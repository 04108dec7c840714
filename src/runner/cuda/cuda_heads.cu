/* Heads on their way to attention: a warp takes one of a row, or a few that are turned by the same
 * angles, through shared memory. */
#include "runner/cuda/cuda_heads.h"

#include "runner/cuda/cuda_kv_head.h"
#include "runner/cuda/cuda_lang.h"
#include "runner/cuda/cuda_norm_row.h"
#include "runner/cuda/cuda_rope.h"

namespace
{
enum {
    WARPS = 4,
    MANY_ROWS = 256, /* from which on a warp takes several heads */
    MANY_HEADS = 4,
};

struct heads_args {
    struct nano_cuda_heads_args op;
    int heads;        /* of a warp */
    int warps_of_row; /* for all parts */
    int columns;      /* of the widest head, even */
};

/* How many warps a part's heads of a row take. */
__host__ __device__ inline int warps_of(int num_heads, int heads)
{
    return (num_heads + heads - 1) / heads;
}

/* Part `index`: read with constant indices, so that the arguments stay where they are. */
__device__ inline struct nano_cuda_head_part part_of(const struct nano_cuda_heads_args &op,
                                                     int index)
{
    struct nano_cuda_head_part part = op.parts[0];
    for (int i = 1; i < NANO_CUDA_HEAD_PARTS; i++)
        if (index == i)
            part = op.parts[i];
    return part;
}

__device__ void normalise(const struct nano_cuda_head_part &part, int head, float *x, int lane)
{
    struct nano_cuda_normal n = {x, part.weight ? part.weight + head * part.weight_stride : NULL,
                                 part.bias ? part.bias + head * part.weight_stride : NULL, 0, 1};
    nano_cuda_norm_find<false>(&n, part.norm, part.head_dim, part.eps, lane, NULL);
    n.each(part.head_dim, lane, NANO_WARP, [&](int64_t c, float value) { x[c] = value; });
}

__device__ void turn(const struct nano_cuda_head_part &part, const float2 *turns, float *x,
                     int lane)
{
    const int step = part.adjacent ? 2 : 1, distance = part.adjacent ? 1 : part.num_pairs;
    for (int pair = lane; pair < part.num_pairs; pair += NANO_WARP) {
        float *p = x + part.rope_offset + pair * step;
        const float2 turned = nano_cuda_turned(make_float2(p[0], p[distance]), turns[pair]);
        p[0] = turned.x;
        p[distance] = turned.y;
    }
}

template <enum nano_kv_format Format>
__device__ void store(const struct nano_cuda_heads_args &op, const struct nano_cuda_head_part &part,
                      int slot, int head, const float *x, int lane)
{
    const struct nano_kv_pool pool =
        nano_kv_pool_of(Format, part.pool, part.num_heads, part.head_dim, op.block_size);
    nano_cuda_kv_store_head<Format>(
        pool, slot / op.block_size,
        static_cast<int64_t>(head) * op.block_size + slot % op.block_size, x, lane);
}

template <enum nano_kv_format Format>
__global__ void __launch_bounds__(WARPS *NANO_WARP) heads_kernel(struct heads_args args)
{
    nano_wait_for_earlier();
    NANO_DYNAMIC_SHARED(float, shared);
    const struct nano_cuda_heads_args &op = args.op;
    const int lane = static_cast<int>(threadIdx.x) % NANO_WARP,
              warp = static_cast<int>(threadIdx.x) / NANO_WARP;
    const int64_t row = blockIdx.x;
    int place = static_cast<int>(blockIdx.y) * WARPS + warp, index = 0;
    if (place >= args.warps_of_row)
        return;
    for (int i = 0; i + 1 < op.num_parts; i++) {
        const int warps = warps_of(op.parts[i].num_heads, args.heads);
        if (index == i && place >= warps)
            place -= warps, index++;
    }
    const struct nano_cuda_head_part part = part_of(op, index);
    float *x = shared + warp * args.columns;
    float2 *turns = reinterpret_cast<float2 *>(shared + (WARPS + warp) * args.columns);
    const int slot = part.pool ? op.slots[row] : -1;
    if (part.inv_freq) {
        const int position = op.positions[row];
        for (int pair = lane; pair < part.num_pairs; pair += NANO_WARP)
            turns[pair] = nano_cuda_turn(position, part.inv_freq[pair], part.magnitude);
    }
    const int end = min((place + 1) * args.heads, part.num_heads);
    for (int head = place * args.heads; head < end; head++) {
        float *out = part.x.data + row * part.x.stride + static_cast<int64_t>(head) * part.head_dim;
        for (int c = lane; c < part.head_dim; c += NANO_WARP)
            x[c] = out[c];
        if (part.norm != NANO_CUDA_NORM_NONE)
            normalise(part, head, x, lane);
        __syncwarp();
        if (part.inv_freq)
            turn(part, turns, x, lane);
        __syncwarp();
        if (part.norm != NANO_CUDA_NORM_NONE || part.inv_freq)
            for (int c = lane; c < part.head_dim; c += NANO_WARP)
                out[c] = x[c];
        if (slot >= 0)
            store<Format>(op, part, slot, head, x, lane);
        __syncwarp();
    }
}
} // namespace

void nano_cuda_heads(struct nano_cuda_device *device, const struct nano_cuda_heads_args *args)
{
    static void (*const kernels[NANO_NUM_KV_FORMATS])(struct heads_args) = {
        heads_kernel<NANO_KV_FORMAT_F32>, heads_kernel<NANO_KV_FORMAT_F16>,
        heads_kernel<NANO_KV_FORMAT_BF16>, heads_kernel<NANO_KV_FORMAT_Q8_0>,
        heads_kernel<NANO_KV_FORMAT_FP8>};
    struct heads_args kernel_args = {*args, args->rows < MANY_ROWS ? 1 : MANY_HEADS, 0, 0};
    for (int i = 0; i < args->num_parts; i++) {
        const int columns = (args->parts[i].head_dim + 1) / 2 * 2;
        kernel_args.warps_of_row += warps_of(args->parts[i].num_heads, kernel_args.heads);
        kernel_args.columns = columns > kernel_args.columns ? columns : kernel_args.columns;
    }
    nano_launch_early(device, kernels[args->format],
                      dim3(static_cast<unsigned>(args->rows),
                           static_cast<unsigned>((kernel_args.warps_of_row + WARPS - 1) / WARPS)),
                      dim3(WARPS * NANO_WARP),
                      2 * WARPS * static_cast<size_t>(kernel_args.columns) * sizeof(float),
                      kernel_args);
}
