/* The 6-bit scales of the K formats unpacked four at a time in 32-bit words, for the packing of
 * panels. Layouts in block_layouts.h. */
#ifndef NANO_SIMD_BLOCK_SCALES_H
#define NANO_SIMD_BLOCK_SCALES_H

#include "simd/blocks.h"

/* Q4_K and Q5_K: 8 scales, 8 mins. */
static inline void nano_scales_k4(uint32_t scales[2], uint32_t mins[2], const uint8_t packed[12])
{
    uint32_t a = nano_load_u32(packed), b = nano_load_u32(packed + 4),
             c = nano_load_u32(packed + 8);
    scales[0] = a & 0x3F3F3F3F;
    mins[0] = b & 0x3F3F3F3F;
    scales[1] = (c & 0x0F0F0F0F) | (a >> 6 & 0x03030303) << 4;
    mins[1] = (c >> 4 & 0x0F0F0F0F) | (b >> 6 & 0x03030303) << 4;
}

/* Q3_K: 16 scales, 32 too large. */
static inline void nano_scales_q3_k(uint32_t scales[4], const uint8_t packed[12])
{
    uint32_t a = nano_load_u32(packed), b = nano_load_u32(packed + 4),
             c = nano_load_u32(packed + 8);
    scales[0] = (a & 0x0F0F0F0F) | (c & 0x03030303) << 4;
    scales[1] = (b & 0x0F0F0F0F) | (c >> 2 & 0x03030303) << 4;
    scales[2] = (a >> 4 & 0x0F0F0F0F) | (c >> 4 & 0x03030303) << 4;
    scales[3] = (b >> 4 & 0x0F0F0F0F) | (c >> 6 & 0x03030303) << 4;
}

/* IQ4_XS: 8 scales, 32 too large. */
static inline uint64_t nano_scales_iq4_xs(const struct nano_block_iq4_xs *block)
{
    uint32_t low = nano_load_u32(block->scales_low), high = nano_load_u16(block->scales_high);
    uint64_t scales = 0;
    for (int i = 0; i < 8; i++)
        scales |= (uint64_t)((low >> 4 * i & 15) | (high >> 2 * i & 3) << 4) << 8 * i;
    return scales;
}

#endif
