/* The linear kernels of this folder: apart from the others, since they take long to compile. */
#ifndef NANO_SIMD_AVX2_LINEARS_AVX2_H
#define NANO_SIMD_AVX2_LINEARS_AVX2_H

#include "simd/linear.h"

#define NANO_FORMAT(NAME, name, gguf_id, length, bytes, activation) \
    nano_linear_fn nano_linear_##name##_avx2;
#include "simd/quant.def"
#undef NANO_FORMAT

#endif
