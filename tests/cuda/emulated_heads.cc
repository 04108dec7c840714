/* The kernels of cuda_heads.cu, emulated. */
#include "runner/cuda/cuda_heads.cu"
