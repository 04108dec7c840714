/* F32, F16 and BF16 weights with F32 activations. */
#include "simd/avx2/avx2.h"

#include "simd/avx2/vec_avx2.h"

#include "simd/vec/linear_float_vec.h"

NANO_DEFINE_LINEAR(F32, f32, avx2, float_tile, VEC_TILE_ROWS)
NANO_DEFINE_LINEAR(F16, f16, avx2, float_tile, VEC_TILE_ROWS)
NANO_DEFINE_LINEAR(BF16, bf16, avx2, float_tile, VEC_TILE_ROWS)
