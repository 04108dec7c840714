/* As C++, for the emulated GPU. */
#include "runner/cuda/cuda_unpack.cu"
