/* Peak loops. Eight sums keep two units busy through an instruction's latency; the empty asm makes
 * operands look new in each round, lest products that do not change be computed only once. */
#include <immintrin.h>

#include "simd/avx2/avx2.h"

enum { SUMS = 8, AHEAD = 64 /* vectors that are fetched early: 2 KiB */ };

static uint64_t sum_lanes(__m256i x)
{
    uint64_t lanes[4];
    _mm256_storeu_si256((__m256i *)lanes, x);
    return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

/* As the kernels multiply bytes: pairs to 16 bits, pairs of those to 32. */
static uint64_t peak_int8(uint64_t num_rounds)
{
    __m256i x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(-5), one = _mm256_set1_epi16(1);
    __m256i sums[SUMS] = {0};
    for (uint64_t round = 0; round < num_rounds; round++) {
#pragma GCC unroll 8
        for (int i = 0; i < SUMS; i++) {
            __asm__ volatile("" : "+x"(x));
            sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), one));
        }
    }
    for (int i = 1; i < SUMS; i++)
        sums[0] = _mm256_add_epi32(sums[0], sums[i]);
    return sum_lanes(sums[0]);
}

static uint64_t peak_f32(uint64_t num_rounds)
{
    __m256 x = _mm256_set1_ps(0.5f), y = _mm256_set1_ps(0.25f), sums[SUMS + 2];
    for (int i = 0; i < SUMS + 2; i++)
        sums[i] = _mm256_setzero_ps();
    for (uint64_t round = 0; round < num_rounds; round++) {
        __asm__ volatile("" : "+x"(x));
#pragma GCC unroll 10
        for (int i = 0; i < SUMS + 2; i++)
            sums[i] = _mm256_fmadd_ps(x, y, sums[i]);
    }
    for (int i = 1; i < SUMS + 2; i++)
        sums[0] = _mm256_add_ps(sums[0], sums[i]);
    return sum_lanes(_mm256_castps_si256(sums[0]));
}

static uint64_t peak_read(const void *data, size_t num_bytes)
{
    const __m256i *v = data;
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    for (size_t i = 0; i < num_bytes / sizeof *v; i += 4) {
        _mm_prefetch((const char *)(v + i + AHEAD), _MM_HINT_T0);
        _mm_prefetch((const char *)(v + i + AHEAD + 2), _MM_HINT_T0);
        a = _mm256_xor_si256(a, _mm256_load_si256(v + i));
        b = _mm256_xor_si256(b, _mm256_load_si256(v + i + 1));
        c = _mm256_xor_si256(c, _mm256_load_si256(v + i + 2));
        d = _mm256_xor_si256(d, _mm256_load_si256(v + i + 3));
    }
    return sum_lanes(_mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d)));
}

void nano_peak_init_avx2(struct nano_peak_kernels *peak)
{
    *peak = (struct nano_peak_kernels){
        .int8 = {peak_int8, 32 * SUMS}, .f32 = {peak_f32, 8 * (SUMS + 2)}, .read = peak_read};
}
