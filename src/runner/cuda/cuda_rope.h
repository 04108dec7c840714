/* Rotary embedding of a pair of columns, for kernel files. */
#ifndef NANO_RUNNER_CUDA_CUDA_ROPE_H
#define NANO_RUNNER_CUDA_CUDA_ROPE_H

#include "runner/cuda/cuda_lang.h"

/* The angle is n quarter turns and a rest of at most an eighth; pi / 2 is in two parts, so that the
 * rest of an angle up to 2^31 is off by what the angle itself is. For so small a rest the Taylor
 * series are off by less than 3e-9. */
static __device__ inline void nano_cuda_sin_cos(double angle, float *sin_out, float *cos_out)
{
    const double n = rint(angle * 0x1.45f306dc9c883p-1);
    const float r =
        static_cast<float>(fma(n, -0x1.1a62633145c07p-54, fma(n, -0x1.921fb54442d18p+0, angle)));
    const int quarter = static_cast<int>(static_cast<int64_t>(n) & 3);
    const float z = __fmul_rn(r, r);
    float s = __fmaf_rn(1.0f / 362880, z, -1.0f / 5040);
    s = __fmaf_rn(s, z, 1.0f / 120);
    s = __fmaf_rn(s, z, -1.0f / 6);
    s = __fmaf_rn(__fmul_rn(s, z), r, r);
    float c = __fmaf_rn(-1.0f / 3628800, z, 1.0f / 40320);
    c = __fmaf_rn(c, z, -1.0f / 720);
    c = __fmaf_rn(c, z, 1.0f / 24);
    c = __fmaf_rn(c, z, -0.5f);
    c = __fmaf_rn(c, z, 1);
    const float sin_abs = quarter & 1 ? c : s, cos_abs = quarter & 1 ? s : c;
    *sin_out = quarter & 2 ? -sin_abs : sin_abs;
    *cos_out = (quarter + 1) & 2 ? -cos_abs : cos_abs;
}

/* By how much a pair is turned at a position: cosine and sine, times the magnitude. */
static __device__ inline float2 nano_cuda_turn(int32_t position, float inv_freq, float magnitude)
{
    float sin, cos;
    nano_cuda_sin_cos(static_cast<double>(position) * static_cast<double>(inv_freq), &sin, &cos);
    return make_float2(__fmul_rn(cos, magnitude), __fmul_rn(sin, magnitude));
}

static __device__ inline float2 nano_cuda_turned(float2 pair, float2 turn)
{
    return make_float2(__fmaf_rn(pair.x, turn.x, -__fmul_rn(pair.y, turn.y)),
                       __fmaf_rn(pair.x, turn.y, __fmul_rn(pair.y, turn.x)));
}

#endif
