/* linear of every format with SDOT. */
#include "simd/neon_dotprod/linears_neon_dotprod.h"

#define VEC_NAME(name) name##_neon_dotprod
#include "simd/neon/veci_neon.h"

#include "simd/vec/panels_vec.h"

#include "simd/neon/dots_neon.h"
