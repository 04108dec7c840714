/* As C++, for the emulated GPU. */
#include "runner/cuda/cuda_linear_finish.cu"
