/* FP8 E4M3: a sign, 4 bits of exponent (bias 7), 3 of mantissa and no infinities, 448 the largest.
 *
 * Of integers only, so that kernels of the GPU use the same functions. */
#ifndef NANO_SIMD_FP8_H
#define NANO_SIMD_FP8_H

#include <stdint.h>

#ifdef __CUDACC__
#define NANO_FP8_INLINE static __host__ __device__ inline
#else
#define NANO_FP8_INLINE static inline
#endif

/* The nearest to a binary32, given by its bits: ties to even, subnormals kept, what is beyond 448 or
 * infinite becomes 448 with its sign. NaN becomes 0: the code of a NaN is never made. */
NANO_FP8_INLINE uint8_t nano_e4m3_from_f32_bits(uint32_t bits)
{
    const uint32_t sign = bits >> 24 & 0x80, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000)
        return 0;
    if (magnitude >= 0x43E00000)
        return (uint8_t)(sign | 0x7E);
    if (magnitude >= 0x3C800000) /* 2^-6 */
        return (uint8_t)(sign | (magnitude + 0x7FFFF + (magnitude >> 20 & 1) - 0x3C000000) >> 20);
    const uint32_t shift = 141 - (magnitude >> 23); /* from its unit to 2^-9 */
    if (shift > 24)
        return (uint8_t)sign;
    const uint32_t mantissa = (magnitude & 0x7FFFFF) | 0x800000;
    return (uint8_t)(sign | (mantissa + (1u << (shift - 1)) - 1 + (mantissa >> shift & 1)) >>
                                shift);
}

/* Bits of the binary16 that is the value / 2^8: exact, subnormals too. */
NANO_FP8_INLINE uint16_t nano_f16_from_e4m3(uint8_t code)
{
    return (uint16_t)((code & 0x80) << 8 | (code & 0x7F) << 7);
}
#define NANO_E4M3_UNIT 256.0f

#endif
