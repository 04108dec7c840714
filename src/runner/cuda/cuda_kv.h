/* Values in a pool's format: how they are stored, and how those of 8 bits become halves. */
#ifndef NANO_RUNNER_CUDA_CUDA_KV_H
#define NANO_RUNNER_CUDA_CUDA_KV_H

#include <float.h>
#include <math.h>

#include "runner/cuda/cuda_lang.h"
#include "simd/fp8.h"
#include "simd/kernels.h"

/* x as value i of a row. Not of Q8_0, which has a scale. */
template <enum nano_kv_format Format>
static __device__ inline void nano_kv_store_value(uint8_t *row, int i, float x)
{
    if (Format == NANO_KV_FORMAT_F32)
        reinterpret_cast<float *>(row)[i] = x;
    else if (Format == NANO_KV_FORMAT_FP8)
        row[i] = nano_e4m3_from_f32_bits(nano_bits_from_f32(x));
    else
        reinterpret_cast<uint16_t *>(row)[i] = static_cast<uint16_t>(
            Format == NANO_KV_FORMAT_F16 ? nano_f16x2_from_f32(x, 0) : nano_bf16x2_from_f32(x, 0));
}

/* Q8_0: from a row's largest magnitude its scale, from that what values are multiplied with, and a
 * value's code. What is not finite becomes 0, as in the reference. */
static __device__ inline float nano_kv_q8_0_scale(float largest)
{
    return largest / 127;
}

static __device__ inline float nano_kv_q8_0_inverse(float scale)
{
    return scale >= FLT_MIN ? 1 / scale : 0;
}

static __device__ inline int8_t nano_kv_q8_0_code(float x, float inverse)
{
    const float level = rintf(__fmul_rn(x, inverse));
    return static_cast<int8_t>(fabsf(level) <= 127 ? level : 0);
}

/* Four codes to halves that are their values / 2^8, exact: sign, exponent and mantissa go where a
 * half has them. NaN's codes, which are never stored, would be 480. */
static __device__ inline uint2 nano_f16x4_from_e4m3(uint32_t codes)
{
    const uint32_t low = nano_byte_perm(codes, 0, 0x1404), high = nano_byte_perm(codes, 0, 0x3424);
    return make_uint2((low & 0x80008000) | (low & 0x7f007f00) >> 1,
                      (high & 0x80008000) | (high & 0x7f007f00) >> 1);
}

/* Four codes of Q8_0, times their scale: rounded as F32 and then to a half. A code + 128 in the
 * lowest byte of 2^23 is 2^23 + 128 + code. */
static __device__ inline uint2 nano_f16x4_from_q8_0(uint32_t codes, float scale)
{
    const uint32_t bytes = codes ^ 0x80808080;
    float x[4];
#pragma unroll
    for (unsigned i = 0; i < 4; i++) {
        const float biased = nano_f32_from_bits(nano_byte_perm(bytes, 0x4b000000, 0x7650 + i));
        x[i] = __fmul_rn(__fadd_rn(biased, -8388736.0f), scale);
    }
    return make_uint2(nano_f16x2_from_f32(x[0], x[1]), nano_f16x2_from_f32(x[2], x[3]));
}

#endif
