/* The CUDA runner: interprets programs on an NVIDIA GPU. */
#ifndef NANO_RUNNER_CUDA_CUDA_RUNNER_H
#define NANO_RUNNER_CUDA_CUDA_RUNNER_H

#include "runner/runner.h"

extern const struct nano_runner nano_runner_cuda;

#endif
