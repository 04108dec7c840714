/* The kernels of cuda_attention_any.cu, emulated. */
#include "runner/cuda/cuda_attention_any.cu"
