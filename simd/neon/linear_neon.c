/* linear of every format: a quarter of a panel's rows are the lanes. */
#include "simd/neon/linears_neon.h"

#include "simd/neon/veci_neon.h"

#include "simd/vec/panels_vec.h"

#include "simd/neon/dots_neon.h"
