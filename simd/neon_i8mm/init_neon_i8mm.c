/* Overrides the slots that have a body for this instruction set. */
#include "simd/neon_i8mm/neon_i8mm.h"

#include "simd/neon/peak_int8_neon.h"

void nano_kernels_init_neon_i8mm(struct nano_kernels *kernels)
{
    kernels->name = "neon_i8mm";
#define NANO_FORMAT(NAME, name_, gguf_id, length, bytes, activation_) \
    kernels->linear[NANO_FORMAT_##NAME].linear = nano_linear_##name_##_neon_i8mm;
#include "simd/quant.def"
#undef NANO_FORMAT
    kernels->peak.int8 = (struct nano_peak_loop){peak_int8, SUMS * PRODUCTS};
}
