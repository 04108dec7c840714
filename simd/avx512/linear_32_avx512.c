/* Weights in blocks of 32 with Q8_32 activations, two blocks (64 weights) per vector.
 *
 * VPDPBUSD multiplies unsigned by signed bytes, so weights are taken as level = q + offset >= 0 and
 * the sum of offset * x is subtracted lane by lane: the integers stay exact. A 32-bit lane holds
 * the sum of 4 products; lanes 0-7 belong to the first block of the pair, 8-15 to the second. Each
 * output is one chain of fused multiply-adds over pairs and one horizontal sum at the end. */
#include "simd/avx512/avx512.h"

#include "simd/avx512/vec_avx512.h"

enum { TILE_ROWS = 2 };

/* Where the fields of a block are; `mins` is 0 for formats that have none. */
struct layout {
    int bytes, mins, high, levels, offset;
};

NANO_INLINE struct layout layout_of(enum nano_format format)
{
#define AT(name, member) (int)offsetof(struct nano_block_##name, member)
#define BYTES(name) (int)sizeof(struct nano_block_##name)
    switch (format) {
    case NANO_FORMAT_Q4_0:
        return (struct layout){BYTES(q4_0), 0, 0, AT(q4_0, nibbles), 8};
    case NANO_FORMAT_Q4_1:
        return (struct layout){BYTES(q4_1), AT(q4_1, m), 0, AT(q4_1, nibbles), 0};
    case NANO_FORMAT_Q5_0:
        return (struct layout){BYTES(q5_0), 0, AT(q5_0, high), AT(q5_0, nibbles), 16};
    case NANO_FORMAT_Q5_1:
        return (struct layout){BYTES(q5_1), AT(q5_1, m), AT(q5_1, high), AT(q5_1, nibbles), 0};
    case NANO_FORMAT_Q8_0:
        return (struct layout){BYTES(q8_0), 0, 0, AT(q8_0, q), 128};
    default:
        return (struct layout){BYTES(iq4_nl), 0, 0, AT(iq4_nl, nibbles), 128};
    }
#undef AT
#undef BYTES
}

/* Nibbles of two blocks in the order of k: lo of the first, hi of the first, lo, hi of the second.
 */
NANO_INLINE __m512i load_nibbles(const uint8_t *first, const uint8_t *second)
{
    __m256i a = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)first));
    __m256i b = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)second));
    __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
    both = _mm512_srlv_epi64(both, _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4));
    return _mm512_and_si512(both, _mm512_set1_epi8(15));
}

NANO_INLINE __m512i iq4_levels(void)
{
    __m128i values = _mm_loadu_si128((const void *)nano_iq4_values);
    return _mm512_broadcast_i32x4(_mm_xor_si128(values, _mm_set1_epi8(-128)));
}

/* The levels of two blocks as unsigned bytes. */
NANO_INLINE __m512i load_levels(enum nano_format format, const uint8_t *first,
                                const uint8_t *second)
{
    const struct layout at = layout_of(format);
    if (format == NANO_FORMAT_Q8_0) {
        __m256i a = _mm256_loadu_si256((const void *)(first + at.levels));
        __m256i b = _mm256_loadu_si256((const void *)(second + at.levels));
        __m512i q = _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
        return _mm512_xor_si512(q, _mm512_set1_epi8(-128));
    }
    __m512i levels = load_nibbles(first + at.levels, second + at.levels);
    if (format == NANO_FORMAT_IQ4_NL)
        return _mm512_shuffle_epi8(iq4_levels(), levels);
    if (at.high) {
        __mmask64 high = nano_load_u32(first + at.high) | (uint64_t)nano_load_u32(second + at.high)
                                                              << 32;
        levels = _mm512_mask_add_epi8(levels, high, levels, _mm512_set1_epi8(16));
    }
    return levels;
}

/* Lane 0 of `pair` to lanes 0-7, lane 1 to lanes 8-15. */
NANO_INLINE __m512 spread(__m128 pair)
{
    const __m512i lanes = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    return _mm512_permutexvar_ps(lanes, _mm512_castps128_ps512(pair));
}

NANO_INLINE __m128 load_f16_pair(const uint8_t *first, const uint8_t *second)
{
    uint32_t both = nano_load_u16(first) | (uint32_t)nano_load_u16(second) << 16;
    return _mm_cvtph_ps(_mm_cvtsi32_si128((int)both));
}

/* Two floats, or one and a zero. */
NANO_INLINE __m128 load_pair(const float *p, bool single)
{
    return single ? _mm_load_ss(p) : _mm_castpd_ps(_mm_load_sd((const void *)p));
}

struct x_pair {
    __m512i q, offsets; /* `offsets`: minus the sums of offset * q */
    __m512 d, d_sums;   /* d * sum of q in lanes 0 and 8, where the format has mins */
};

NANO_INLINE struct x_pair load_x(struct layout at, const struct nano_linear_args *args,
                                 int64_t token, int64_t block, bool single)
{
    struct nano_q8_32_row row = nano_q8_32_row(nano_token_row(args, token), args->cols);
    const int8_t *q = row.q + block * 32;
    struct x_pair x;
    x.q = single ? _mm512_zextsi256_si512(_mm256_loadu_si256((const void *)q))
                 : _mm512_loadu_si512(q);
    __m128 d = load_pair(row.d + block, single);
    x.d = spread(d);
    x.offsets = x.q;
    x.d_sums = x.d;
    if (at.offset) {
        __m512i offset = _mm512_set1_epi8((char)at.offset);
        __m512i sums = _mm512_dpbusd_epi32(_mm512_setzero_si512(), offset, x.q);
        x.offsets = _mm512_sub_epi32(_mm512_setzero_si512(), sums);
    }
    if (at.mins) {
        __m128i sums = single ? _mm_cvtsi32_si128(row.sums[block])
                              : _mm_loadl_epi64((const void *)(row.sums + block));
        x.d_sums = _mm512_maskz_mov_ps(0x0101, spread(_mm_mul_ps(d, _mm_cvtepi32_ps(sums))));
    }
    return x;
}

/* The pair of blocks from `block` on; `single`: only the first of them. */
NANO_INLINE void step(enum nano_format format, const struct nano_linear_args *args, int64_t row,
                      int64_t token, int num_rows, int num_tokens, int64_t block, bool single,
                      __m512 acc[TILE_ROWS][NANO_TILE_TOKENS])
{
    const struct layout at = layout_of(format);
    __m512i levels[TILE_ROWS];
    __m512 d[TILE_ROWS], m[TILE_ROWS];
    NANO_UNROLL
    for (int r = 0; r < num_rows; r++) {
        const uint8_t *first = nano_weight_row(args, row + r) + block * at.bytes;
        const uint8_t *second = single ? first : first + at.bytes;
        nano_prefetch(args, first, num_rows, num_tokens);
        levels[r] = load_levels(format, first, second);
        d[r] = spread(load_f16_pair(first, second));
        m[r] = at.mins ? spread(load_f16_pair(first + at.mins, second + at.mins)) : d[r];
    }
    NANO_UNROLL
    for (int t = 0; t < num_tokens; t++) {
        struct x_pair x = load_x(at, args, token + t, block, single);
        NANO_UNROLL
        for (int r = 0; r < num_rows; r++) {
            __m512i start = at.offset ? x.offsets : _mm512_setzero_si512();
            __m512 dot = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start, levels[r], x.q));
            acc[r][t] = _mm512_fmadd_ps(dot, _mm512_mul_ps(d[r], x.d), acc[r][t]);
            if (at.mins)
                acc[r][t] = _mm512_fmadd_ps(m[r], x.d_sums, acc[r][t]);
        }
    }
}

NANO_INLINE void tile_32(enum nano_format format, const struct nano_linear_args *args, int64_t row,
                         int64_t token, int num_rows, int num_tokens)
{
    const int64_t num_blocks = args->cols / 32;
    __m512 acc[TILE_ROWS][NANO_TILE_TOKENS];
    NANO_UNROLL
    for (int r = 0; r < num_rows; r++) {
        NANO_UNROLL
        for (int t = 0; t < num_tokens; t++)
            acc[r][t] = _mm512_setzero_ps();
    }
    int64_t block = 0;
    for (; block + 2 <= num_blocks; block += 2)
        step(format, args, row, token, num_rows, num_tokens, block, false, acc);
    if (block < num_blocks)
        step(format, args, row, token, num_rows, num_tokens, block, true, acc);
    NANO_UNROLL
    for (int t = 0; t < num_tokens; t++) {
        NANO_UNROLL
        for (int r = 0; r < num_rows; r++)
            args->y[(token + t) * args->y_stride + row + r] = vec_sum(acc[r][t]);
    }
}

NANO_DEFINE_LINEAR(Q4_0, q4_0, avx512, tile_32, TILE_ROWS)
NANO_DEFINE_LINEAR(Q4_1, q4_1, avx512, tile_32, TILE_ROWS)
NANO_DEFINE_LINEAR(Q5_0, q5_0, avx512, tile_32, TILE_ROWS)
NANO_DEFINE_LINEAR(Q5_1, q5_1, avx512, tile_32, TILE_ROWS)
NANO_DEFINE_LINEAR(Q8_0, q8_0, avx512, tile_32, TILE_ROWS)
NANO_DEFINE_LINEAR(IQ4_NL, iq4_nl, avx512, tile_32, TILE_ROWS)
