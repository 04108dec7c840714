/* The quantisers of single blocks, by family; quantize.c holds the table. */
#ifndef NANO_SIMD_QUANTIZE_BLOCKS_H
#define NANO_SIMD_QUANTIZE_BLOCKS_H

#include "simd/blocks.h"
#include "simd/quantize_search.h"

/* Plain rounding; x is a block. */
void nano_round_f32(uint8_t *dst, const float *x);
void nano_round_f16(uint8_t *dst, const float *x);
void nano_round_bf16(uint8_t *dst, const float *x);
void nano_round_q4_0(uint8_t *dst, const float *x);
void nano_round_q4_1(uint8_t *dst, const float *x);
void nano_round_q5_0(uint8_t *dst, const float *x);
void nano_round_q5_1(uint8_t *dst, const float *x);
void nano_round_q8_0(uint8_t *dst, const float *x);
void nano_round_mxfp4(uint8_t *dst, const float *x);

/* Searches. */
void nano_search_q4_0(uint8_t *dst, const struct nano_source *source);
void nano_search_q4_1(uint8_t *dst, const struct nano_source *source);
void nano_search_q5_0(uint8_t *dst, const struct nano_source *source);
void nano_search_q5_1(uint8_t *dst, const struct nano_source *source);
void nano_search_iq4_nl(uint8_t *dst, const struct nano_source *source);
void nano_search_nvfp4(uint8_t *dst, const struct nano_source *source);
void nano_search_q1_0(uint8_t *dst, const struct nano_source *source);
void nano_search_q2_0(uint8_t *dst, const struct nano_source *source);
void nano_search_tq1_0(uint8_t *dst, const struct nano_source *source);
void nano_search_tq2_0(uint8_t *dst, const struct nano_source *source);
void nano_search_q2_k(uint8_t *dst, const struct nano_source *source);
void nano_search_q3_k(uint8_t *dst, const struct nano_source *source);
void nano_search_q4_k(uint8_t *dst, const struct nano_source *source);
void nano_search_q5_k(uint8_t *dst, const struct nano_source *source);
void nano_search_q6_k(uint8_t *dst, const struct nano_source *source);
void nano_search_iq4_xs(uint8_t *dst, const struct nano_source *source);
void nano_search_iq1_s(uint8_t *dst, const struct nano_source *source);
void nano_search_iq1_m(uint8_t *dst, const struct nano_source *source);
void nano_search_iq2_xxs(uint8_t *dst, const struct nano_source *source);
void nano_search_iq2_xs(uint8_t *dst, const struct nano_source *source);
void nano_search_iq2_s(uint8_t *dst, const struct nano_source *source);
void nano_search_iq3_xxs(uint8_t *dst, const struct nano_source *source);
void nano_search_iq3_s(uint8_t *dst, const struct nano_source *source);

/* 32 levels of 4 bits, as the blocks of 32 store them; bits 4 of 32 levels. */
void nano_pack_nibbles(uint8_t nibbles[16], const uint8_t levels[32]);
void nano_pack_high(uint8_t high[4], const uint8_t levels[32]);

/* The index of a value in a table of 16. */
static inline uint8_t nano_table_index(const int8_t table[16], int8_t value)
{
    uint8_t i = 0;
    while (i < 15 && table[i] != value)
        i++;
    return i;
}

#endif
