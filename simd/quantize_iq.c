/* The bits of the formats of codewords, once nano_grid_search has found them. */
#include <string.h>

#include "simd/quantize_blocks.h"
#include "simd/quantize_grid.h"

void nano_search_iq1_s(uint8_t *dst, const struct nano_source *source)
{
    static const struct nano_grid_shape shape = {
        &nano_grid_iq1, NANO_GRID_SIGNS_NONE, 32, 7, 1, 32};
    struct nano_block_iq1_s *block = (void *)dst;
    struct nano_grid_choice c;
    nano_grid_search(&shape, source, &c);
    nano_store_u16(block->d, c.d);
    for (int i = 0; i < 8; i++) {
        unsigned high = (unsigned)c.scales[i] << 12 | (unsigned)c.signs[4 * i] << 15;
        for (int l = 0; l < 4; l++) {
            block->low[4 * i + l] = (uint8_t)c.codes[4 * i + l];
            high |= (unsigned)(c.codes[4 * i + l] >> 8) << 3 * l;
        }
        nano_store_u16(block->high[i], (uint16_t)high);
    }
}

void nano_search_iq1_m(uint8_t *dst, const struct nano_source *source)
{
    static const struct nano_grid_shape shape = {&nano_grid_iq1, NANO_GRID_SIGNS_NONE, 16, 7, 1, 8};
    struct nano_block_iq1_m *block = (void *)dst;
    struct nano_grid_choice c;
    nano_grid_search(&shape, source, &c);
    for (int g = 0; g < 32; g++)
        block->low[g] = (uint8_t)c.codes[g];
    for (int i = 0; i < 16; i++)
        block->high[i] = (uint8_t)(c.codes[2 * i] >> 8 | c.signs[2 * i] << 3 |
                                   c.codes[2 * i + 1] >> 8 << 4 | c.signs[2 * i + 1] << 7);
    for (int i = 0; i < 4; i++) {
        unsigned word = (unsigned)(c.d >> 4 * i & 15) << 12;
        for (int j = 0; j < 4; j++)
            word |= (unsigned)c.scales[4 * i + j] << 3 * j;
        nano_store_u16(block->scales[i], (uint16_t)word);
    }
}

/* Four times 7 sign bits and a scale. */
static uint32_t signs_and_scale(const uint8_t signs[4], uint8_t scale)
{
    uint32_t word = (uint32_t)scale << 28;
    for (int l = 0; l < 4; l++)
        word |= (uint32_t)(signs[l] & 127) << 7 * l;
    return word;
}

void nano_search_iq2_xxs(uint8_t *dst, const struct nano_source *source)
{
    static const struct nano_grid_shape shape = {
        &nano_grid_iq2_xxs, NANO_GRID_SIGNS_EVEN, 32, 15, 0.125f, 0};
    struct nano_block_iq2_xxs *block = (void *)dst;
    struct nano_grid_choice c;
    nano_grid_search(&shape, source, &c);
    nano_store_u16(block->d, c.d);
    for (int i = 0; i < 8; i++) {
        for (int l = 0; l < 4; l++)
            block->parts[i][0][l] = (uint8_t)c.codes[4 * i + l];
        nano_store_u32(block->parts[i][1], signs_and_scale(c.signs + 4 * i, c.scales[i]));
    }
}

void nano_search_iq2_xs(uint8_t *dst, const struct nano_source *source)
{
    static const struct nano_grid_shape shape = {
        &nano_grid_iq2_xs, NANO_GRID_SIGNS_EVEN, 16, 15, 0.125f, 0};
    struct nano_block_iq2_xs *block = (void *)dst;
    struct nano_grid_choice c;
    nano_grid_search(&shape, source, &c);
    nano_store_u16(block->d, c.d);
    for (int g = 0; g < 32; g++)
        nano_store_u16(block->groups[g], (uint16_t)(c.codes[g] | (c.signs[g] & 127) << 9));
    for (int i = 0; i < 8; i++)
        block->scales[i] = (uint8_t)(c.scales[2 * i] | c.scales[2 * i + 1] << 4);
}

void nano_search_iq2_s(uint8_t *dst, const struct nano_source *source)
{
    static const struct nano_grid_shape shape = {
        &nano_grid_iq2_s, NANO_GRID_SIGNS_FREE, 16, 15, 0.125f, 0};
    struct nano_block_iq2_s *block = (void *)dst;
    struct nano_grid_choice c;
    nano_grid_search(&shape, source, &c);
    nano_store_u16(block->d, c.d);
    memset(block->high, 0, sizeof block->high);
    memcpy(block->signs, c.signs, sizeof block->signs);
    for (int g = 0; g < 32; g++) {
        block->low[g] = (uint8_t)c.codes[g];
        block->high[g / 4] |= (uint8_t)(c.codes[g] >> 8 << g % 4 * 2);
    }
    for (int i = 0; i < 8; i++)
        block->scales[i] = (uint8_t)(c.scales[2 * i] | c.scales[2 * i + 1] << 4);
}

void nano_search_iq3_xxs(uint8_t *dst, const struct nano_source *source)
{
    static const struct nano_grid_shape shape = {
        &nano_grid_iq3_xxs, NANO_GRID_SIGNS_EVEN, 32, 15, 0.25f, 0};
    struct nano_block_iq3_xxs *block = (void *)dst;
    struct nano_grid_choice c;
    nano_grid_search(&shape, source, &c);
    nano_store_u16(block->d, c.d);
    for (int i = 0; i < 64; i++)
        block->codes[i] = (uint8_t)c.codes[i];
    for (int i = 0; i < 8; i++)
        nano_store_u32(block->parts[i], signs_and_scale(c.signs + 4 * i, c.scales[i]));
}

void nano_search_iq3_s(uint8_t *dst, const struct nano_source *source)
{
    static const struct nano_grid_shape shape = {
        &nano_grid_iq3_s, NANO_GRID_SIGNS_FREE, 32, 15, 1, 0};
    struct nano_block_iq3_s *block = (void *)dst;
    struct nano_grid_choice c;
    nano_grid_search(&shape, source, &c);
    nano_store_u16(block->d, c.d);
    memset(block->high, 0, sizeof block->high);
    memcpy(block->signs, c.signs, sizeof block->signs);
    for (int i = 0; i < 64; i++) {
        block->low[i] = (uint8_t)c.codes[i];
        block->high[i / 8] |= (uint8_t)(c.codes[i] >> 8 << i % 8);
    }
    for (int i = 0; i < 4; i++)
        block->scales[i] = (uint8_t)(c.scales[2 * i] | c.scales[2 * i + 1] << 4);
}
