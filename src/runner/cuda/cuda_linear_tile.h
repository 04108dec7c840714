/* The tile kernel of linears (cuda_linear.h). */
#ifndef NANO_RUNNER_CUDA_CUDA_LINEAR_TILE_H
#define NANO_RUNNER_CUDA_CUDA_LINEAR_TILE_H

#include "runner/cuda/cuda_linear.h"

/* Rows of the weights x inputs of a block. */
enum nano_cuda_tile {
    NANO_CUDA_TILE_128X192,
    NANO_CUDA_TILE_128X128,
    NANO_CUDA_TILE_128X64,
    NANO_CUDA_TILE_64X64,
    NANO_CUDA_TILE_64X32,
    NANO_CUDA_NUM_TILES
};

#ifdef __cplusplus
extern "C" {
#endif

/* F16 weights; of experts, tiles of up to NANO_CUDA_HALF_TILE_SLOTS. */
void nano_cuda_linear_tile(struct nano_cuda_device *device,
                           const struct nano_cuda_linear_args *args);
/* By a tile of that size, which only the speed depends on. */
void nano_cuda_linear_tile_of(struct nano_cuda_device *device,
                              const struct nano_cuda_linear_args *args, enum nano_cuda_tile tile);

/* Quantised weights; of experts, tiles of up to NANO_CUDA_TILE_SLOTS. */
void nano_cuda_linear_tile_quantised(struct nano_cuda_device *device,
                                     const struct nano_cuda_linear_args *args);
/* Whether it should be faster than the skinny kernel, or is the only one that can. */
bool nano_cuda_linear_tile_pays(struct nano_cuda_device *device,
                                const struct nano_cuda_linear_args *args);

#ifdef __cplusplus
}
#endif

#endif
