/* Activation functions on the GPU, as simd/ref has them: kernels that have one as their last step
 * and the ops that are nothing else give the same bits. */
#ifndef NANO_RUNNER_CUDA_CUDA_ACT_H
#define NANO_RUNNER_CUDA_CUDA_ACT_H

#include "runner/cuda/cuda_lang.h"
#include "simd/acts.h"
#include "simd/kernels.h"

static __device__ inline float nano_cuda_sigmoid(float x)
{
    return 1 / __fadd_rn(1, expf(-x));
}

static __device__ inline float nano_cuda_silu(float x)
{
    return x / __fadd_rn(1, expf(-x));
}

static __device__ inline float nano_cuda_gelu(float x)
{
    const float slope = __fmaf_rn(NANO_GELU_CUBIC, __fmul_rn(x, x), NANO_GELU_LINEAR);
    return x / __fadd_rn(1, expf(__fmul_rn(-x, slope)));
}

static __device__ inline float nano_cuda_gelu_erf(float x)
{
    const float terms[] = {NANO_ERFC_TERMS};
    const float size = fabsf(x), t = 1 / __fmaf_rn(NANO_ERFC_T, size, 1);
    float p = terms[0];
    for (int i = 1; i < NANO_ERFC_NUM_TERMS; i++)
        p = __fmaf_rn(p, t, terms[i]);
    const float rest = expf(__fmul_rn(__fmul_rn(x, x), -0.5f));
    return __fmaf_rn(-__fmul_rn(__fmul_rn(size, p), t), rest, x > 0 ? x : 0);
}

static __device__ inline float nano_cuda_gelu_quick(float x)
{
    return x / __fadd_rn(1, expf(__fmul_rn(-1.702f, x)));
}

/* Not of NANO_ACT_SWIGLU_CLAMPED, which has no value without a factor. */
static __device__ inline float nano_cuda_act(enum nano_act act, float x)
{
    switch (act) {
    case NANO_ACT_SILU:
        return nano_cuda_silu(x);
    case NANO_ACT_GELU:
        return nano_cuda_gelu(x);
    case NANO_ACT_GELU_ERF:
        return nano_cuda_gelu_erf(x);
    case NANO_ACT_GELU_QUICK:
        return nano_cuda_gelu_quick(x);
    case NANO_ACT_RELU:
        return x < 0 ? 0 : x;
    case NANO_ACT_RELU_SQUARED:
        return x < 0 ? 0 : __fmul_rn(x, x);
    case NANO_ACT_SIGMOID:
        return nano_cuda_sigmoid(x);
    default:
        return x;
    }
}

/* act(gate) * up. */
static __device__ inline float nano_cuda_gated(enum nano_act act, float gate, float up)
{
    if (act != NANO_ACT_SWIGLU_CLAMPED)
        return __fmul_rn(nano_cuda_act(act, gate), up);
    const float g = gate > 7 ? 7 : gate, u = up > 7 ? 7 : up < -7 ? -7 : up;
    return __fmul_rn(nano_cuda_gelu_quick(g), __fadd_rn(u, 1));
}

#endif
