/* The kernels of cuda_attention_mma.cu, emulated. */
#include "runner/cuda/cuda_attention_mma.cu"
