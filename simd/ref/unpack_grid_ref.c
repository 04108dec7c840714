/* Blocks of codewords to integers, 32 columns at a time. The layouts are drawn in block_layouts.h.
 */
#include "simd/grids.h"
#include "simd/ref/ref.h"

/* Eight weights: one codeword of 8. */
static void put_8(int8_t q[8], const struct nano_grid *grid, unsigned index, unsigned signs)
{
    for (int j = 0; j < 8; j++) {
        int level = grid->levels[nano_grid_digit(8, grid->codes[index], j)];
        q[j] = (int8_t)(signs >> j & 1 ? -level : level);
    }
}

/* Eight weights: two codewords of 4. */
static void put_4_4(int8_t q[8], const struct nano_grid *grid, unsigned index, unsigned next,
                    unsigned signs)
{
    for (int j = 0; j < 8; j++) {
        int level = grid->levels[nano_grid_digit(4, grid->codes[j < 4 ? index : next], j % 4)];
        q[j] = (int8_t)(signs >> j & 1 ? -level : level);
    }
}

/* Eight weights of IQ1, times 8 so that the delta of an eighth is whole. */
static void put_iq1(int8_t q[8], unsigned index, bool is_minus)
{
    for (int j = 0; j < 8; j++) {
        int level = nano_grid_iq1.levels[nano_grid_digit(8, nano_grid_iq1.codes[index], j)];
        q[j] = (int8_t)(8 * level + (is_minus ? -1 : 1));
    }
}

void nano_unpack_iq1_s(struct nano_unpacked_unit *out, const void *block, int unit)
{
    const struct nano_block_iq1_s *b = block;
    const unsigned high = nano_load_u16(b->high[unit]);
    out->d[0] = out->d[1] = nano_load_f16(b->d) * 0.125f * (float)(2 * (high >> 12 & 7) + 1);
    for (int l = 0; l < 4; l++)
        put_iq1(out->q + 8 * l, b->low[4 * unit + l] | (high >> 3 * l & 7) << 8, high >> 15);
}

void nano_unpack_iq1_m(struct nano_unpacked_unit *out, const void *block, int unit)
{
    const struct nano_block_iq1_m *b = block;
    unsigned d = 0;
    for (int i = 0; i < 4; i++)
        d |= (unsigned)(nano_load_u16(b->scales[i]) >> 12) << 4 * i;
    for (int part = 0; part < 2; part++) {
        const int i = 2 * unit + part;
        const unsigned scale = nano_load_u16(b->scales[i / 4]) >> i % 4 * 3 & 7;
        out->d[part] = nano_f16_to_f32((uint16_t)d) * 0.125f * (float)(2 * scale + 1);
    }
    for (int l = 0; l < 4; l++) {
        const unsigned high = b->high[2 * unit + l / 2] >> l % 2 * 4 & 15;
        put_iq1(out->q + 8 * l, b->low[4 * unit + l] | (high & 7) << 8, high >> 3);
    }
}

void nano_unpack_iq2_xxs(struct nano_unpacked_unit *out, const void *block, int unit)
{
    const struct nano_block_iq2_xxs *b = block;
    const uint8_t *codes = b->parts[unit][0];
    const uint32_t word = nano_load_u32(b->parts[unit][1]);
    out->d[0] = out->d[1] = nano_load_f16(b->d) * 0.125f * (float)(2 * (word >> 28) + 1);
    for (int l = 0; l < 4; l++)
        put_8(out->q + 8 * l, &nano_grid_iq2_xxs, codes[l], nano_even_signs(word >> 7 * l & 127));
}

static void set_iq2_scales(struct nano_unpacked_unit *out, const uint8_t d[2], uint8_t scales)
{
    for (int part = 0; part < 2; part++)
        out->d[part] = nano_load_f16(d) * 0.125f * (float)(2 * (scales >> 4 * part & 15) + 1);
}

void nano_unpack_iq2_xs(struct nano_unpacked_unit *out, const void *block, int unit)
{
    const struct nano_block_iq2_xs *b = block;
    set_iq2_scales(out, b->d, b->scales[unit]);
    for (int l = 0; l < 4; l++) {
        const unsigned group = nano_load_u16(b->groups[4 * unit + l]);
        put_8(out->q + 8 * l, &nano_grid_iq2_xs, group & 511, nano_even_signs(group >> 9));
    }
}

void nano_unpack_iq2_s(struct nano_unpacked_unit *out, const void *block, int unit)
{
    const struct nano_block_iq2_s *b = block;
    set_iq2_scales(out, b->d, b->scales[unit]);
    for (int l = 0; l < 4; l++)
        put_8(out->q + 8 * l, &nano_grid_iq2_s,
              b->low[4 * unit + l] | (b->high[unit] >> 2 * l & 3u) << 8, b->signs[4 * unit + l]);
}

void nano_unpack_iq3_xxs(struct nano_unpacked_unit *out, const void *block, int unit)
{
    const struct nano_block_iq3_xxs *b = block;
    const uint8_t *codes = b->codes + 8 * unit;
    const uint32_t word = nano_load_u32(b->parts[unit]);
    out->d[0] = out->d[1] = nano_load_f16(b->d) * 0.25f * (float)(2 * (word >> 28) + 1);
    for (int l = 0; l < 4; l++)
        put_4_4(out->q + 8 * l, &nano_grid_iq3_xxs, codes[2 * l], codes[2 * l + 1],
                nano_even_signs(word >> 7 * l & 127));
}

void nano_unpack_iq3_s(struct nano_unpacked_unit *out, const void *block, int unit)
{
    const struct nano_block_iq3_s *b = block;
    const uint8_t *low = b->low + 8 * unit;
    const unsigned high = b->high[unit];
    out->d[0] = out->d[1] =
        nano_load_f16(b->d) * (float)(2 * (b->scales[unit / 2] >> unit % 2 * 4 & 15) + 1);
    for (int l = 0; l < 4; l++)
        put_4_4(out->q + 8 * l, &nano_grid_iq3_s, low[2 * l] | (high >> 2 * l & 1) << 8,
                low[2 * l + 1] | (high >> (2 * l + 1) & 1) << 8, b->signs[4 * unit + l]);
}
