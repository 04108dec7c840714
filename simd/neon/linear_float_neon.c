/* F32, F16 and BF16 weights with F32 activations. */
#include "simd/neon/neon.h"

#include "simd/neon/vec_neon.h"

#include "simd/vec/linear_float_vec.h"

NANO_DEFINE_LINEAR(F32, f32, neon, float_tile, VEC_TILE_ROWS)
NANO_DEFINE_LINEAR(F16, f16, neon, float_tile, VEC_TILE_ROWS)
NANO_DEFINE_LINEAR(BF16, bf16, neon, float_tile, VEC_TILE_ROWS)
