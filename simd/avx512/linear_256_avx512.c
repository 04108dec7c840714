/* Weights in blocks of 256 with Q8_256 activations, in four chunks of 64 weights.
 *
 * VPDPBUSD multiplies unsigned by signed bytes, so weights are taken as level = q + offset >= 0 and
 * the sum of offset * x is subtracted lane by lane. A block is summed in integers (lanes of 4
 * products times the scale of their part of 16) and enters the output's chain of fused
 * multiply-adds once; the mins follow as one more term. One horizontal sum at the end. */
#include "simd/avx512/avx512.h"

#include "simd/avx512/vec_avx512.h"
#include "simd/block_scales.h"

enum { TILE_ROWS = 2 };

struct traits {
    int bytes, offset;
    bool has_mins;
};

NANO_INLINE struct traits traits_of(enum nano_format format)
{
#define BYTES(name) (int)sizeof(struct nano_block_##name)
    switch (format) {
    case NANO_FORMAT_Q2_K:
        return (struct traits){BYTES(q2_k), 0, true};
    case NANO_FORMAT_Q3_K:
        return (struct traits){BYTES(q3_k), 4, false};
    case NANO_FORMAT_Q4_K:
        return (struct traits){BYTES(q4_k), 0, true};
    case NANO_FORMAT_Q5_K:
        return (struct traits){BYTES(q5_k), 0, true};
    case NANO_FORMAT_Q6_K:
        return (struct traits){BYTES(q6_k), 32, false};
    default:
        return (struct traits){BYTES(iq4_xs), 128, false};
    }
#undef BYTES
}

/* What all chunks of a block share: scales and mins of its 16 parts. */
struct block_info {
    __m512i scales; /* 32-bit */
    __m256i mins;   /* 16-bit */
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
    info.scales = _mm512_cvtepi8_epi32(scales);
    return info;
}

/* 32 bytes in both halves, the lower half shifted right by `low` bits, the upper one by `high`. */
NANO_INLINE __m512i load_shifted(const uint8_t *bytes, int low, int high)
{
    __m512i both = _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)bytes));
    return _mm512_srlv_epi64(both, _mm512_setr_epi64(low, low, low, low, high, high, high, high));
}

NANO_INLINE __m512i low_bits(__m512i x, int num_bits)
{
    return _mm512_and_si512(x, _mm512_set1_epi8((char)((1 << num_bits) - 1)));
}

/* x << n in every byte whose lower bits fit. */
NANO_INLINE __m512i shift_up(__m512i x, int n)
{
    return _mm512_slli_epi16(x, (unsigned)n);
}

/* Levels of chunk c (weights 64 c ... 64 c + 63) in the order of k. */
NANO_INLINE __m512i load_levels(enum nano_format format, const uint8_t *block, int c)
{
    const int half = c / 2, j = c % 2 * 2; /* of 128 weights; the first of two groups of 32 in it */
    if (format == NANO_FORMAT_Q2_K) {
        const struct nano_block_q2_k *b = (const void *)block;
        return low_bits(load_shifted(b->q + 32 * half, 2 * j, 2 * j + 2), 2);
    }
    if (format == NANO_FORMAT_Q3_K) {
        const struct nano_block_q3_k *b = (const void *)block;
        __m512i low = low_bits(load_shifted(b->low + 32 * half, 2 * j, 2 * j + 2), 2);
        __m512i high = low_bits(load_shifted(b->high, 2 * c, 2 * c + 1), 1);
        return _mm512_or_si512(low, shift_up(high, 2));
    }
    if (format == NANO_FORMAT_Q4_K) {
        const struct nano_block_q4_k *b = (const void *)block;
        return low_bits(load_shifted(b->nibbles + 32 * c, 0, 4), 4);
    }
    if (format == NANO_FORMAT_Q5_K) {
        const struct nano_block_q5_k *b = (const void *)block;
        __m512i low = low_bits(load_shifted(b->nibbles + 32 * c, 0, 4), 4);
        __m512i high = low_bits(load_shifted(b->high, 2 * c, 2 * c + 1), 1);
        return _mm512_or_si512(low, shift_up(high, 4));
    }
    if (format == NANO_FORMAT_Q6_K) {
        const struct nano_block_q6_k *b = (const void *)block;
        __m512i low = _mm512_loadu_si512(b->low + 64 * half);
        low = low_bits(c % 2 ? _mm512_srli_epi16(low, 4) : low, 4);
        __m512i high = low_bits(load_shifted(b->high + 32 * half, 2 * j, 2 * j + 2), 2);
        return _mm512_or_si512(low, shift_up(high, 4));
    }
    const struct nano_block_iq4_xs *b = (const void *)block;
    __m256i two = _mm256_loadu_si256((const void *)(b->nibbles + 32 * c));
    __m512i spread = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3),
                                              _mm512_castsi256_si512(two));
    spread = _mm512_srlv_epi64(spread, _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4));
    __m128i values =
        _mm_xor_si128(_mm_loadu_si128((const void *)nano_iq4_values), _mm_set1_epi8(-128));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values), low_bits(spread, 4));
}

/* The scales of chunk c: part 4 c + i in lanes 4 i ... 4 i + 3. */
NANO_INLINE __m512i chunk_scales(__m512i scales, int c)
{
    const __m512i lanes = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    return _mm512_permutexvar_epi32(_mm512_add_epi32(lanes, _mm512_set1_epi32(4 * c)), scales);
}

/* sums[r][t] += chunk c of the block. */
NANO_INLINE void chunk(enum nano_format format, const struct nano_linear_args *args, int64_t token,
                       int num_rows, int num_tokens, int64_t block, int c,
                       const uint8_t *const blocks[TILE_ROWS],
                       const struct block_info info[TILE_ROWS],
                       __m512i sums[TILE_ROWS][NANO_TILE_TOKENS])
{
    const int offset = traits_of(format).offset;
    __m512i levels[TILE_ROWS], scales[TILE_ROWS];
    NANO_UNROLL
    for (int r = 0; r < num_rows; r++) {
        nano_prefetch(args, blocks[r] + c * 64, num_rows, num_tokens);
        levels[r] = load_levels(format, blocks[r], c);
        scales[r] = chunk_scales(info[r].scales, c);
    }
    NANO_UNROLL
    for (int t = 0; t < num_tokens; t++) {
        const int8_t *q = nano_token_row(args, token + t);
        __m512i x = _mm512_loadu_si512(q + block * 256 + c * 64), start = _mm512_setzero_si512();
        if (offset)
            start = _mm512_sub_epi32(start,
                                     _mm512_dpbusd_epi32(start, _mm512_set1_epi8((char)offset), x));
        NANO_UNROLL
        for (int r = 0; r < num_rows; r++) {
            __m512i dot = _mm512_dpbusd_epi32(start, levels[r], x);
            sums[r][t] = _mm512_add_epi32(sums[r][t], _mm512_mullo_epi32(dot, scales[r]));
        }
    }
}

NANO_INLINE void step(enum nano_format format, const struct nano_linear_args *args, int64_t row,
                      int64_t token, int num_rows, int num_tokens, int64_t block,
                      __m512 acc[TILE_ROWS][NANO_TILE_TOKENS])
{
    const struct traits traits = traits_of(format);
    const uint8_t *blocks[TILE_ROWS];
    struct block_info info[TILE_ROWS];
    __m512i sums[TILE_ROWS][NANO_TILE_TOKENS];
    NANO_UNROLL
    for (int r = 0; r < num_rows; r++) {
        blocks[r] = nano_weight_row(args, row + r) + block * traits.bytes;
        info[r] = block_info_of(format, blocks[r]);
        NANO_UNROLL
        for (int t = 0; t < num_tokens; t++)
            sums[r][t] = _mm512_setzero_si512();
    }
    NANO_UNROLL
    for (int c = 0; c < 4; c++)
        chunk(format, args, token, num_rows, num_tokens, block, c, blocks, info, sums);
    NANO_UNROLL
    for (int t = 0; t < num_tokens; t++) {
        struct nano_q8_256_row x = nano_q8_256_row(nano_token_row(args, token + t), args->cols);
        __m256i x_sums = _mm256_loadu_si256((const void *)(x.sums + block * 16));
        NANO_UNROLL
        for (int r = 0; r < num_rows; r++) {
            __m512 sum = _mm512_cvtepi32_ps(sums[r][t]);
            acc[r][t] = _mm512_fmadd_ps(sum, _mm512_set1_ps(info[r].d * x.d[block]), acc[r][t]);
            if (traits.has_mins) {
                __m256i min_sums = _mm256_madd_epi16(info[r].mins, x_sums);
                sum = _mm512_cvtepi32_ps(_mm512_zextsi256_si512(min_sums));
                acc[r][t] =
                    _mm512_fnmadd_ps(sum, _mm512_set1_ps(info[r].dmin * x.d[block]), acc[r][t]);
            }
        }
    }
}

NANO_INLINE void tile_256(enum nano_format format, const struct nano_linear_args *args, int64_t row,
                          int64_t token, int num_rows, int num_tokens)
{
    __m512 acc[TILE_ROWS][NANO_TILE_TOKENS];
    NANO_UNROLL
    for (int r = 0; r < num_rows; r++) {
        NANO_UNROLL
        for (int t = 0; t < num_tokens; t++)
            acc[r][t] = _mm512_setzero_ps();
    }
    for (int64_t block = 0; block < args->cols / 256; block++)
        step(format, args, row, token, num_rows, num_tokens, block, acc);
    NANO_UNROLL
    for (int t = 0; t < num_tokens; t++) {
        NANO_UNROLL
        for (int r = 0; r < num_rows; r++)
            args->y[(token + t) * args->y_stride + row + r] = vec_sum(acc[r][t]);
    }
}

NANO_DEFINE_LINEAR(Q2_K, q2_k, avx512, tile_256, TILE_ROWS)
NANO_DEFINE_LINEAR(Q3_K, q3_k, avx512, tile_256, TILE_ROWS)
NANO_DEFINE_LINEAR(Q4_K, q4_k, avx512, tile_256, TILE_ROWS)
NANO_DEFINE_LINEAR(Q5_K, q5_k, avx512, tile_256, TILE_ROWS)
NANO_DEFINE_LINEAR(Q6_K, q6_k, avx512, tile_256, TILE_ROWS)
NANO_DEFINE_LINEAR(IQ4_XS, iq4_xs, avx512, tile_256, TILE_ROWS)
