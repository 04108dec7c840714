/* The search of the formats of codewords (grids.h), for the packers of each. */
#ifndef NANO_SIMD_QUANTIZE_GRID_H
#define NANO_SIMD_QUANTIZE_GRID_H

#include "simd/grids.h"
#include "simd/quantize_search.h"

enum nano_grid_signs {
    NANO_GRID_SIGNS_FREE, /* a bit for each weight */
    NANO_GRID_SIGNS_EVEN, /* an even number of minus signs in 8 */
    NANO_GRID_SIGNS_NONE  /* levels have signs, and there are deltas */
};

struct nano_grid_shape {
    const struct nano_grid *grid;
    enum nano_grid_signs signs;
    int part;       /* weights that share a scale */
    int max_scale;  /* stored scales 0 … max_scale mean 1, 3, 5 … */
    float unit;     /* w = d * unit * (2 scale + 1) * level */
    int delta_part; /* weights that share a delta of 1/8 or -1/8; 0: there is none */
};

/* A block as it will be stored. */
struct nano_grid_choice {
    uint16_t d; /* f16, not negative; 0: the block is zero and nothing else is set */
    uint8_t scales[16];
    uint16_t codes[64]; /* indices of codewords */
    uint8_t signs[32];  /* of 8 weights; with deltas: 1 where theirs is negative */
};

void nano_grid_search(const struct nano_grid_shape *shape, const struct nano_source *source,
                      struct nano_grid_choice *choice);

#endif
