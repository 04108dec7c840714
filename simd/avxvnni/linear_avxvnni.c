/* linear of every format with 256-bit vectors and VPDPBUSD. */
#include "simd/avxvnni/linears_avxvnni.h"

#define VEC_NAME(name) name##_avxvnni
#define VECI_VNNI
#include "simd/avx2/veci_avx2.h"

#include "simd/vec/panels_vec.h"
