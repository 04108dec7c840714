/* Activation functions on the GPU (enum nano_act). */
#ifndef NANO_RUNNER_CUDA_CUDA_ACT_H
#define NANO_RUNNER_CUDA_CUDA_ACT_H

#include "runner/cuda/cuda_lang.h"
#include "simd/kernels.h"

static __device__ inline float nano_cuda_sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

static __device__ inline float nano_cuda_act(enum nano_act act, float x)
{
    switch (act) {
    case NANO_ACT_SILU:
        return x * nano_cuda_sigmoid(x);
    case NANO_ACT_GELU:
        return 0.5f * x * (1.0f + tanhf(0.797884560802865f * __fmaf_rn(0.044715f * x * x, x, x)));
    case NANO_ACT_GELU_ERF:
        return 0.5f * x * (1.0f + erff(x * 0.707106781186548f));
    case NANO_ACT_GELU_QUICK:
        return x * nano_cuda_sigmoid(1.702f * x);
    case NANO_ACT_RELU:
        return fmaxf(x, 0.0f);
    case NANO_ACT_RELU_SQUARED:
        return fmaxf(x, 0.0f) * fmaxf(x, 0.0f);
    case NANO_ACT_SIGMOID:
        return nano_cuda_sigmoid(x);
    default:
        return x;
    }
}

/* act(gate) * up, and the form of both that is not a product. */
static __device__ inline float nano_cuda_glu_act(enum nano_act act, float gate, float up)
{
    if (act == NANO_ACT_SWIGLU_CLAMPED) {
        const float g = fminf(gate, 7.0f), u = fminf(fmaxf(up, -7.0f), 7.0f);
        return g * nano_cuda_sigmoid(1.702f * g) * (u + 1.0f);
    }
    return nano_cuda_act(act, gate) * up;
}

#endif
