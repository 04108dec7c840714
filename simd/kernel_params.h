/* The parameter list of get_row, for those who define one function per format from quant.def. */
#ifndef NANO_SIMD_KERNEL_PARAMS_H
#define NANO_SIMD_KERNEL_PARAMS_H

#define NANO_GET_ROW_PARAMS float *dst, const void *weights, int64_t rows, int64_t cols, int64_t row

#endif
