/* f16 (IEEE 754 binary16), bf16 (the upper half of a binary32) and FP8 E4M3 to and from f32, in
 * portable C.
 *
 * f16 and bf16 are bit for bit what x86's F16C and AVX512_BF16 instructions give: round to nearest
 * even, subnormals kept, overflow to infinity, a NaN keeps the upper bits of its payload and
 * becomes quiet. */
#ifndef NANO_SIMD_HALF_H
#define NANO_SIMD_HALF_H

#include <stdint.h>
#include <string.h>

#include "simd/fp8.h"

static inline uint32_t nano_f32_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float nano_f32_from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float nano_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3FF;
    if (exponent == 0)
        return nano_f32_from_bits(sign | nano_f32_bits((float)mantissa * 0x1p-24f));
    if (exponent == 31)
        return nano_f32_from_bits(sign | 0x7F800000 | (mantissa ? 0x400000 | mantissa << 13 : 0));
    return nano_f32_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

static inline uint16_t nano_f32_to_f16(float x)
{
    uint32_t bits = nano_f32_bits(x), magnitude = bits & 0x7FFFFFFF;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (magnitude > 0x7F800000)
        return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x3FF));
    if (magnitude >= 0x47800000) /* 65536, beyond what rounds down to the largest f16 */
        return (uint16_t)(sign | 0x7C00);
    if (magnitude < 0x38800000) /* below 2^-14: one unit of 0.5f is one f16 subnormal step */
        return (uint16_t)(sign | (nano_f32_bits(nano_f32_from_bits(magnitude) + 0.5f) -
                                  nano_f32_bits(0.5f)));
    return (uint16_t)(sign | (magnitude + 0xFFF + (magnitude >> 13 & 1) - 0x38000000) >> 13);
}

static inline float nano_bf16_to_f32(uint16_t h)
{
    return nano_f32_from_bits((uint32_t)h << 16);
}

static inline uint16_t nano_f32_to_bf16(float x)
{
    uint32_t bits = nano_f32_bits(x);
    if ((bits & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/* E4M3 has no infinities, and where these functions are used no NaN: its codes are read as 480. */
static inline float nano_e4m3_to_f32(uint8_t code)
{
    return nano_f16_to_f32(nano_f16_from_e4m3(code)) * NANO_E4M3_UNIT;
}

static inline uint8_t nano_f32_to_e4m3(float x)
{
    return nano_e4m3_from_f32_bits(nano_f32_bits(x));
}

#endif
