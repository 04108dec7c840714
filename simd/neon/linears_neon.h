/* The linear kernels of this folder: apart from the others, since they take long to compile. */
#ifndef NANO_SIMD_NEON_LINEARS_NEON_H
#define NANO_SIMD_NEON_LINEARS_NEON_H

#include "simd/linear.h"

#define NANO_FORMAT(NAME, name, gguf_id, length, bytes, activation) \
    nano_linear_fn nano_linear_##name##_neon;
#include "simd/quant.def"
#undef NANO_FORMAT

#endif
