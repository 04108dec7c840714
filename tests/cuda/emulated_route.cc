/* The kernels of cuda_route.cu, emulated. */
#include "runner/cuda/cuda_route.cu"
