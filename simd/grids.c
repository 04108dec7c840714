/* The grids of the IQ formats. */
#include "simd/grids.h"

#define NANO_GRID_CODES(name, count) static const uint16_t name[count]
#include "simd/grid_codes.h"
#include "simd/grid_codes_iq1.h"

const struct nano_grid nano_grid_iq1 = {iq1, 2048, 8, {NANO_GRID_LEVELS_IQ1}};
const struct nano_grid nano_grid_iq2_xxs = {iq2_xxs, 256, 8, {NANO_GRID_LEVELS_IQ2}};
const struct nano_grid nano_grid_iq2_xs = {iq2_xs, 512, 8, {NANO_GRID_LEVELS_IQ2}};
const struct nano_grid nano_grid_iq2_s = {iq2_s, 1024, 8, {NANO_GRID_LEVELS_IQ2}};
const struct nano_grid nano_grid_iq3_xxs = {iq3_xxs, 256, 4, {NANO_GRID_LEVELS_IQ3_XXS}};
const struct nano_grid nano_grid_iq3_s = {iq3_s, 512, 4, {NANO_GRID_LEVELS_IQ3_S}};
