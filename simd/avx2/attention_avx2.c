/* The bodies of vec/kv_store_vec.h and vec/attention_vec.h for this instruction set. */
#include "simd/avx2/avx2.h"

#include "simd/avx2/vec_avx2.h"
#include "simd/vec/math_vec.h"

#include "simd/vec/kv_store_vec.h"

#include "simd/vec/attention_tile_vec.h"

#include "simd/vec/attention_vec.h"
