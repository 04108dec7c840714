/* Parameter lists of the kernels of kernels.h, so that a tier can declare and define one function
 * per format from quant.def without repeating them. */
#ifndef NANO_SIMD_KERNEL_PARAMS_H
#define NANO_SIMD_KERNEL_PARAMS_H

#define NANO_GET_ROW_PARAMS float *dst, const void *weights, int64_t rows, int64_t cols, int64_t row

#define NANO_LINEAR_PARAMS                                                       \
    float *y, int64_t y_stride, const void *weights, int64_t rows, int64_t cols, \
        int64_t row_begin, int64_t row_end, const void *x, size_t x_stride, int64_t num_tokens

#endif
