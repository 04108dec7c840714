/* Products of signed bytes in AVX2, for the quantised linear kernels. */
#ifndef NANO_SIMD_AVX2_BYTES_AVX2_H
#define NANO_SIMD_AVX2_BYTES_AVX2_H

#include "simd/avx2/vec_avx2.h"

/* w * x in 16-bit lanes of two products. VPMADDUBSW wants one unsigned factor: the sign of w moves
 * to x. Exact for |w| <= 128 and |x| <= 127: 2 * 128 * 127 fits 16 bits. */
NANO_INLINE __m256i bytes_multiply(__m256i w, __m256i x)
{
    return _mm256_maddubs_epi16(_mm256_sign_epi8(w, w), _mm256_sign_epi8(x, w));
}

/* 16 nibbles bytes to 32 values: lo nibbles below, hi nibbles above. */
NANO_INLINE __m256i bytes_from_nibbles(const uint8_t *nibbles)
{
    __m128i packed = _mm_loadu_si128((const void *)nibbles);
    __m256i both = _mm256_set_m128i(_mm_srli_epi16(packed, 4), packed);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/* Nibbles to the levels of the IQ4 formats. */
NANO_INLINE __m256i bytes_from_iq4(const uint8_t *nibbles)
{
    __m128i values = _mm_loadu_si128((const void *)nano_iq4_values);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), bytes_from_nibbles(nibbles));
}

/* Bit k of 32 to byte k: `value` where it is set. */
NANO_INLINE __m256i bytes_from_bits(uint32_t bits, char value)
{
    const __m256i byte_of =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit_of = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), byte_of);
    __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit_of), bit_of);
    return _mm256_and_si256(is_set, _mm256_set1_epi8(value));
}

#endif
