/* What this folder defines: linear; the other slots are NEON's. */
#ifndef NANO_SIMD_NEON_I8MM_NEON_I8MM_H
#define NANO_SIMD_NEON_I8MM_NEON_I8MM_H

#include "simd/neon_i8mm/linears_neon_i8mm.h"
#include "simd/kernels.h"

#endif
