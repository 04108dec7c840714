/* Mixtures of experts: who goes where, and the weighted sums. */
#include "runner/cuda/cuda_moe.h"

#include "runner/cuda/cuda_lang.h"

namespace
{
enum { PLAN_THREADS = 1024, COMBINE_THREADS = 256 };

__device__ int expert_of(const struct nano_cuda_moe_plan_args &a, int slot)
{
    const float *row = a.routes.data + slot / a.num_used * a.routes.stride;
    return reinterpret_cast<const struct nano_route *>(row)[slot % a.num_used].expert;
}

/* One block. A thread has every 1024th expert and goes through all slots: there are few of either,
 * and so the order needs no sorting. */
__global__ void moe_plan_kernel(const struct nano_cuda_moe_plan_args a)
{
    __shared__ int slots_before[PLAN_THREADS], tiles_before[PLAN_THREADS];
    const int num_slots = a.rows * a.num_used;
    int first_slot = 0, first_tile = 0;
    for (int base = 0; base < a.num_experts; base += PLAN_THREADS) {
        const int expert = base + static_cast<int>(threadIdx.x);
        int count = 0;
        if (expert < a.num_experts)
            for (int slot = 0; slot < num_slots; slot++)
                count += expert_of(a, slot) == expert;
        const int tiles = (count + NANO_CUDA_SKINNY_ROWS - 1) / NANO_CUDA_SKINNY_ROWS;
        slots_before[threadIdx.x] = count;
        tiles_before[threadIdx.x] = tiles;
        __syncthreads();
        if (threadIdx.x == 0) {
            for (int i = 0; i < PLAN_THREADS; i++) {
                const int slots = slots_before[i], new_tiles = tiles_before[i];
                slots_before[i] = first_slot;
                tiles_before[i] = first_tile;
                first_slot += slots;
                first_tile += new_tiles;
            }
            *a.num_tiles = first_tile;
        }
        __syncthreads();
        int next = slots_before[threadIdx.x];
        for (int i = 0; i < tiles; i++)
            a.tiles[tiles_before[threadIdx.x] + i] = {
                expert, next + i * NANO_CUDA_SKINNY_ROWS,
                min(count - i * NANO_CUDA_SKINNY_ROWS, static_cast<int>(NANO_CUDA_SKINNY_ROWS))};
        if (count)
            for (int slot = 0; slot < num_slots; slot++)
                if (expert_of(a, slot) == expert) {
                    a.order[next] = slot;
                    a.order_row[next++] = slot / a.num_used;
                }
        __syncthreads();
    }
}

__global__ void combine_kernel(const struct nano_cuda_moe_combine_args a)
{
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
    nano_launch(device, moe_plan_kernel, dim3(1), dim3(PLAN_THREADS), 0, *args);
}

void nano_cuda_moe_combine(struct nano_cuda_device *device,
                           const struct nano_cuda_moe_combine_args *args)
{
    const unsigned y = static_cast<unsigned>(args->rows < 32768 ? args->rows : 32768);
    nano_launch(device, combine_kernel,
                dim3(static_cast<unsigned>((args->width + COMBINE_THREADS - 1) / COMBINE_THREADS),
                     y, (static_cast<unsigned>(args->rows) + y - 1) / y),
                dim3(COMBINE_THREADS), 0, *args);
}
