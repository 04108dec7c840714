/* A kernel for the test of cuda_quant.h. */
#ifndef TESTS_CUDA_QUANT_KERNEL_H
#define TESTS_CUDA_QUANT_KERNEL_H

#include "runner/cuda/cuda_device.h"
#include "simd/formats.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows of `cols` weights, a multiple of 8, by load8 and load8_half, and whole spans by nano_cuda_span too. */
struct quant_kernel_args {
    enum nano_format format;
    const void *weights;
    int64_t cols;
    int rows;
    float *values;    /* [rows, cols] */
    uint32_t *halves; /* [rows, cols / 2] */
    uint32_t *spans;  /* [rows, cols / 2]: untouched where a format has no spans */
};

void quant_kernel(struct nano_cuda_device *device, const struct quant_kernel_args *args);
bool quant_half_is_bf16(enum nano_format format);
bool quant_has_spans(enum nano_format format);

#ifdef __cplusplus
}
#endif

#endif
