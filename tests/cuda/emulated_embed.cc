/* The embedding kernels on the emulated GPU. */
#include "runner/cuda/cuda_embed.cu"
