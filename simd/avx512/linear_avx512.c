/* linear of every format with 512-bit vectors: a panel's 16 rows are the lanes. */
#include "simd/avx512/linears_avx512.h"

#include "simd/avx512/veci_avx512.h"

#include "simd/vec/panels_vec.h"
