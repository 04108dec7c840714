/* Overrides the slots that have a body for this instruction set. */
#include "simd/kernels.h"

void nano_kernels_init_neon_dotprod(struct nano_kernels *kernels)
{
    kernels->name = "neon_dotprod";
}
