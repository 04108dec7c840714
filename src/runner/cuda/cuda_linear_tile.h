/* The tile kernel of linears (cuda_linear.h). */
#ifndef NANO_RUNNER_CUDA_CUDA_LINEAR_TILE_H
#define NANO_RUNNER_CUDA_CUDA_LINEAR_TILE_H

#include "runner/cuda/cuda_linear.h"

/* F16 weights, one head, no experts. */
void nano_cuda_linear_tile(struct nano_cuda_device *device,
                           const struct nano_cuda_linear_args *args);

#endif
