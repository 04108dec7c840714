/* The bodies of vec/recurrent_vec.h for this instruction set. */
#include "simd/avx512/avx512.h"

#include "simd/avx512/vec_avx512.h"
#include "simd/vec/math_vec.h"

#include "simd/vec/recurrent_vec.h"
