/* What the AVX-VNNI folder defines: AVX2's slots but for linear. */
#ifndef NANO_SIMD_AVXVNNI_AVXVNNI_H
#define NANO_SIMD_AVXVNNI_AVXVNNI_H

#include "simd/kernels.h"

#define NANO_FORMAT(NAME, name, gguf_id, length, bytes, activation) \
    nano_linear_fn nano_linear_##name##_avxvnni;
#include "simd/quant.def"
#undef NANO_FORMAT

void nano_peak_init_avxvnni(struct nano_peak_kernels *peak);

#endif
