/* Blocks of FP4, binary and ternary weights to integers, 32 columns at a time. The layouts are
 * drawn in block_layouts.h. */
#include <math.h>

#include "simd/ref/ref.h"

/* 2^(e - 128), without a float exponent's range. */
static float half_e8m0(uint8_t e)
{
    return e < 2 ? nano_f32_from_bits(0x00200000u << e) : nano_f32_from_bits((e - 1u) << 23);
}

void nano_unpack_mxfp4(struct nano_unpacked_unit *out, const void *block, int unit)
{
    const struct nano_block_mxfp4 *b = block;
    (void)unit;
    out->d[0] = out->d[1] = half_e8m0(b->e);
    for (int j = 0; j < 16; j++) {
        out->q[j] = nano_fp4_values[b->nibbles[j] & 15];
        out->q[16 + j] = nano_fp4_values[b->nibbles[j] >> 4];
    }
}

float nano_half_ue4m3(uint8_t scale)
{
    const int exponent = scale >> 3 & 15, mantissa = scale & 7;
    if (scale == 0x7F)
        return 0;
    return exponent ? ldexpf((float)(8 + mantissa), exponent - 11) : ldexpf((float)mantissa, -10);
}

void nano_unpack_nvfp4(struct nano_unpacked_unit *out, const void *block, int unit)
{
    const struct nano_block_nvfp4 *b = block;
    for (int part = 0; part < 2; part++) {
        const uint8_t *nibbles = b->nibbles + 16 * unit + 8 * part;
        out->d[part] = nano_half_ue4m3(b->scales[2 * unit + part]);
        for (int j = 0; j < 8; j++) {
            out->q[16 * part + j] = nano_fp4_values[nibbles[j] & 15];
            out->q[16 * part + 8 + j] = nano_fp4_values[nibbles[j] >> 4];
        }
    }
}

void nano_unpack_q1_0(struct nano_unpacked_unit *out, const void *block, int unit)
{
    const struct nano_block_q1_0 *b = block;
    const uint32_t bits = nano_load_u32(b->bits + 4 * unit);
    out->d[0] = out->d[1] = nano_load_f16(b->d);
    for (int k = 0; k < 32; k++)
        out->q[k] = bits >> k & 1 ? 1 : -1;
}

void nano_unpack_q2_0(struct nano_unpacked_unit *out, const void *block, int unit)
{
    const struct nano_block_q2_0 *b = block;
    out->d[0] = out->d[1] = nano_load_f16(b->d);
    for (int k = 0; k < 32; k++)
        out->q[k] = (int8_t)((b->q[8 * unit + k / 4] >> k % 4 * 2 & 3) - 1);
}

void nano_unpack_tq1_0(struct nano_unpacked_unit *out, const void *block, int unit)
{
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    const struct nano_block_tq1_0 *b = block;
    out->d[0] = out->d[1] = nano_load_f16(b->d);
    for (int i = 0; i < 32; i++) {
        const int k = 32 * unit + i, m = k - 160, r = k - 240;
        const uint8_t byte = k < 160   ? b->trits[k % 32]
                             : k < 240 ? b->trits[32 + m % 16]
                                       : b->rest[r % 4];
        const int n = k < 160 ? k / 32 : k < 240 ? m / 16 : r / 4;
        out->q[i] = (int8_t)(((uint8_t)(byte * powers[n]) * 3 >> 8) - 1);
    }
}

void nano_unpack_tq2_0(struct nano_unpacked_unit *out, const void *block, int unit)
{
    const struct nano_block_tq2_0 *b = block;
    out->d[0] = out->d[1] = nano_load_f16(b->d);
    for (int i = 0; i < 32; i++)
        out->q[i] = (int8_t)((b->q[unit / 4 * 32 + i] >> unit % 4 * 2 & 3) - 1);
}
