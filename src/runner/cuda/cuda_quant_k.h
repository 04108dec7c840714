/* Formats of blocks of 256 with small integer scales; part of cuda_quant.h. */
#ifndef NANO_RUNNER_CUDA_CUDA_QUANT_K_H
#define NANO_RUNNER_CUDA_CUDA_QUANT_K_H

#include "runner/cuda/cuda_quant_small.h"

/* d * scale * 2^24 and -dmin * min, as nano_cuda_affine8 takes them, for codes that begin at bit
 * `shift` of their bytes. `d_dmin` is two F16, scale_min a scale and, in the upper half, a min. */
static __device__ inline float2 nano_cuda_scale_min(uint32_t d_dmin, uint32_t scale_min,
                                                    uint32_t shift)
{
    const float2 d = nano_f32x2_from_f16x2(d_dmin),
                 n = nano_f32x2_from_f16x2(scale_min); /* times 2^-24 */
    return make_float2(d.x * n.x * nano_cuda_power_of_2(48 - static_cast<int>(shift)),
                       d.y * n.y * -nano_cuda_power_of_2(24));
}

/* Where weights k … k + 7 are in blocks of 256 that have 128 weights' two bits, or 64 weights'
 * nibbles, one above the other in 32 bytes. */
struct nano_cuda_place {
    uint32_t k, part; /* of 32 */
    uint32_t pair_byte, pair_shift, nibble_byte, nibble_shift;
};

static __device__ inline struct nano_cuda_place nano_cuda_place_of(int64_t k)
{
    const uint32_t at = static_cast<uint32_t>(k) % 256, l = at % 32;
    return {at, at / 32, at / 128 * 32 + l, at / 32 % 4 * 2, at / 64 * 32 + l, at / 32 % 2 * 4};
}

template <> struct nano_cuda_weights<NANO_FORMAT_Q2_K> : nano_cuda_f16_weights<NANO_FORMAT_Q2_K> {
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const struct nano_block_q2_k *b = nano_cuda_block<struct nano_block_q2_k, 256>(row, k);
        const struct nano_cuda_place at = nano_cuda_place_of(k);
        const uint32_t scale = nano_load<uint8_t>(b->scales + at.k / 16);
        const float2 s = nano_cuda_scale_min(nano_load<uint32_t>(b->d),
                                             (scale & 0x0F) | (scale & 0xF0) << 12, at.pair_shift);
        nano_cuda_affine8(nano_cuda_load_bytes8<4>(b->q + at.pair_byte),
                          0x00030003u << at.pair_shift, s.x, s.y, out);
    }
};

template <> struct nano_cuda_weights<NANO_FORMAT_Q3_K> : nano_cuda_f16_weights<NANO_FORMAT_Q3_K> {
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const struct nano_block_q3_k *b = nano_cuda_block<struct nano_block_q3_k, 256>(row, k);
        const struct nano_cuda_place at = nano_cuda_place_of(k);
        const uint32_t i = at.k / 16;
        const uint32_t low = nano_load<uint8_t>(b->scales + i % 8),
                       high = nano_load<uint8_t>(b->scales + 8 + i % 4);
        const uint32_t scale = (low >> i / 8 * 4 & 15) | (high >> i / 4 * 2 & 3) << 4;
        const uint2 codes =
            nano_cuda_join(nano_cuda_load_bytes8<2>(b->low + at.pair_byte), at.pair_shift, 2,
                           nano_cuda_load_bytes8<2>(b->high + at.k % 32), at.part, 1);
        nano_cuda_scale8<4>(codes, nano_cuda_load_f16(b->d) * nano_cuda_f32_from_small(scale, 32),
                            out);
    }
};

/* The scale and, in the upper half, the min of a part of 32 of Q4_K and Q5_K, from the first 16
 * bytes of the block. */
static __device__ inline uint32_t nano_cuda_scale_min_k4(uint4 header, uint32_t part)
{
    const uint32_t byte = (part % 4) * 0x1111;
    const uint32_t pair = nano_byte_perm(header.y, header.z, 0x0400 + byte),
                   later = nano_byte_perm(header.w, 0, byte);
    /* No branch: it would keep loads behind it from being under way. */
    const uint32_t is_late = 0u - part / 4;
    return (pair & 0x003F003F & ~is_late) |
           (((later & 0x0000000F) | (later >> 4 & 0x000F0000) | (pair >> 2 & 0x00300030)) &
            is_late);
}

template <> struct nano_cuda_weights<NANO_FORMAT_Q4_K> : nano_cuda_f16_weights<NANO_FORMAT_Q4_K> {
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const struct nano_block_q4_k *b = nano_cuda_block<struct nano_block_q4_k, 256>(row, k);
        const struct nano_cuda_place at = nano_cuda_place_of(k);
        const uint4 header = nano_load<uint4>(b);
        const float2 s =
            nano_cuda_scale_min(header.x, nano_cuda_scale_min_k4(header, at.part), at.nibble_shift);
        nano_cuda_affine8(nano_cuda_load_bytes8<8>(b->nibbles + at.nibble_byte),
                          0x000F000Fu << at.nibble_shift, s.x, s.y, out);
    }
};

template <> struct nano_cuda_weights<NANO_FORMAT_Q5_K> : nano_cuda_f16_weights<NANO_FORMAT_Q5_K> {
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const struct nano_block_q5_k *b = nano_cuda_block<struct nano_block_q5_k, 256>(row, k);
        const struct nano_cuda_place at = nano_cuda_place_of(k);
        const uint4 header = nano_load<uint4>(b);
        const float2 s = nano_cuda_scale_min(header.x, nano_cuda_scale_min_k4(header, at.part), 0);
        const uint2 codes =
            nano_cuda_join(nano_cuda_load_bytes8<8>(b->nibbles + at.nibble_byte), at.nibble_shift,
                           4, nano_cuda_load_bytes8<8>(b->high + at.k % 32), at.part, 1);
        nano_cuda_affine8(codes, 0x001F001F, s.x, s.y, out);
    }
};

template <> struct nano_cuda_weights<NANO_FORMAT_Q6_K> : nano_cuda_f16_weights<NANO_FORMAT_Q6_K> {
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const struct nano_block_q6_k *b = nano_cuda_block<struct nano_block_q6_k, 256>(row, k);
        const struct nano_cuda_place at = nano_cuda_place_of(k);
        const uint32_t scale = nano_load<uint8_t>(b->scales + at.k / 16);
        const uint2 codes = nano_cuda_join(
            nano_cuda_load_bytes8<2>(b->low + at.k / 128 * 64 + at.k % 64), at.k / 64 % 2 * 4, 4,
            nano_cuda_load_bytes8<2>(b->high + at.pair_byte), at.pair_shift, 2);
        nano_cuda_scale8<32>(
            codes, nano_cuda_load_f16(b->d) * nano_cuda_f32_from_small(scale ^ 128, 128), out);
    }
};

template <>
struct nano_cuda_weights<NANO_FORMAT_IQ4_XS> : nano_cuda_f16_weights<NANO_FORMAT_IQ4_XS> {
    /* Scale and level have too many digits together for a correction behind the product. */
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const struct nano_block_iq4_xs *b = nano_cuda_block<struct nano_block_iq4_xs, 256>(row, k);
        const struct nano_cuda_place at = nano_cuda_place_of(k);
        const uint2 header = nano_load<uint2>(b->d);
        const uint32_t scale = (header.y >> 4 * at.part & 15) | (header.x >> (16 + 2 * at.part) & 3)
                                                                    << 4;
        const float s = nano_f32x2_from_f16x2(header.x).x * nano_cuda_f32_from_small(scale, 32);
        const uint2 codes = nano_cuda_lookup16_in_order(nano_cuda_lookup16<nano_cuda_iq4_table>(
            nano_cuda_load_bytes8<8>(b->nibbles + at.part * 16 + at.k % 16), at.k / 16 % 2 * 4));
        for (int i = 0; i < 8; i++)
            out[i] = __fmul_rn(nano_cuda_2_15_plus(codes, i) - (32768.0f + 128.0f), s);
    }
};

#endif
