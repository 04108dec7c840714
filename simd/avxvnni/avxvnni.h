/* What the AVX-VNNI folder defines: AVX2's slots but for linear. */
#ifndef NANO_SIMD_AVXVNNI_AVXVNNI_H
#define NANO_SIMD_AVXVNNI_AVXVNNI_H

#include "simd/avxvnni/linears_avxvnni.h"
#include "simd/kernels.h"

void nano_peak_init_avxvnni(struct nano_peak_kernels *peak);

#endif
