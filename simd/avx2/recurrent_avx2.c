/* The bodies of vec/recurrent_vec.h for this instruction set. */
#include "simd/avx2/avx2.h"

#include "simd/avx2/vec_avx2.h"
#include "simd/vec/math_vec.h"

#include "simd/vec/recurrent_vec.h"
