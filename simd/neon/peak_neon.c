/* Peak loops. */
#include "simd/neon/neon.h"

#include "simd/neon/peak_int8_neon.h"

enum { AHEAD = 2048 /* bytes that are fetched early */ };

static uint64_t peak_f32(uint64_t num_rounds)
{
    float32x4_t x = vdupq_n_f32(0.5f), y = vdupq_n_f32(0.25f), sums[SUMS];
    for (int i = 0; i < SUMS; i++)
        sums[i] = vdupq_n_f32(0);
    for (uint64_t round = 0; round < num_rounds; round++) {
        __asm__ volatile("" : "+w"(x));
#pragma GCC unroll 16
        for (int i = 0; i < SUMS; i++)
            sums[i] = vfmaq_f32(sums[i], x, y);
    }
    for (int i = 1; i < SUMS; i++)
        sums[0] = vaddq_f32(sums[0], sums[i]);
    return (uint64_t)vaddlvq_u32(vreinterpretq_u32_f32(sums[0]));
}

static uint64_t peak_read(const void *data, size_t num_bytes)
{
    const uint8_t *p = data;
    uint64x2_t sums[4];
    for (int i = 0; i < 4; i++)
        sums[i] = vdupq_n_u64(0);
    for (size_t at = 0; at < num_bytes; at += 64) {
        __builtin_prefetch(p + at + AHEAD);
        for (int i = 0; i < 4; i++)
            sums[i] = veorq_u64(sums[i], vreinterpretq_u64_u8(vld1q_u8(p + at + (size_t)i * 16)));
    }
    return vaddvq_u64(veorq_u64(veorq_u64(sums[0], sums[1]), veorq_u64(sums[2], sums[3])));
}

void nano_peak_init_neon(struct nano_peak_kernels *peak)
{
    *peak = (struct nano_peak_kernels){
        .int8 = {peak_int8, SUMS * PRODUCTS}, .f32 = {peak_f32, SUMS * 4}, .read = peak_read};
}
