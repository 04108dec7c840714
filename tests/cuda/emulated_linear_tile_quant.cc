/* As C++, for the emulated GPU. */
#include "runner/cuda/cuda_linear_tile_quant.cu"
