/* Blocks of stored weights to integers. The layouts are drawn in block_layouts.h. */
#include <string.h>

#include "simd/ref/ref.h"

static void unpack_nibbles(int8_t q[32], const uint8_t nibbles[16], int offset)
{
    for (int j = 0; j < 16; j++) {
        q[j] = (int8_t)((nibbles[j] & 15) - offset);
        q[16 + j] = (int8_t)((nibbles[j] >> 4) - offset);
    }
}

static void unpack_iq4(int8_t q[32], const uint8_t nibbles[16])
{
    for (int j = 0; j < 16; j++) {
        q[j] = nano_iq4_values[nibbles[j] & 15];
        q[16 + j] = nano_iq4_values[nibbles[j] >> 4];
    }
}

static void add_high_bits(int8_t q[32], const uint8_t high[4])
{
    uint32_t bits = nano_load_u32(high);
    for (int k = 0; k < 32; k++)
        q[k] = (int8_t)(q[k] + (int)(bits >> k & 1) * 16);
}

void nano_unpack_q4_0(struct nano_unpacked_32 *out, const void *block)
{
    const struct nano_block_q4_0 *b = block;
    out->d = nano_load_f16(b->d);
    out->m = 0;
    unpack_nibbles(out->q, b->nibbles, 8);
}

void nano_unpack_q4_1(struct nano_unpacked_32 *out, const void *block)
{
    const struct nano_block_q4_1 *b = block;
    out->d = nano_load_f16(b->d);
    out->m = nano_load_f16(b->m);
    unpack_nibbles(out->q, b->nibbles, 0);
}

void nano_unpack_q5_0(struct nano_unpacked_32 *out, const void *block)
{
    const struct nano_block_q5_0 *b = block;
    out->d = nano_load_f16(b->d);
    out->m = 0;
    unpack_nibbles(out->q, b->nibbles, 16);
    add_high_bits(out->q, b->high);
}

void nano_unpack_q5_1(struct nano_unpacked_32 *out, const void *block)
{
    const struct nano_block_q5_1 *b = block;
    out->d = nano_load_f16(b->d);
    out->m = nano_load_f16(b->m);
    unpack_nibbles(out->q, b->nibbles, 0);
    add_high_bits(out->q, b->high);
}

void nano_unpack_q8_0(struct nano_unpacked_32 *out, const void *block)
{
    const struct nano_block_q8_0 *b = block;
    out->d = nano_load_f16(b->d);
    out->m = 0;
    memcpy(out->q, b->q, sizeof out->q);
}

void nano_unpack_iq4_nl(struct nano_unpacked_32 *out, const void *block)
{
    const struct nano_block_iq4_nl *b = block;
    out->d = nano_load_f16(b->d);
    out->m = 0;
    unpack_iq4(out->q, b->nibbles);
}

/* Bits 2j, 2j + 1 of byte 32 n + l belong to weight k = 128 n + 32 j + l. */
static int two_bits(const uint8_t *bytes, int k)
{
    return bytes[k / 128 * 32 + k % 32] >> k % 128 / 32 * 2 & 3;
}

void nano_unpack_q2_k(struct nano_unpacked_256 *out, const void *block)
{
    const struct nano_block_q2_k *b = block;
    out->d = nano_load_f16(b->d);
    out->dmin = nano_load_f16(b->dmin);
    for (int i = 0; i < 16; i++) {
        out->scales[i] = b->scales[i] & 15;
        out->mins[i] = b->scales[i] >> 4;
    }
    for (int k = 0; k < 256; k++)
        out->q[k] = (int8_t)two_bits(b->q, k);
}

void nano_unpack_q3_k(struct nano_unpacked_256 *out, const void *block)
{
    const struct nano_block_q3_k *b = block;
    out->d = nano_load_f16(b->d);
    out->dmin = 0;
    for (int i = 0; i < 16; i++) {
        int low = b->scales[i % 8] >> i / 8 * 4 & 15, high = b->scales[8 + i % 4] >> i / 4 * 2 & 3;
        out->scales[i] = (int16_t)((low | high << 4) - 32);
        out->mins[i] = 0;
    }
    for (int k = 0; k < 256; k++)
        out->q[k] = (int8_t)((two_bits(b->low, k) | (b->high[k % 32] >> k / 32 & 1) << 2) - 4);
}

/* The eight 6-bit scales and mins of Q4_K and Q5_K, each for two parts of 16. */
static void unpack_scales_k4(struct nano_unpacked_256 *out, const uint8_t scales[12])
{
    for (int i = 0; i < 8; i++) {
        int scale, min;
        if (i < 4) {
            scale = scales[i] & 63;
            min = scales[4 + i] & 63;
        } else {
            scale = (scales[4 + i] & 15) | scales[i - 4] >> 6 << 4;
            min = scales[4 + i] >> 4 | scales[i] >> 6 << 4;
        }
        out->scales[2 * i] = out->scales[2 * i + 1] = (int16_t)scale;
        out->mins[2 * i] = out->mins[2 * i + 1] = (int16_t)min;
    }
}

void nano_unpack_q4_k(struct nano_unpacked_256 *out, const void *block)
{
    const struct nano_block_q4_k *b = block;
    out->d = nano_load_f16(b->d);
    out->dmin = nano_load_f16(b->dmin);
    unpack_scales_k4(out, b->scales);
    for (int k = 0; k < 256; k++)
        out->q[k] = (int8_t)(b->nibbles[k / 64 * 32 + k % 32] >> k % 64 / 32 * 4 & 15);
}

void nano_unpack_q5_k(struct nano_unpacked_256 *out, const void *block)
{
    const struct nano_block_q5_k *b = block;
    out->d = nano_load_f16(b->d);
    out->dmin = nano_load_f16(b->dmin);
    unpack_scales_k4(out, b->scales);
    for (int k = 0; k < 256; k++) {
        int low = b->nibbles[k / 64 * 32 + k % 32] >> k % 64 / 32 * 4 & 15;
        out->q[k] = (int8_t)(low | (b->high[k % 32] >> k / 32 & 1) << 4);
    }
}

void nano_unpack_q6_k(struct nano_unpacked_256 *out, const void *block)
{
    const struct nano_block_q6_k *b = block;
    out->d = nano_load_f16(b->d);
    out->dmin = 0;
    for (int i = 0; i < 16; i++) {
        out->scales[i] = b->scales[i];
        out->mins[i] = 0;
    }
    for (int k = 0; k < 256; k++) {
        int low = b->low[k / 128 * 64 + k % 64] >> k % 128 / 64 * 4 & 15;
        out->q[k] = (int8_t)((low | two_bits(b->high, k) << 4) - 32);
    }
}

void nano_unpack_iq4_xs(struct nano_unpacked_256 *out, const void *block)
{
    const struct nano_block_iq4_xs *b = block;
    uint16_t scales_high = nano_load_u16(b->scales_high);
    out->d = nano_load_f16(b->d);
    out->dmin = 0;
    for (int i = 0; i < 8; i++) {
        int low = b->scales_low[i / 2] >> i % 2 * 4 & 15, high = scales_high >> 2 * i & 3;
        out->scales[2 * i] = out->scales[2 * i + 1] = (int16_t)((low | high << 4) - 32);
        out->mins[2 * i] = out->mins[2 * i + 1] = 0;
        unpack_iq4(out->q + 32 * i, b->nibbles + 16 * i);
    }
}
