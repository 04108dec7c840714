/* Weights in blocks of 32 with Q8_32 activations, one block per vector.
 *
 * Each output is one chain of fused multiply-adds over blocks, of 8 lanes of 4 products each, and
 * one horizontal sum at the end. */
#include "simd/avx2/avx2.h"

#include "simd/avx2/bytes_avx2.h"

enum { TILE_ROWS = 2 };

/* Where the fields of a block are; `mins` is 0 for formats that have none. */
struct layout {
    int bytes, mins;
};

NANO_INLINE struct layout layout_of(enum nano_format format)
{
#define AT(name, member) (int)offsetof(struct nano_block_##name, member)
#define BYTES(name) (int)sizeof(struct nano_block_##name)
    switch (format) {
    case NANO_FORMAT_Q4_0:
        return (struct layout){BYTES(q4_0), 0};
    case NANO_FORMAT_Q4_1:
        return (struct layout){BYTES(q4_1), AT(q4_1, m)};
    case NANO_FORMAT_Q5_0:
        return (struct layout){BYTES(q5_0), 0};
    case NANO_FORMAT_Q5_1:
        return (struct layout){BYTES(q5_1), AT(q5_1, m)};
    case NANO_FORMAT_Q8_0:
        return (struct layout){BYTES(q8_0), 0};
    default:
        return (struct layout){BYTES(iq4_nl), 0};
    }
#undef AT
#undef BYTES
}

/* The signed levels of a block. */
NANO_INLINE __m256i load_levels(enum nano_format format, const uint8_t *block)
{
    switch (format) {
    case NANO_FORMAT_Q4_0: {
        const struct nano_block_q4_0 *b = (const void *)block;
        return _mm256_sub_epi8(bytes_from_nibbles(b->nibbles), _mm256_set1_epi8(8));
    }
    case NANO_FORMAT_Q4_1: {
        const struct nano_block_q4_1 *b = (const void *)block;
        return bytes_from_nibbles(b->nibbles);
    }
    case NANO_FORMAT_Q5_0: {
        const struct nano_block_q5_0 *b = (const void *)block;
        __m256i high = bytes_from_bits(~nano_load_u32(b->high), -16);
        return _mm256_or_si256(bytes_from_nibbles(b->nibbles), high);
    }
    case NANO_FORMAT_Q5_1: {
        const struct nano_block_q5_1 *b = (const void *)block;
        return _mm256_or_si256(bytes_from_nibbles(b->nibbles),
                               bytes_from_bits(nano_load_u32(b->high), 16));
    }
    case NANO_FORMAT_Q8_0: {
        const struct nano_block_q8_0 *b = (const void *)block;
        return _mm256_loadu_si256((const void *)b->q);
    }
    default: {
        const struct nano_block_iq4_nl *b = (const void *)block;
        return bytes_from_iq4(b->nibbles);
    }
    }
}

NANO_INLINE float load_f16(const uint8_t *at)
{
    return _cvtsh_ss(nano_load_u16(at));
}

NANO_INLINE void step(enum nano_format format, const struct nano_linear_args *args, int64_t row,
                      int64_t token, int num_rows, int num_tokens, int64_t block,
                      __m256 acc[TILE_ROWS][NANO_TILE_TOKENS])
{
    const struct layout at = layout_of(format);
    __m256i levels[TILE_ROWS];
    float d[TILE_ROWS], m[TILE_ROWS];
    NANO_UNROLL
    for (int r = 0; r < num_rows; r++) {
        const uint8_t *b = nano_weight_row(args, row + r) + block * at.bytes;
        nano_prefetch(args, b, num_rows, num_tokens);
        levels[r] = load_levels(format, b);
        d[r] = load_f16(b);
        m[r] = at.mins ? load_f16(b + at.mins) : 0;
    }
    NANO_UNROLL
    for (int t = 0; t < num_tokens; t++) {
        struct nano_q8_32_row x = nano_q8_32_row(nano_token_row(args, token + t), args->cols);
        __m256i q = _mm256_loadu_si256((const void *)(x.q + block * 32));
        NANO_UNROLL
        for (int r = 0; r < num_rows; r++) {
            __m256i dot = _mm256_madd_epi16(bytes_multiply(levels[r], q), _mm256_set1_epi16(1));
            __m256 scale = _mm256_set1_ps(d[r] * x.d[block]);
            acc[r][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, acc[r][t]);
            if (at.mins) { /* into lane 0 */
                __m128 sum = _mm_set_ss(m[r] * (x.d[block] * (float)x.sums[block]));
                acc[r][t] = _mm256_add_ps(acc[r][t], _mm256_zextps128_ps256(sum));
            }
        }
    }
}

NANO_INLINE void tile_32(enum nano_format format, const struct nano_linear_args *args, int64_t row,
                         int64_t token, int num_rows, int num_tokens)
{
    __m256 acc[TILE_ROWS][NANO_TILE_TOKENS];
    NANO_UNROLL
    for (int r = 0; r < num_rows; r++) {
        NANO_UNROLL
        for (int t = 0; t < num_tokens; t++)
            acc[r][t] = _mm256_setzero_ps();
    }
    for (int64_t block = 0; block < args->cols / 32; block++)
        step(format, args, row, token, num_rows, num_tokens, block, acc);
    NANO_UNROLL
    for (int t = 0; t < num_tokens; t++) {
        NANO_UNROLL
        for (int r = 0; r < num_rows; r++)
            args->y[(token + t) * args->y_stride + row + r] = vec_sum(acc[r][t]);
    }
}

NANO_DEFINE_LINEAR(Q4_0, q4_0, avx2, tile_32, TILE_ROWS)
NANO_DEFINE_LINEAR(Q4_1, q4_1, avx2, tile_32, TILE_ROWS)
NANO_DEFINE_LINEAR(Q5_0, q5_0, avx2, tile_32, TILE_ROWS)
NANO_DEFINE_LINEAR(Q5_1, q5_1, avx2, tile_32, TILE_ROWS)
NANO_DEFINE_LINEAR(Q8_0, q8_0, avx2, tile_32, TILE_ROWS)
NANO_DEFINE_LINEAR(IQ4_NL, iq4_nl, avx2, tile_32, TILE_ROWS)
