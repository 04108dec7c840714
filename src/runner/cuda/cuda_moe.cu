/* Mixtures of experts: who goes where, and the weighted sums. */
#include "runner/cuda/cuda_moe.h"

#include "runner/cuda/cuda_lang.h"

namespace
{
enum { PLAN_THREADS = 1024, PLAN_WARPS = PLAN_THREADS / NANO_WARP, COMBINE_THREADS = 256 };

__device__ int expert_of(const struct nano_cuda_moe_plan_args &a, int slot)
{
    const float *row = a.routes.data + slot / a.num_used * a.routes.stride;
    return reinterpret_cast<const struct nano_route *>(row)[slot % a.num_used].expert;
}

struct plan_memory {
    int count[PLAN_THREADS], first[PLAN_THREADS]; /* slots of an expert, and where they begin */
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

/* A warp puts the slots of an expert in their order, from place `next` on. */
__device__ void place_slots(const struct nano_cuda_moe_plan_args &a, int expert, int next)
{
    const int lane = static_cast<int>(threadIdx.x) % NANO_WARP, num_slots = a.rows * a.num_used;
    for (int first = 0; first < num_slots; first += NANO_WARP) {
        const int slot = first + lane;
        const bool is_here = slot < num_slots && expert_of(a, slot) == expert;
        const unsigned here = nano_ballot(is_here);
        if (is_here) {
            const int place = next + __popc(here & ((1u << lane) - 1));
            a.order[place] = slot;
            a.order_row[place] = slot / a.num_used;
        }
        next += __popc(here);
    }
}

/* One block, which counts the slots of up to 1024 experts at a time; a thread has an expert to sum
 * up the counts, then a warp has one, and goes through all slots again: so they stay in order. */
__global__ void __launch_bounds__(PLAN_THREADS)
    moe_plan_kernel(const struct nano_cuda_moe_plan_args a)
{
    nano_wait_for_earlier();
    __shared__ struct plan_memory m;
    const int thread = static_cast<int>(threadIdx.x), lane = thread % NANO_WARP,
              warp = thread / NANO_WARP, num_slots = a.rows * a.num_used;
    int first_slot = 0, first_tile = 0;
    for (int base = 0; base < a.num_experts; base += PLAN_THREADS) {
        m.count[thread] = 0;
        __syncthreads();
        for (int slot = thread; slot < num_slots; slot += PLAN_THREADS) {
            const int i = expert_of(a, slot) - base;
            if (i >= 0 && i < PLAN_THREADS)
                atomicAdd(&m.count[i], 1);
        }
        __syncthreads();
        const int count = m.count[thread];
        const int tiles = (count + NANO_CUDA_SKINNY_ROWS - 1) / NANO_CUDA_SKINNY_ROWS;
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
            a.tiles[next_tile + i] = {
                base + thread, next + i * NANO_CUDA_SKINNY_ROWS,
                min(count - i * NANO_CUDA_SKINNY_ROWS, static_cast<int>(NANO_CUDA_SKINNY_ROWS))};
        m.first[thread] = next;
        __syncthreads();
        for (int i = warp; i < PLAN_THREADS; i += PLAN_WARPS)
            if (m.count[i])
                place_slots(a, base + i, m.first[i]);
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
