/* The kernels of cuda_recurrent.cu, emulated. */
#include "runner/cuda/cuda_recurrent.cu"
