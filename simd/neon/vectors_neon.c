/* The bodies of vec/vectors_vec.h for this instruction set. */
#include "simd/neon/neon.h"

#include "simd/neon/vec_neon.h"
#include "simd/vec/math_vec.h"

#include "simd/vec/vectors_vec.h"

#include "simd/vec/acts_vec.h"
