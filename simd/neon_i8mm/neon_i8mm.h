/* What this folder defines: linear; the other slots are NEON's. */
#ifndef NANO_SIMD_NEON_I8MM_NEON_I8MM_H
#define NANO_SIMD_NEON_I8MM_NEON_I8MM_H

#include "simd/kernels.h"

#define NANO_FORMAT(NAME, name, gguf_id, length, bytes, activation) \
    nano_linear_fn nano_linear_##name##_neon_i8mm;
#include "simd/quant.def"
#undef NANO_FORMAT

#endif
