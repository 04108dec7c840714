/* Norms on the GPU, and the form in which linears take their input.
 *
 * A linear of F32 weights takes F32. Others multiply F16 on the tensor cores. F16 has too small a
 * range for what some models compute, so each row is divided by a power of two, which is exact, and
 * the linear multiplies its sums with it. */
#ifndef NANO_RUNNER_CUDA_CUDA_NORM_H
#define NANO_RUNNER_CUDA_CUDA_NORM_H

#include "runner/cuda/cuda_batch.h"
#include "runner/cuda/cuda_device.h"

#ifdef __cplusplus
extern "C" {
#endif

enum nano_cuda_norm_kind {
    NANO_CUDA_NORM_NONE,
    NANO_CUDA_NORM_RMS,
    NANO_CUDA_NORM_LAYER,
    NANO_CUDA_NORM_L2
};

enum nano_cuda_norm_output { NANO_CUDA_NORM_F32, NANO_CUDA_NORM_F16 };

/* num_groups groups of each row are normalised on their own. */
struct nano_cuda_norm_args {
    enum nano_cuda_norm_kind kind;
    enum nano_cuda_norm_output output;
    struct nano_cuda_view in;
    int64_t width;                          /* of a group */
    int64_t group_stride, out_group_stride; /* from one group to the next, in `in` and `out` */
    int num_groups, rows;
    const float *weight, *bias; /* of a group, or NULL */
    int64_t weight_stride;      /* from group to group; 0: all have the same */
    float eps;
    struct nano_cuda_view out; /* F32; may be `in` */

    /* Halves: row r's group g is row r * num_groups + g, zero behind its width. */
    uint16_t *half;      /* [rows * num_groups][half_stride] */
    int64_t half_stride; /* at least the width, a multiple of 32 */
    float *scales;       /* [rows * num_groups]; a value is half * scale */
};

void nano_cuda_norm(struct nano_cuda_device *device, const struct nano_cuda_norm_args *args);

#ifdef __cplusplus
}
#endif

#endif
