/* What this folder defines: linear; the other slots are NEON's. */
#ifndef NANO_SIMD_NEON_DOTPROD_NEON_DOTPROD_H
#define NANO_SIMD_NEON_DOTPROD_NEON_DOTPROD_H

#include "simd/neon_dotprod/linears_neon_dotprod.h"
#include "simd/kernels.h"

#endif
