/* The bodies of vec/vectors_vec.h for this instruction set. */
#include "simd/avx2/avx2.h"

#include "simd/avx2/vec_avx2.h"
#include "simd/vec/math_vec.h"

#include "simd/vec/vectors_vec.h"

#include "simd/vec/acts_vec.h"
