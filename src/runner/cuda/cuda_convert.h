/* BF16 weights of linears as F16, once, when they have been copied in.
 *
 * F16 has three bits more, so that activations, which are rounded to the same form, lose an eighth.
 * A tensor is multiplied by a power of two that brings its largest weight near the end of F16's
 * range: weights are exact then, but those below 2^-32 of the largest, which lose bits that no sum
 * would show. */
#ifndef NANO_RUNNER_CUDA_CUDA_CONVERT_H
#define NANO_RUNNER_CUDA_CUDA_CONVERT_H

#include "runner/cuda/cuda_device.h"

#ifdef __cplusplus
extern "C" {
#endif

struct nano_cuda_convert_args {
    uint16_t *weights; /* [count]: BF16, and after it F16 */
    int64_t count;     /* even */
    int32_t *max_bits; /* those of the largest magnitude */
    int shift;         /* weights are multiplied by 2^shift */
};

/* *max_bits becomes what it is of these weights, if that is more. */
void nano_cuda_find_max(struct nano_cuda_device *device, const struct nano_cuda_convert_args *args);
void nano_cuda_convert(struct nano_cuda_device *device, const struct nano_cuda_convert_args *args);

/* The shift for weights of which max_bits are the largest. */
static inline int nano_cuda_convert_shift(int32_t max_bits)
{
    const int exponent = (max_bits >> 7) - 127, shift = 14 - exponent;
    return shift > 127 ? 127 : shift; /* a float's largest exponent */
}

#ifdef __cplusplus
}
#endif

#endif
