/* The kernels of cuda_kv.cu, emulated. */
#include "runner/cuda/cuda_kv.cu"
