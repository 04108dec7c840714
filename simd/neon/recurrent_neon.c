/* The bodies of vec/recurrent_vec.h for this instruction set. */
#include "simd/neon/neon.h"

#include "simd/neon/vec_neon.h"
#include "simd/vec/math_vec.h"

#include "simd/vec/recurrent_vec.h"
