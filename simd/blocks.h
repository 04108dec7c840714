/* Blocks: how quantised weights lie in a file, and how activations lie in memory.
 *
 * Weight blocks are byte for byte those of GGUF files (defined by ggml's public headers). All
 * members are bytes, so that a block may stand at any address; 16-bit values are little endian. "k"
 * is the index of a weight in its block, "lo/hi nibble" the bits 0-3/4-7 of a byte. */
#ifndef NANO_SIMD_BLOCKS_H
#define NANO_SIMD_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

#include "simd/half.h"

/* ---- Blocks of one weight ----------------------------------------------------------------------
 */

struct nano_block_f32 {
    uint8_t value[4];
};

struct nano_block_f16 {
    uint8_t value[2];
};

struct nano_block_bf16 {
    uint8_t value[2];
};

/* ---- Blocks of 32: 16 bytes of nibbles, byte j holds k = j (lo) and k = 16 + j (hi) ------------
 */

/* w = d * (nibble - 8) */
struct nano_block_q4_0 {
    uint8_t d[2]; /* f16 */
    uint8_t nibbles[16];
};

/* w = d * nibble + m */
struct nano_block_q4_1 {
    uint8_t d[2], m[2]; /* f16 */
    uint8_t nibbles[16];
};

/* w = d * ((bit << 4 | nibble) - 16); bit k of `high` (little endian) is the fifth bit of weight k
 */
struct nano_block_q5_0 {
    uint8_t d[2]; /* f16 */
    uint8_t high[4];
    uint8_t nibbles[16];
};

/* w = d * (bit << 4 | nibble) + m */
struct nano_block_q5_1 {
    uint8_t d[2], m[2]; /* f16 */
    uint8_t high[4];
    uint8_t nibbles[16];
};

/* w = d * q */
struct nano_block_q8_0 {
    uint8_t d[2]; /* f16 */
    int8_t q[32];
};

/* w = d * nano_iq4_values[nibble] */
struct nano_block_iq4_nl {
    uint8_t d[2]; /* f16 */
    uint8_t nibbles[16];
};

/* ---- Blocks of 256, cut in parts of 32 or 16 with small integer scales -------------------------
 */

/* Parts of 16: w = d * (scale & 15) * q - dmin * (scale >> 4).
 * q has 2 bits: k = 128 n + 32 j + l is bits 2j, 2j+1 of q[32 n + l]. */
struct nano_block_q2_k {
    uint8_t scales[16];
    uint8_t q[64];
    uint8_t d[2], dmin[2]; /* f16 */
};

/* Parts of 16: w = d * (scale - 32) * (q - 4).
 * q has 3 bits: bits 0-1 lie in `low` as in Q2_K; bit 2 of k = 128 n + 32 j + l is bit 4n + j of
 * high[l]. Sixteen 6-bit scales: bits 0-3 of scale i are the lo nibble of scales[i] for i < 8 and
 * the hi nibble of scales[i - 8] above; bits 4-5 are bits 2(i / 4), 2(i / 4) + 1 of scales[8 + i %
 * 4]. */
struct nano_block_q3_k {
    uint8_t high[32];
    uint8_t low[64];
    uint8_t scales[12];
    uint8_t d[2]; /* f16 */
};

/* Parts of 32: w = d * scale * nibble - dmin * min.
 * Byte 32 c + l holds k = 64 c + l (lo) and k = 64 c + 32 + l (hi). Eight 6-bit scales and mins:
 * part i < 4 has its scale in bits 0-5 of scales[i], its min in those of scales[4 + i]; part i >= 4
 * has bits 0-3 in the lo (scale) and hi (min) nibble of scales[4 + i], bits 4-5 in bits 6-7 of
 * scales[i - 4] (scale) and scales[i] (min). */
struct nano_block_q4_k {
    uint8_t d[2], dmin[2]; /* f16 */
    uint8_t scales[12];
    uint8_t nibbles[128];
};

/* As Q4_K with a fifth bit: bit i of high[l] belongs to weight l of part i. */
struct nano_block_q5_k {
    uint8_t d[2], dmin[2]; /* f16 */
    uint8_t scales[12];
    uint8_t high[32];
    uint8_t nibbles[128];
};

/* Parts of 16: w = d * scale * (q - 32).
 * q has 6 bits. Of k = 128 n + 32 j + l bits 0-3 are a nibble of low[64 n + 32 (j % 2) + l], lo for
 * j < 2 and hi above; bits 4-5 are bits 2j, 2j + 1 of high[32 n + l]. */
struct nano_block_q6_k {
    uint8_t low[128];
    uint8_t high[64];
    int8_t scales[16];
    uint8_t d[2]; /* f16 */
};

/* Parts of 32: w = d * (scale - 32) * nano_iq4_values[nibble].
 * Part i: nibbles[16 i ... 16 i + 16) as in the blocks of 32; bits 0-3 of its scale are nibble i of
 * scales_low, bits 4-5 are bits 2i, 2i + 1 of scales_high (little endian). */
struct nano_block_iq4_xs {
    uint8_t d[2]; /* f16 */
    uint8_t scales_high[2];
    uint8_t scales_low[4];
    uint8_t nibbles[128];
};

/* The 16 levels of IQ4_NL and IQ4_XS (ggml's kvalues_iq4nl). */
extern const int8_t nano_iq4_values[16];

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
