/* The peak loop of bytes; the others are those of AVX2. */
#include <immintrin.h>

#include "simd/avxvnni/avxvnni.h"

enum { SUMS = 10 };

static uint64_t peak_int8(uint64_t num_rounds)
{
    __m256i x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(-5), sums[SUMS];
    for (int i = 0; i < SUMS; i++)
        sums[i] = _mm256_setzero_si256();
    for (uint64_t round = 0; round < num_rounds; round++) {
        __asm__ volatile("" : "+x"(x));
#pragma GCC unroll 10
        for (int i = 0; i < SUMS; i++)
            sums[i] = _mm256_dpbusd_avx_epi32(sums[i], x, y);
    }
    for (int i = 1; i < SUMS; i++)
        sums[0] = _mm256_add_epi32(sums[0], sums[i]);
    return (uint64_t)_mm256_extract_epi64(sums[0], 0);
}

void nano_peak_init_avxvnni(struct nano_peak_kernels *peak)
{
    peak->int8 = (struct nano_peak_loop){peak_int8, 32 * SUMS};
}
