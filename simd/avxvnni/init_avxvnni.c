/* Overrides the slots that have a body for this instruction set. */
#include "simd/avxvnni/avxvnni.h"

void nano_kernels_init_avxvnni(struct nano_kernels *kernels)
{
    kernels->name = "avxvnni";
#define NANO_FORMAT(NAME, name_, gguf_id, length, bytes, activation_) \
    kernels->linear[NANO_FORMAT_##NAME].linear = nano_linear_##name_##_avxvnni;
#include "simd/quant.def"
#undef NANO_FORMAT
    nano_peak_init_avxvnni(&kernels->peak);
}
