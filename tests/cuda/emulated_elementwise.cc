/* The kernels of cuda_elementwise.cu, emulated. */
#include "runner/cuda/cuda_elementwise.cu"
