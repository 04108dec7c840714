/* The bodies of vec/vectors_vec.h for this instruction set. */
#include "simd/avx512/avx512.h"

#include "simd/avx512/vec_avx512.h"
#include "simd/vec/math_vec.h"

#include "simd/vec/vectors_vec.h"

#include "simd/vec/acts_vec.h"
