/* The kernels of cuda_short_conv.cu, emulated. */
#include "runner/cuda/cuda_short_conv.cu"
