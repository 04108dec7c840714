/* Weights in blocks of 256 with Q8_256 activations, in eight chunks of 32 weights.
 *
 * A block is summed in integers (16-bit pairs of products times the 16-bit scale of their part of
 * 16) and enters the output's chain of fused multiply-adds once; the mins follow as one more term.
 * One horizontal sum at the end. */
#include "simd/avx2/avx2.h"

#include "simd/avx2/bytes_avx2.h"
#include "simd/block_scales.h"

enum { TILE_ROWS = 1 };

NANO_INLINE int block_bytes(enum nano_format format)
{
#define BYTES(name) (int)sizeof(struct nano_block_##name)
    switch (format) {
    case NANO_FORMAT_Q2_K:
        return BYTES(q2_k);
    case NANO_FORMAT_Q3_K:
        return BYTES(q3_k);
    case NANO_FORMAT_Q4_K:
        return BYTES(q4_k);
    case NANO_FORMAT_Q5_K:
        return BYTES(q5_k);
    case NANO_FORMAT_Q6_K:
        return BYTES(q6_k);
    default:
        return BYTES(iq4_xs);
    }
#undef BYTES
}

NANO_INLINE bool has_mins(enum nano_format format)
{
    return format == NANO_FORMAT_Q2_K || format == NANO_FORMAT_Q4_K || format == NANO_FORMAT_Q5_K;
}

/* What all chunks of a block share: 16-bit scales and mins of its 16 parts. */
struct block_info {
    __m256i scales, mins;
    float d, dmin;
};

/* 8 bytes, each twice. */
NANO_INLINE __m128i twice(uint64_t bytes)
{
    __m128i x = _mm_cvtsi64_si128((long long)bytes);
    return _mm_unpacklo_epi8(x, x);
}

NANO_INLINE struct block_info block_info_of(enum nano_format format, const uint8_t *block)
{
    struct block_info info = {.mins = _mm256_setzero_si256(), .dmin = 0};
    __m128i scales;
    if (format == NANO_FORMAT_Q2_K) {
        const struct nano_block_q2_k *b = (const void *)block;
        __m128i packed = _mm_loadu_si128((const void *)b->scales), low = _mm_set1_epi8(15);
        scales = _mm_and_si128(packed, low);
        info.mins = _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(packed, 4), low));
        info.d = nano_load_f16(b->d);
        info.dmin = nano_load_f16(b->dmin);
    } else if (format == NANO_FORMAT_Q3_K) {
        const struct nano_block_q3_k *b = (const void *)block;
        uint32_t words[4];
        nano_scales_q3_k(words, b->scales);
        scales = _mm_sub_epi8(_mm_loadu_si128((const void *)words), _mm_set1_epi8(32));
        info.d = nano_load_f16(b->d);
    } else if (format == NANO_FORMAT_Q4_K || format == NANO_FORMAT_Q5_K) {
        const struct nano_block_q4_k *b =
            (const void *)block; /* Q5_K begins with the same fields */
        uint32_t words[2], mins[2];
        nano_scales_k4(words, mins, b->scales);
        scales = twice(words[0] | (uint64_t)words[1] << 32);
        info.mins = _mm256_cvtepu8_epi16(twice(mins[0] | (uint64_t)mins[1] << 32));
        info.d = nano_load_f16(b->d);
        info.dmin = nano_load_f16(b->dmin);
    } else if (format == NANO_FORMAT_Q6_K) {
        const struct nano_block_q6_k *b = (const void *)block;
        scales = _mm_loadu_si128((const void *)b->scales);
        info.d = nano_load_f16(b->d);
    } else {
        const struct nano_block_iq4_xs *b = (const void *)block;
        scales = _mm_sub_epi8(twice(nano_scales_iq4_xs(b)), _mm_set1_epi8(32));
        info.d = nano_load_f16(b->d);
    }
    info.scales = _mm256_cvtepi8_epi16(scales);
    return info;
}

/* num_bits bits of each of 32 bytes, from bit `shift` on. */
NANO_INLINE __m256i load_bits(const uint8_t *bytes, int shift, int num_bits)
{
    __m256i x = _mm256_srli_epi16(_mm256_loadu_si256((const void *)bytes), shift);
    return _mm256_and_si256(x, _mm256_set1_epi8((char)((1 << num_bits) - 1)));
}

NANO_INLINE __m256i combine(__m256i low, __m256i high, int num_low_bits, int offset)
{
    __m256i q = _mm256_or_si256(low, _mm256_slli_epi16(high, num_low_bits));
    return _mm256_sub_epi8(q, _mm256_set1_epi8((char)offset));
}

/* The signed levels of chunk c, weights 32 c ... 32 c + 31. */
NANO_INLINE __m256i load_levels(enum nano_format format, const uint8_t *block, int c)
{
    const int half = c / 4, j = c % 4;
    switch (format) {
    case NANO_FORMAT_Q2_K: {
        const struct nano_block_q2_k *b = (const void *)block;
        return load_bits(b->q + 32 * half, 2 * j, 2);
    }
    case NANO_FORMAT_Q3_K: {
        const struct nano_block_q3_k *b = (const void *)block;
        return combine(load_bits(b->low + 32 * half, 2 * j, 2), load_bits(b->high, c, 1), 2, 4);
    }
    case NANO_FORMAT_Q4_K: {
        const struct nano_block_q4_k *b = (const void *)block;
        return load_bits(b->nibbles + 32 * (c / 2), c % 2 * 4, 4);
    }
    case NANO_FORMAT_Q5_K: {
        const struct nano_block_q5_k *b = (const void *)block;
        return combine(load_bits(b->nibbles + 32 * (c / 2), c % 2 * 4, 4), load_bits(b->high, c, 1),
                       4, 0);
    }
    case NANO_FORMAT_Q6_K: {
        const struct nano_block_q6_k *b = (const void *)block;
        return combine(load_bits(b->low + 64 * half + 32 * (j % 2), j / 2 * 4, 4),
                       load_bits(b->high + 32 * half, 2 * j, 2), 4, 32);
    }
    default: {
        const struct nano_block_iq4_xs *b = (const void *)block;
        return bytes_from_iq4(b->nibbles + 16 * c);
    }
    }
}

/* The scales of chunk c: part 2 c in the lower eight lanes, part 2 c + 1 in the upper. */
NANO_INLINE __m256i chunk_scales(__m256i scales, int c)
{
    __m128i half = c < 4 ? _mm256_castsi256_si128(scales) : _mm256_extracti128_si256(scales, 1);
    int even = c % 4 * 4 * 0x0101 + 0x0100, odd = even + 0x0202; /* byte pairs to copy */
    __m256i pairs = _mm256_set_m128i(_mm_set1_epi16((short)odd), _mm_set1_epi16((short)even));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(half), pairs);
}

NANO_INLINE void step(enum nano_format format, const struct nano_linear_args *args, int64_t row,
                      int64_t token, int num_tokens, int64_t block, __m256 acc[NANO_TILE_TOKENS])
{
    const uint8_t *b = nano_weight_row(args, row) + block * block_bytes(format);
    const struct block_info info = block_info_of(format, b);
    __m256i sums[NANO_TILE_TOKENS];
    NANO_UNROLL
    for (int t = 0; t < num_tokens; t++)
        sums[t] = _mm256_setzero_si256();
    NANO_UNROLL
    for (int c = 0; c < 8; c++) {
        nano_prefetch(args, b + c * 32, TILE_ROWS, num_tokens);
        __m256i levels = load_levels(format, b, c), scales = chunk_scales(info.scales, c);
        NANO_UNROLL
        for (int t = 0; t < num_tokens; t++) {
            const int8_t *q = nano_token_row(args, token + t);
            __m256i x = _mm256_loadu_si256((const void *)(q + block * 256 + c * 32));
            __m256i scaled = _mm256_madd_epi16(bytes_multiply(levels, x), scales);
            sums[t] = _mm256_add_epi32(sums[t], scaled);
        }
    }
    NANO_UNROLL
    for (int t = 0; t < num_tokens; t++) {
        struct nano_q8_256_row x = nano_q8_256_row(nano_token_row(args, token + t), args->cols);
        acc[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[t]), _mm256_set1_ps(info.d * x.d[block]),
                                 acc[t]);
        if (has_mins(format)) {
            __m256i x_sums = _mm256_loadu_si256((const void *)(x.sums + block * 16));
            __m256 sum = _mm256_cvtepi32_ps(_mm256_madd_epi16(info.mins, x_sums));
            acc[t] = _mm256_fnmadd_ps(sum, _mm256_set1_ps(info.dmin * x.d[block]), acc[t]);
        }
    }
}

NANO_INLINE void tile_256(enum nano_format format, const struct nano_linear_args *args, int64_t row,
                          int64_t token, int num_rows, int num_tokens)
{
    __m256 acc[NANO_TILE_TOKENS];
    (void)num_rows; /* 1 */
    NANO_UNROLL
    for (int t = 0; t < num_tokens; t++)
        acc[t] = _mm256_setzero_ps();
    for (int64_t block = 0; block < args->cols / 256; block++)
        step(format, args, row, token, num_tokens, block, acc);
    NANO_UNROLL
    for (int t = 0; t < num_tokens; t++)
        args->y[(token + t) * args->y_stride + row] = vec_sum(acc[t]);
}

NANO_DEFINE_LINEAR(Q2_K, q2_k, avx2, tile_256, TILE_ROWS)
NANO_DEFINE_LINEAR(Q3_K, q3_k, avx2, tile_256, TILE_ROWS)
NANO_DEFINE_LINEAR(Q4_K, q4_k, avx2, tile_256, TILE_ROWS)
NANO_DEFINE_LINEAR(Q5_K, q5_k, avx2, tile_256, TILE_ROWS)
NANO_DEFINE_LINEAR(Q6_K, q6_k, avx2, tile_256, TILE_ROWS)
NANO_DEFINE_LINEAR(IQ4_XS, iq4_xs, avx2, tile_256, TILE_ROWS)
