/* linear of every format with SMMLA. */
#include "simd/neon_i8mm/linears_neon_i8mm.h"

#define VEC_NAME(name) name##_neon_i8mm
#include "simd/neon/veci_neon.h"

#include "simd/vec/panels_vec.h"

#include "simd/neon/dots_neon.h"
