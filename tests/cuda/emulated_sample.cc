/* The kernels of runner/cuda/cuda_sample.cu on the emulated GPU. */
#include "runner/cuda/cuda_sample.cu"
