/* linear of the integer formats in the tile that suits AMD's cores (veci_avx512.h). */
#include "simd/avx512/linears_avx512.h"

#define VEC_NAME(name) name##_avx512_amd
#define VECI_FEW_LOADS
#define VEC_NO_FLOAT_LINEAR
#include "simd/avx512/veci_avx512.h"

#include "simd/vec/panels_vec.h"
