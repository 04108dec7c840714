/* Formats of codewords (simd/grids.h); part of cuda_quant.h. */
#ifndef NANO_RUNNER_CUDA_CUDA_QUANT_GRID_H
#define NANO_RUNNER_CUDA_CUDA_QUANT_GRID_H

#include "runner/cuda/cuda_quant_bytes.h"
#include "simd/block_layouts.h"

#define NANO_GRID_CODES(name, count) static __device__ const uint16_t nano_cuda_grid_##name[count]
#include "simd/grid_codes.h"
#include "simd/grid_codes_iq1.h"
#undef NANO_GRID_CODES

static constexpr uint8_t nano_cuda_same(int value)
{
    return static_cast<uint8_t>(value);
}

/* Eight levels from one codeword of 8. */
template <class Table>
static __device__ inline uint2 nano_cuda_levels8(const uint16_t *grid, uint32_t index)
{
    return nano_cuda_lookup8(Table::w0, 0, nano_cuda_spread2(nano_load<uint16_t>(grid + index)));
}

/* Eight levels from two codewords of 4. */
template <class Table>
static __device__ inline uint2 nano_cuda_levels4_4(const uint16_t *grid, uint32_t first,
                                                   uint32_t second)
{
    const uint32_t codes = nano_load<uint16_t>(grid + first) |
                           static_cast<uint32_t>(nano_load<uint16_t>(grid + second)) << 16;
    return nano_cuda_lookup8(Table::w0, Table::w1,
                             (codes & 0x00070007) | (codes << 1 & 0x00700070) |
                                 (codes << 2 & 0x07000700) | (codes << 3 & 0x70007000));
}

/* s * level, with a minus where the bit of `signs` is set. */
static __device__ inline void nano_cuda_scale_signed(uint2 levels, float s, uint32_t signs,
                                                     float out[8])
{
    nano_cuda_scale8<0>(levels, s, out);
    for (int i = 0; i < 8; i++)
        out[i] = nano_f32_from_bits(nano_bits_from_f32(out[i]) ^ (signs << (31 - i) & 0x80000000u));
}

/* Of eight sign bits seven are stored: an even number is set. */
static __device__ inline uint32_t nano_cuda_even_signs(uint32_t seven)
{
    return seven | static_cast<uint32_t>(__popc(seven) & 1) << 7;
}

/* d * factor * (2 scale + 1) */
static __device__ inline float nano_cuda_odd_scale(float d, float factor, uint32_t scale)
{
    return d * factor * nano_cuda_f32_from_small(2 * scale + 1, 0);
}

/* Where weights k … k + 7 are in a block of 256: in which part of 32, and which quarter of it. */
struct nano_cuda_group {
    uint32_t index, part, quarter;
};

static __device__ inline struct nano_cuda_group nano_cuda_group_of(int64_t k)
{
    const uint32_t index = static_cast<uint32_t>(k) % 256 / 8;
    return {index, index / 4, index % 4};
}

/* ---- IQ1 ---- */

/* 8 * level + 17: with a delta of + 1, in eighths, and 16 to be taken off. */
static constexpr uint8_t nano_cuda_eighths(int level)
{
    return static_cast<uint8_t>(8 * level + 17);
}

static __device__ inline void nano_cuda_scale_iq1(uint32_t index, float s, bool is_minus,
                                                  float out[8])
{
    constexpr uint32_t plus = nano_cuda_table<nano_cuda_eighths, NANO_GRID_LEVELS_IQ1>::w0;
    const uint32_t digits = nano_cuda_spread2(nano_load<uint16_t>(nano_cuda_grid_iq1 + index));
    nano_cuda_scale8<16>(nano_cuda_lookup8(is_minus ? plus - 0x00020202 : plus, 0, digits), s, out);
}

template <> struct nano_cuda_weights<NANO_FORMAT_IQ1_S> : nano_cuda_f16_weights<NANO_FORMAT_IQ1_S> {
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const struct nano_block_iq1_s *b = nano_cuda_block<struct nano_block_iq1_s, 256>(row, k);
        const struct nano_cuda_group at = nano_cuda_group_of(k);
        const uint32_t high = nano_load<uint16_t>(b->high[at.part]);
        const uint32_t index = nano_load<uint8_t>(b->low + at.index) | (high >> 3 * at.quarter & 7)
                                                                           << 8;
        nano_cuda_scale_iq1(index,
                            nano_cuda_odd_scale(nano_cuda_load_f16(b->d), 0.125f, high >> 12 & 7),
                            high >> 15, out);
    }
};

template <> struct nano_cuda_weights<NANO_FORMAT_IQ1_M> : nano_cuda_f16_weights<NANO_FORMAT_IQ1_M> {
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const struct nano_block_iq1_m *b = nano_cuda_block<struct nano_block_iq1_m, 256>(row, k);
        const struct nano_cuda_group at = nano_cuda_group_of(k);
        const uint2 scales = nano_load<uint2>(b->scales[0]);
        const uint32_t d = (scales.x >> 12 & 0x000F) | (scales.x >> 24 & 0x00F0) |
                           (scales.y >> 4 & 0x0F00) | (scales.y >> 16 & 0xF000);
        const uint32_t part = at.index / 2; /* of 16 */
        const uint32_t scale =
            (part < 8 ? scales.x : scales.y) >> (part / 4 % 2 * 16) >> part % 4 * 3 & 7;
        const uint32_t high = nano_load<uint8_t>(b->high + part) >> at.index % 2 * 4;
        const uint32_t index = nano_load<uint8_t>(b->low + at.index) | (high & 7) << 8;
        nano_cuda_scale_iq1(
            index, nano_cuda_odd_scale(nano_f32_from_f16(static_cast<uint16_t>(d)), 0.125f, scale),
            high & 8, out);
    }
};

/* ---- IQ2 ---- */

typedef nano_cuda_table<nano_cuda_same, NANO_GRID_LEVELS_IQ2> nano_cuda_levels_iq2;

template <>
struct nano_cuda_weights<NANO_FORMAT_IQ2_XXS> : nano_cuda_f16_weights<NANO_FORMAT_IQ2_XXS> {
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const struct nano_block_iq2_xxs *b =
            nano_cuda_block<struct nano_block_iq2_xxs, 256>(row, k);
        const struct nano_cuda_group at = nano_cuda_group_of(k);
        const uint32_t word = nano_cuda_load_bytes4(b->parts[at.part][1]);
        nano_cuda_scale_signed(
            nano_cuda_levels8<nano_cuda_levels_iq2>(
                nano_cuda_grid_iq2_xxs, nano_load<uint8_t>(b->parts[at.part][0] + at.quarter)),
            nano_cuda_odd_scale(nano_cuda_load_f16(b->d), 0.125f, word >> 28),
            nano_cuda_even_signs(word >> 7 * at.quarter & 127), out);
    }
};

template <>
struct nano_cuda_weights<NANO_FORMAT_IQ2_XS> : nano_cuda_f16_weights<NANO_FORMAT_IQ2_XS> {
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const struct nano_block_iq2_xs *b = nano_cuda_block<struct nano_block_iq2_xs, 256>(row, k);
        const struct nano_cuda_group at = nano_cuda_group_of(k);
        const uint32_t group = nano_load<uint16_t>(b->groups[at.index]);
        const uint32_t scale = nano_load<uint8_t>(b->scales + at.part) >> at.quarter / 2 * 4 & 15;
        nano_cuda_scale_signed(
            nano_cuda_levels8<nano_cuda_levels_iq2>(nano_cuda_grid_iq2_xs, group & 511),
            nano_cuda_odd_scale(nano_cuda_load_f16(b->d), 0.125f, scale),
            nano_cuda_even_signs(group >> 9), out);
    }
};

template <> struct nano_cuda_weights<NANO_FORMAT_IQ2_S> : nano_cuda_f16_weights<NANO_FORMAT_IQ2_S> {
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const struct nano_block_iq2_s *b = nano_cuda_block<struct nano_block_iq2_s, 256>(row, k);
        const struct nano_cuda_group at = nano_cuda_group_of(k);
        const uint32_t high = nano_load<uint8_t>(b->high + at.part) >> 2 * at.quarter & 3;
        const uint32_t index = nano_load<uint8_t>(b->low + at.index) | high << 8;
        const uint32_t scale = nano_load<uint8_t>(b->scales + at.part) >> at.quarter / 2 * 4 & 15;
        nano_cuda_scale_signed(nano_cuda_levels8<nano_cuda_levels_iq2>(nano_cuda_grid_iq2_s, index),
                               nano_cuda_odd_scale(nano_cuda_load_f16(b->d), 0.125f, scale),
                               nano_load<uint8_t>(b->signs + at.index), out);
    }
};

/* ---- IQ3 ---- */

template <>
struct nano_cuda_weights<NANO_FORMAT_IQ3_XXS> : nano_cuda_f16_weights<NANO_FORMAT_IQ3_XXS> {
    typedef nano_cuda_table<nano_cuda_same, NANO_GRID_LEVELS_IQ3_XXS> levels;

    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const struct nano_block_iq3_xxs *b =
            nano_cuda_block<struct nano_block_iq3_xxs, 256>(row, k);
        const struct nano_cuda_group at = nano_cuda_group_of(k);
        const uint32_t indices = nano_load<uint16_t>(b->codes + 2 * at.index);
        const uint32_t word = nano_cuda_load_bytes4(b->parts[at.part]);
        nano_cuda_scale_signed(
            nano_cuda_levels4_4<levels>(nano_cuda_grid_iq3_xxs, indices & 255, indices >> 8),
            nano_cuda_odd_scale(nano_cuda_load_f16(b->d), 0.25f, word >> 28),
            nano_cuda_even_signs(word >> 7 * at.quarter & 127), out);
    }
};

template <> struct nano_cuda_weights<NANO_FORMAT_IQ3_S> : nano_cuda_f16_weights<NANO_FORMAT_IQ3_S> {
    typedef nano_cuda_table<nano_cuda_same, NANO_GRID_LEVELS_IQ3_S> levels;

    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const struct nano_block_iq3_s *b = nano_cuda_block<struct nano_block_iq3_s, 256>(row, k);
        const struct nano_cuda_group at = nano_cuda_group_of(k);
        const uint32_t indices = nano_load<uint16_t>(b->low + 2 * at.index);
        const uint32_t high = nano_load<uint8_t>(b->high + at.part) >> 2 * at.quarter;
        const uint32_t scale = nano_load<uint8_t>(b->scales + at.part / 2) >> at.part % 2 * 4 & 15;
        nano_cuda_scale_signed(nano_cuda_levels4_4<levels>(nano_cuda_grid_iq3_s,
                                                           (indices & 255) | (high & 1) << 8,
                                                           indices >> 8 | (high & 2) << 7),
                               nano_cuda_odd_scale(nano_cuda_load_f16(b->d), 1, scale),
                               nano_load<uint8_t>(b->signs + at.index), out);
    }
};

#endif
