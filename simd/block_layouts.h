/* Layouts of blocks: how quantised weights lie in a file. Structs and constants only, which a GPU's
 * kernels include too.
 *
 * Weight blocks are byte for byte those of GGUF files (defined by ggml's public headers). All
 * members are bytes, so that a block may stand at any address; 16-bit values are little endian. "k"
 * is the index of a weight in its block, "lo/hi nibble" the bits 0-3/4-7 of a byte. */
#ifndef NANO_SIMD_BLOCK_LAYOUTS_H
#define NANO_SIMD_BLOCK_LAYOUTS_H

#include <stdint.h>

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

/* ---- Other small blocks -------------------------------------------------------------------------
 */

/* w = 2^(e - 128) * nano_fp4_values[nibble], nibbles as in the blocks of 32 above. */
struct nano_block_mxfp4 {
    uint8_t e;
    uint8_t nibbles[16];
};

/* Parts of 16: w = scale / 2 * nano_fp4_values[nibble]; the scale is an unsigned float of 4 bits of
 * exponent and 3 of mantissa (0x7F is 0); byte 8 i + j holds k = 16 i + j (lo) and 16 i + 8 + j
 * (hi). */
struct nano_block_nvfp4 {
    uint8_t scales[4];
    uint8_t nibbles[32];
};

/* w = d where bit k (little endian) is set, else -d */
struct nano_block_q1_0 {
    uint8_t d[2]; /* f16 */
    uint8_t bits[16];
};

/* w = d * (q - 1); q of k is bits 2 (k % 4), 2 (k % 4) + 1 of q[k / 4]. */
struct nano_block_q2_0 {
    uint8_t d[2]; /* f16 */
    uint8_t q[16];
};

/* w = d * (trit - 1). A byte b is five trits, b * 3^5 / 256 with the first one uppermost, rounded
 * up: trit n is the integer part of 3 (b * 3^n % 256) / 256. Trit n of byte j < 32 is k = 32 n + j;
 * of byte 32 + j, j < 16, k = 160 + 16 n + j; of byte j of `rest`, n < 4, k = 240 + 4 n + j. */
struct nano_block_tq1_0 {
    uint8_t trits[48];
    uint8_t rest[4];
    uint8_t d[2]; /* f16 */
};

/* w = d * (q - 1), q of 2 bits as in Q2_K */
struct nano_block_tq2_0 {
    uint8_t q[64];
    uint8_t d[2]; /* f16 */
};

/* ---- Blocks of 256 of codewords (grids.h) -------------------------------------------------------
 *
 * "Group g" is weights 8 g … 8 g + 7. Of IQ2 and IQ3 codewords are magnitudes, and a set sign bit
 * is a minus; seven stored sign bits mean eight of which an even number is set. */

/* Parts of 32: w = d * (2 scale + 1) * (codeword + delta), delta = 1/8, or -1/8 where bit 15 of the
 * part's `high` is set. Codeword of group 4 i + l: low[4 i + l], and bits 3 l … 3 l + 2 of high[i]
 * above; bits 12-14 of it are the scale. */
struct nano_block_iq1_s {
    uint8_t d[2]; /* f16 */
    uint8_t low[32];
    uint8_t high[8][2]; /* little endian */
};

/* Parts of 16, w as in IQ1_S with a delta per group. Nibble g of `high`: bits 8-10 of the codeword,
 * and bit 3 for a negative delta. scales are four words of 16 bits: bits 3 j … 3 j + 2 of word i
 * are the scale of part 4 i + j, bits 12-15 bits 4 i … 4 i + 3 of d (f16). */
struct nano_block_iq1_m {
    uint8_t low[32];
    uint8_t high[16];
    uint8_t scales[4][2];
};

/* Parts of 32: w = d * (2 scale + 1) / 8 * codeword. Each has a word of four codewords of 8 bits
 * and one of four times 7 sign bits and, in bits 28-31, the scale. */
struct nano_block_iq2_xxs {
    uint8_t d[2];           /* f16 */
    uint8_t parts[8][2][4]; /* little endian */
};

/* Parts of 16, w as in IQ2_XXS; nibble i of scales is that of part i. groups: codeword in bits 0-8,
 * signs in bits 9-15. */
struct nano_block_iq2_xs {
    uint8_t d[2];          /* f16 */
    uint8_t groups[32][2]; /* little endian */
    uint8_t scales[8];
};

/* Parts of 16, w as in IQ2_XXS; scales as in IQ2_XS. Bits 8-9 of group 4 i + l's codeword are bits
 * 2 l, 2 l + 1 of high[i]. */
struct nano_block_iq2_s {
    uint8_t d[2]; /* f16 */
    uint8_t low[32];
    uint8_t signs[32];
    uint8_t high[8];
    uint8_t scales[8];
};

/* Parts of 32: w = d * (2 scale + 1) / 4 * codeword, two codewords of 4 per group. Each part has a
 * word of four times 7 sign bits and, in bits 28-31, the scale. */
struct nano_block_iq3_xxs {
    uint8_t d[2]; /* f16 */
    uint8_t codes[64];
    uint8_t parts[8][4]; /* little endian */
};

/* Parts of 32: w = d * (2 scale + 1) * codeword, two codewords of 4 per group; bit 8 of codeword c
 * is bit c % 8 of high[c / 8]; nibble i of scales is that of part i. */
struct nano_block_iq3_s {
    uint8_t d[2]; /* f16 */
    uint8_t low[64];
    uint8_t high[8];
    uint8_t signs[32];
    uint8_t scales[4];
};

/* The 16 levels of IQ4_NL and IQ4_XS (ggml's kvalues_iq4nl). */
#define NANO_IQ4_VALUES -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113

/* The 16 levels of MXFP4 and NVFP4: E2M1 times 2. */
#define NANO_FP4_VALUES 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12

#endif
