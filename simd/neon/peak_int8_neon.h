/* The peak loop of bytes, with what the includer's flags allow. The sums keep four units busy
 * through an instruction's latency; the empty asm makes an operand look new each time, lest a
 * product that does not change be computed only once. */
#ifndef NANO_SIMD_NEON_PEAK_INT8_NEON_H
#define NANO_SIMD_NEON_PEAK_INT8_NEON_H

#include <arm_neon.h>
#include <stdint.h>

#if defined(__ARM_FEATURE_MATMUL_INT8)
enum { SUMS = 16, PRODUCTS = 32 /* of an instruction */ };
#elif defined(__ARM_FEATURE_DOTPROD)
enum { SUMS = 16, PRODUCTS = 16 };
#else
enum { SUMS = 16, PRODUCTS = 8 };
#endif

static uint64_t peak_int8(uint64_t num_rounds)
{
    int8x16_t x = vdupq_n_s8(3), y = vdupq_n_s8(-5);
    int32x4_t sums[SUMS];
    for (int i = 0; i < SUMS; i++)
        sums[i] = vdupq_n_s32(0);
    for (uint64_t round = 0; round < num_rounds; round++) {
#pragma GCC unroll 16
        for (int i = 0; i < SUMS; i++) {
            __asm__ volatile("" : "+w"(x));
#if defined(__ARM_FEATURE_MATMUL_INT8)
            sums[i] = vmmlaq_s32(sums[i], x, y);
#elif defined(__ARM_FEATURE_DOTPROD)
            sums[i] = vdotq_s32(sums[i], x, y);
#else
            sums[i] = vreinterpretq_s32_s16(
                vmlal_s8(vreinterpretq_s16_s32(sums[i]), vget_low_s8(x), vget_low_s8(y)));
#endif
        }
    }
    for (int i = 1; i < SUMS; i++)
        sums[0] = vaddq_s32(sums[0], sums[i]);
    return (uint64_t)vaddlvq_s32(sums[0]);
}

#endif
