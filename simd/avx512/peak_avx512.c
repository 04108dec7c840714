/* Peak loops. Twelve sums keep two units busy through an instruction's latency; the empty asm makes
 * operands look new in each round. */
#include <immintrin.h>
#include <string.h>

#include "simd/avx512/avx512.h"

enum { SUMS = 12, AHEAD = 32 /* vectors that are fetched early: 2 KiB */ };

static uint64_t peak_int8(uint64_t num_rounds)
{
    __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(-5), sums[SUMS];
    for (int i = 0; i < SUMS; i++)
        sums[i] = _mm512_setzero_si512();
    for (uint64_t round = 0; round < num_rounds; round++) {
        __asm__ volatile("" : "+v"(x));
#pragma GCC unroll 12
        for (int i = 0; i < SUMS; i++)
            sums[i] = _mm512_dpbusd_epi32(sums[i], x, y);
    }
    for (int i = 1; i < SUMS; i++)
        sums[0] = _mm512_add_epi32(sums[0], sums[i]);
    return (uint64_t)_mm512_reduce_add_epi64(sums[0]);
}

/* The folder's flags do not have this one instruction; the caller has asked for it. */
__attribute__((target("avx512bf16"))) static uint64_t peak_bf16(uint64_t num_rounds)
{
    __m512i half = _mm512_set1_epi16(0x3F00);
    __m512bh x, y;
    __m512 sums[SUMS];
    memcpy(&x, &half, sizeof x);
    memcpy(&y, &half, sizeof y);
    for (int i = 0; i < SUMS; i++)
        sums[i] = _mm512_setzero_ps();
    for (uint64_t round = 0; round < num_rounds; round++) {
        __asm__ volatile("" : "+v"(x));
#pragma GCC unroll 12
        for (int i = 0; i < SUMS; i++)
            sums[i] = _mm512_dpbf16_ps(sums[i], x, y);
    }
    for (int i = 1; i < SUMS; i++)
        sums[0] = _mm512_add_ps(sums[0], sums[i]);
    return (uint64_t)_mm512_reduce_add_epi64(_mm512_castps_si512(sums[0]));
}

static uint64_t peak_f32(uint64_t num_rounds)
{
    __m512 x = _mm512_set1_ps(0.5f), y = _mm512_set1_ps(0.25f), sums[SUMS];
    for (int i = 0; i < SUMS; i++)
        sums[i] = _mm512_setzero_ps();
    for (uint64_t round = 0; round < num_rounds; round++) {
        __asm__ volatile("" : "+v"(x));
#pragma GCC unroll 12
        for (int i = 0; i < SUMS; i++)
            sums[i] = _mm512_fmadd_ps(x, y, sums[i]);
    }
    for (int i = 1; i < SUMS; i++)
        sums[0] = _mm512_add_ps(sums[0], sums[i]);
    return (uint64_t)_mm512_reduce_add_epi64(_mm512_castps_si512(sums[0]));
}

static uint64_t peak_read(const void *data, size_t num_bytes)
{
    const __m512i *v = data;
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    for (size_t i = 0; i < num_bytes / sizeof *v; i += 4) {
        _mm_prefetch((const char *)(v + i + AHEAD), _MM_HINT_T0);
        _mm_prefetch((const char *)(v + i + AHEAD + 1), _MM_HINT_T0);
        _mm_prefetch((const char *)(v + i + AHEAD + 2), _MM_HINT_T0);
        _mm_prefetch((const char *)(v + i + AHEAD + 3), _MM_HINT_T0);
        a = _mm512_xor_si512(a, _mm512_load_si512(v + i));
        b = _mm512_xor_si512(b, _mm512_load_si512(v + i + 1));
        c = _mm512_xor_si512(c, _mm512_load_si512(v + i + 2));
        d = _mm512_xor_si512(d, _mm512_load_si512(v + i + 3));
    }
    return (uint64_t)_mm512_reduce_add_epi64(
        _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d)));
}

void nano_peak_init_avx512(struct nano_peak_kernels *peak)
{
    *peak = (struct nano_peak_kernels){
        .int8 = {peak_int8, 64 * SUMS}, .f32 = {peak_f32, 16 * SUMS}, .read = peak_read};
    if (__builtin_cpu_supports("avx512bf16"))
        peak->bf16 = (struct nano_peak_loop){peak_bf16, 32 * SUMS};
}
