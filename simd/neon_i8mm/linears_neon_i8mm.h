/* The linear kernels of this folder: apart from the others, since they take long to compile. */
#ifndef NANO_SIMD_NEON_I8MM_LINEARS_NEON_I8MM_H
#define NANO_SIMD_NEON_I8MM_LINEARS_NEON_I8MM_H

#include "simd/linear.h"

#define NANO_FORMAT(NAME, name, gguf_id, length, bytes, activation) \
    nano_linear_fn nano_linear_##name##_neon_i8mm;
#include "simd/quant.def"
#undef NANO_FORMAT

#endif
