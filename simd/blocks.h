/* Blocks: reading the layouts of block_layouts.h, and how activations lie in memory. */
#ifndef NANO_SIMD_BLOCKS_H
#define NANO_SIMD_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

#include "simd/block_layouts.h"
#include "simd/half.h"

extern const int8_t nano_iq4_values[16]; /* NANO_IQ4_VALUES */
extern const int8_t nano_fp4_values[16]; /* NANO_FP4_VALUES */

static inline uint16_t nano_load_u16(const uint8_t bytes[2])
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static inline uint32_t nano_load_u32(const uint8_t bytes[4])
{
    return nano_load_u16(bytes) | (uint32_t)nano_load_u16(bytes + 2) << 16;
}

static inline float nano_load_f16(const uint8_t bytes[2])
{
    return nano_f16_to_f32(nano_load_u16(bytes));
}

static inline float nano_load_bf16(const uint8_t bytes[2])
{
    return nano_bf16_to_f32(nano_load_u16(bytes));
}

static inline float nano_load_f32(const uint8_t bytes[4])
{
    return nano_f32_from_bits(nano_load_u32(bytes));
}

static inline void nano_store_u16(uint8_t bytes[2], uint16_t value)
{
    bytes[0] = (uint8_t)value;
    bytes[1] = (uint8_t)(value >> 8);
}

static inline void nano_store_u32(uint8_t bytes[4], uint32_t value)
{
    nano_store_u16(bytes, (uint16_t)value);
    nano_store_u16(bytes + 2, (uint16_t)(value >> 16));
}

/* ---- Activations --------------------------------------------------------------------------------
 *
 * Q8_32 and Q8_256 are arrays of units of 32 columns. Tokens stand in tiles of 12, whose units of
 * equal columns are neighbours, so that a kernel reaches all of a tile from one pointer:
 *
 *   tile 0: unit 0 of tokens 0 … 11, unit 1 of tokens 0 … 11, …   tile 1: tokens 12 … 23 */
struct nano_q8_unit {
    int8_t q[32];                            /* |q| <= 127 */
    float d;                                 /* x = d * q; the same in 8 units of Q8_256 */
    int32_t offset, offset_low, offset_high; /* -128 * sum of q; of k < 16; of k >= 16 */
    float sum, sum_high;                     /* sum of q; of k >= 16; times d in Q8_32 */
};

enum { NANO_X_TILE = 12 };

/* Fills in what follows from q and d. `low` and `high` are the sums of its halves; sum and sum_high
 * are those times `factor`. */
static inline void nano_q8_unit_finish(struct nano_q8_unit *unit, float d, int32_t low,
                                       int32_t high, float factor)
{
    unit->d = d;
    unit->offset = -128 * (low + high);
    unit->offset_low = -128 * low;
    unit->offset_high = -128 * high;
    unit->sum = factor * (float)(low + high);
    unit->sum_high = factor * (float)high;
}

static inline size_t nano_q8_bytes(int64_t num_tokens, int64_t cols)
{
    return (size_t)((num_tokens + NANO_X_TILE - 1) / NANO_X_TILE * NANO_X_TILE * (cols / 32)) *
           sizeof(struct nano_q8_unit);
}

/* Unit 0 of a token; the next one is NANO_X_TILE further. */
static inline int64_t nano_q8_index(int64_t token, int64_t cols)
{
    return token / NANO_X_TILE * NANO_X_TILE * (cols / 32) + token % NANO_X_TILE;
}

#endif
