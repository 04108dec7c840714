/* Overrides the slots that have a body for this instruction set. */
#include "simd/kernels.h"

void nano_kernels_init_avx2(struct nano_kernels *kernels)
{
    kernels->name = "avx2";
}
