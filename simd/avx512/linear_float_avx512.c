/* F32, F16 and BF16 weights with F32 activations. */
#include "simd/avx512/avx512.h"

#include "simd/avx512/vec_avx512.h"

#include "simd/vec/linear_float_vec.h"

NANO_DEFINE_LINEAR(F32, f32, avx512, float_tile, VEC_TILE_ROWS)
NANO_DEFINE_LINEAR(F16, f16, avx512, float_tile, VEC_TILE_ROWS)
NANO_DEFINE_LINEAR(BF16, bf16, avx512, float_tile, VEC_TILE_ROWS)
