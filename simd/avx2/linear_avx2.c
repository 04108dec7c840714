/* linear of every format with 256-bit vectors: half a panel's rows are the lanes. */
#include "simd/avx2/linears_avx2.h"

#include "simd/avx2/veci_avx2.h"

#include "simd/vec/panels_vec.h"
