/* Grids: the sets of vectors that weights of the IQ1, IQ2 and IQ3 formats come from, 8 or 4
 * neighbours at a time. */
#ifndef NANO_SIMD_GRIDS_H
#define NANO_SIMD_GRIDS_H

#include <stdint.h>

/* Codeword i is `length` digits, each an index into levels: digit j is bits 2 j, 2 j + 1 of
 * codes[i] where the length is 8, and bits 3 j … 3 j + 2 where it is 4. Codes ascend. */
struct nano_grid {
    const uint16_t *codes;
    int num_codes;
    int length;
    int8_t levels[8];
};

extern const struct nano_grid nano_grid_iq1, nano_grid_iq2_xxs, nano_grid_iq2_xs, nano_grid_iq2_s,
    nano_grid_iq3_xxs, nano_grid_iq3_s;

static inline int nano_grid_digit(int length, unsigned code, int j)
{
    return length == 8 ? code >> 2 * j & 3 : code >> 3 * j & 7;
}

/* The sign bits of 8 neighbours that are stored in 7: an even number is set. */
static inline unsigned nano_even_signs(unsigned seven)
{
    unsigned parity = seven ^ seven >> 4;
    parity ^= parity >> 2;
    return seven | ((parity ^ parity >> 1) & 1) << 7;
}

#endif
