/* The bodies of vec/kv_store_vec.h and vec/attention_vec.h for this instruction set. */
#include "simd/neon/neon.h"

#include "simd/neon/vec_neon.h"
#include "simd/vec/math_vec.h"

#include "simd/vec/kv_store_vec.h"

#include "simd/vec/attention_tile_vec.h"

#include "simd/vec/attention_vec.h"
