/* Mixtures of experts: who goes where, and the weighted sums. */
#include "runner/cuda/cuda_moe.h"

#include "runner/cuda/cuda_lang.h"

namespace
{
enum {
    PLAN_THREADS = 1024,
    PLAN_WARPS = PLAN_THREADS / NANO_WARP,
    PLAN_EXPERTS = 256, /* at a time */
    COMBINE_THREADS = 256
};

__device__ int expert_of(const struct nano_cuda_moe_plan_args &a, int slot)
{
    const float *row = a.routes.data + slot / a.num_used * a.routes.stride;
    return reinterpret_cast<const struct nano_route *>(row)[slot % a.num_used].expert;
}

struct plan_memory {
    /* Of a warp's slots, those of an expert: how many, then where the next one goes. */
    int next[PLAN_WARPS][PLAN_EXPERTS];
    int slots_of_warps[PLAN_WARPS], tiles_of_warps[PLAN_WARPS];
};

/* The sum of what the lanes up to this one give. */
__device__ int scan_warp(int value)
{
    const int lane = static_cast<int>(threadIdx.x) % NANO_WARP;
    for (int d = 1; d < NANO_WARP; d *= 2) {
        const int other = nano_shfl(value, lane - d);
        value += lane >= d ? other : 0;
    }
    return value;
}

/* The sum of what earlier warps have, and in *total that of all. */
__device__ int before_warp(const int *of_warps, int *total)
{
    const int warp = static_cast<int>(threadIdx.x) / NANO_WARP;
    const int sums = scan_warp(of_warps[threadIdx.x % NANO_WARP]);
    const int before = nano_shfl(sums, warp - 1);
    *total = nano_shfl(sums, NANO_WARP - 1);
    return warp > 0 ? before : 0;
}

/* A warp puts slots [begin, end) in their places, if they are of experts from `base` on. */
__device__ void place_slots(const struct nano_cuda_moe_plan_args &a, int begin, int end, int base,
                            int next[PLAN_EXPERTS])
{
    const int lane = static_cast<int>(threadIdx.x) % NANO_WARP;
    for (int first = begin; first < end; first += NANO_WARP) {
        const int slot = first + lane;
        const int i = slot < end ? expert_of(a, slot) - base : -1;
        const bool is_here = i >= 0 && i < PLAN_EXPERTS;
        const unsigned same = nano_match(is_here ? i : -1), before = same & ((1u << lane) - 1);
        if (is_here) {
            const int place = next[i] + __popc(before);
            a.order[place] = slot;
            a.order_row[place] = slot / a.num_used;
        }
        __syncwarp();
        if (is_here && !before)
            next[i] += __popc(same);
        __syncwarp();
    }
}

/* One block. A warp has neighbouring slots, which it counts and later places, so that they stay in
 * order; a thread has an expert to sum up what the warps have of it. */
__global__ void __launch_bounds__(PLAN_THREADS, 1)
    moe_plan_kernel(const struct nano_cuda_moe_plan_args a)
{
    nano_wait_for_earlier();
    __shared__ struct plan_memory m;
    const int thread = static_cast<int>(threadIdx.x), lane = thread % NANO_WARP,
              warp = thread / NANO_WARP, num_slots = a.rows * a.num_used;
    const int share = (num_slots + PLAN_THREADS - 1) / PLAN_THREADS * NANO_WARP;
    const int begin = min(warp * share, num_slots), end = min(begin + share, num_slots);
    int first_slot = 0, first_tile = 0;
    for (int base = 0; base < a.num_experts; base += PLAN_EXPERTS) {
        for (int i = thread; i < PLAN_WARPS * PLAN_EXPERTS; i += PLAN_THREADS)
            m.next[i / PLAN_EXPERTS][i % PLAN_EXPERTS] = 0;
        __syncthreads();
        for (int slot = begin + lane; slot < end; slot += NANO_WARP) {
            const int i = expert_of(a, slot) - base;
            if (i >= 0 && i < PLAN_EXPERTS)
                atomicAdd(&m.next[warp][i], 1);
        }
        __syncthreads();
        int count = 0;
        for (int w = 0; w < PLAN_WARPS && thread < PLAN_EXPERTS; w++) {
            const int of_warp = m.next[w][thread];
            m.next[w][thread] = count;
            count += of_warp;
        }
        const int tiles = (count + a.tile_slots - 1) / a.tile_slots;
        const int slots_to_here = scan_warp(count), tiles_to_here = scan_warp(tiles);
        if (lane == NANO_WARP - 1) {
            m.slots_of_warps[warp] = slots_to_here;
            m.tiles_of_warps[warp] = tiles_to_here;
        }
        __syncthreads();
        int all_slots, all_tiles;
        const int next =
            first_slot + before_warp(m.slots_of_warps, &all_slots) + slots_to_here - count;
        const int next_tile =
            first_tile + before_warp(m.tiles_of_warps, &all_tiles) + tiles_to_here - tiles;
        for (int i = 0; i < tiles; i++)
            a.tiles[next_tile + i] = {base + thread, next + i * a.tile_slots,
                                      min(count - i * a.tile_slots, a.tile_slots)};
        for (int w = 0; w < PLAN_WARPS && thread < PLAN_EXPERTS; w++)
            m.next[w][thread] += next;
        __syncthreads();
        place_slots(a, begin, end, base, m.next[warp]);
        first_slot += all_slots;
        first_tile += all_tiles;
        __syncthreads();
    }
    if (thread == 0)
        *a.num_tiles = first_tile;
}

__global__ void combine_kernel(const struct nano_cuda_moe_combine_args a)
{
    nano_wait_for_earlier();
    const int64_t c = static_cast<int64_t>(blockIdx.x) * COMBINE_THREADS + threadIdx.x;
    const int64_t row = blockIdx.y + static_cast<int64_t>(blockIdx.z) * gridDim.y;
    if (c >= a.width || row >= a.rows)
        return;
    const struct nano_route *routes =
        reinterpret_cast<const struct nano_route *>(a.routes.data + row * a.routes.stride);
    float sum = 0;
    for (int i = 0; i < a.num_used; i++)
        sum = __fmaf_rn(routes[i].weight, a.in.data[(row * a.num_used + i) * a.in.stride + c], sum);
    a.out.data[row * a.out.stride + c] = sum;
}
} // namespace

void nano_cuda_moe_plan(struct nano_cuda_device *device, const struct nano_cuda_moe_plan_args *args)
{
    nano_launch_early(device, moe_plan_kernel, dim3(1), dim3(PLAN_THREADS), 0, *args);
}

void nano_cuda_moe_combine(struct nano_cuda_device *device,
                           const struct nano_cuda_moe_combine_args *args)
{
    const unsigned y = static_cast<unsigned>(args->rows < 32768 ? args->rows : 32768);
    nano_launch_early(
        device, combine_kernel,
        dim3(static_cast<unsigned>((args->width + COMBINE_THREADS - 1) / COMBINE_THREADS), y,
             (static_cast<unsigned>(args->rows) + y - 1) / y),
        dim3(COMBINE_THREADS), 0, *args);
}
