/* Large products by cuBLASLt, which is loaded when it is first asked for. Its sums are made in an
 * order that depends on the sizes: only for steps that need not be the same in every batch. */
#ifndef NANO_RUNNER_CUDA_CUDA_GEMM_H
#define NANO_RUNNER_CUDA_CUDA_GEMM_H

#include "runner/cuda/cuda_device.h"
#include "runner/cuda/cuda_linear.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of the device's memory that products may use. */
#define NANO_CUDA_GEMM_BYTES ((uint64_t)32 << 20)

/* out[t][r] = sum over k of weight[r][k] * input[t][k]. */
struct nano_cuda_gemm_args {
    bool bf16; /* else F16: weights and input */
    const void *weight;
    int64_t weight_stride; /* elements from row to row */
    int rows;
    const uint16_t *input;
    int64_t input_stride;
    int inputs;
    int64_t cols;
    struct nano_cuda_view out;
    void *workspace; /* NANO_CUDA_GEMM_BYTES */
};

struct nano_cuda_gemm;

/* NANO_ERR_UNSUPPORTED, with what was tried, where the library is not there. */
enum nano_status nano_cuda_gemm_open(struct nano_cuda_gemm **out, struct nano_error *err);
void nano_cuda_gemm_close(struct nano_cuda_gemm *gemm); /* NULL is fine */
/* A failure shows when the device is synchronized. */
void nano_cuda_gemm_run(struct nano_cuda_gemm *gemm, struct nano_cuda_device *device,
                        const struct nano_cuda_gemm_args *args);

/* What a linear does with its sums (bias, scales, act, glu): `sums` is [args->rows][stride], a
 * glu's gate and factor, or a segment, one behind the other in a row. */
void nano_cuda_linear_finish_sums(struct nano_cuda_device *device,
                                  const struct nano_cuda_linear_args *args,
                                  struct nano_cuda_view sums);

#ifdef __cplusplus
}
#endif

#endif
