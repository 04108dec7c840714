/* Mixtures of experts on the GPU: rows are handed to their experts in tiles, and come back as sums.
 *
 *   slots   row 0's experts, row 1's …: slot s is row s / num_used
 *   order   the slots of expert 0 in ascending order, of expert 1 …
 *   tiles   pieces of the order of at most `tile_slots` slots, one expert's each */
#ifndef NANO_RUNNER_CUDA_CUDA_MOE_H
#define NANO_RUNNER_CUDA_CUDA_MOE_H

#include "runner/cuda/cuda_linear.h"

#ifdef __cplusplus
extern "C" {
#endif

struct nano_cuda_moe_plan_args {
    struct nano_cuda_view routes; /* rows of num_used struct nano_route */
    int rows, num_used, num_experts, tile_slots;
    struct nano_cuda_expert_tile *tiles; /* [nano_cuda_moe_max_tiles] */
    int32_t *num_tiles;
    int32_t *order;     /* [rows * num_used]: slot */
    int32_t *order_row; /* [rows * num_used]: its row */
};

static inline int nano_cuda_moe_max_tiles(int rows, int num_used, int num_experts, int tile_slots)
{
    const int slots = rows * num_used;
    return slots / tile_slots + (slots < num_experts ? slots : num_experts);
}

/* By what an expert has on average: the skinny kernel's, or the tile kernel's of F16 or else of
 * quantised weights. */
static inline int nano_cuda_moe_tile_slots(int rows, int num_used, int num_experts, bool is_half)
{
    const int slots = rows * num_used;
    if (is_half && slots / num_experts >= NANO_CUDA_HALF_TILE_SLOTS * 3 / 4)
        return NANO_CUDA_HALF_TILE_SLOTS;
    return slots / num_experts >= NANO_CUDA_SKINNY_ROWS ? NANO_CUDA_TILE_SLOTS
                                                        : NANO_CUDA_SKINNY_ROWS;
}

void nano_cuda_moe_plan(struct nano_cuda_device *device,
                        const struct nano_cuda_moe_plan_args *args);

/* out[row] = sum over the row's slots, in order, of weight * in[slot]. */
struct nano_cuda_moe_combine_args {
    struct nano_cuda_view routes, in, out;
    int rows, num_used;
    int64_t width;
};
void nano_cuda_moe_combine(struct nano_cuda_device *device,
                           const struct nano_cuda_moe_combine_args *args);

#ifdef __cplusplus
}
#endif

#endif
