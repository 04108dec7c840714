/* The kernels of cuda_attention_mma8.cu, emulated. */
#include "runner/cuda/cuda_attention_mma8.cu"
