/* The kernels of cuda_attention.cu, emulated. */
#include "runner/cuda/cuda_attention.cu"
