/* Formats of blocks of 32, of FP4, and of one or two bits; part of cuda_quant.h. */
#ifndef NANO_RUNNER_CUDA_CUDA_QUANT_SMALL_H
#define NANO_RUNNER_CUDA_CUDA_QUANT_SMALL_H

#include "runner/cuda/cuda_quant_bytes.h"
#include "simd/block_layouts.h"

/* Where weights k … k + 7 are in blocks of 32: nibbles from a byte on, and a byte of high bits. */
struct nano_cuda_nibbles {
    uint32_t byte, shift, high;
};

static __device__ inline struct nano_cuda_nibbles nano_cuda_nibbles_of(int64_t k)
{
    const uint32_t at = static_cast<uint32_t>(k) % 32;
    return {at % 16, at / 16 * 4, at / 8};
}

/* ---- d * (code - zero) ---- */

/* nano_cuda_weights<Format>::codes(block, k): weights k … k + 7 of a row, as bytes that Zero is to
 * be taken off. */
template <enum nano_format Format, class Block, int Length, int Zero>
struct nano_cuda_codes_weights : nano_cuda_f16_weights<Format> {
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const Block *b = nano_cuda_block<Block, Length>(row, k);
        const uint2 codes = nano_cuda_weights<Format>::codes(b, k);
        if constexpr (Zero == 128)
            nano_cuda_scale8_signed(codes, nano_cuda_load_f16(b->d), out);
        else
            nano_cuda_scale8<Zero>(codes, nano_cuda_load_f16(b->d), out);
    }

    /* Both factors are F16: half precision rounds their product to the same. */
    static __device__ void load8_half(const uint8_t *row, int64_t k, uint32_t out[4])
    {
        const Block *b = nano_cuda_block<Block, Length>(row, k);
        nano_cuda_scale8_half<Zero>(nano_cuda_weights<Format>::codes(b, k),
                                    nano_load<uint16_t>(b->d), out);
    }
};

template <>
struct nano_cuda_weights<NANO_FORMAT_Q4_0>
    : nano_cuda_codes_weights<NANO_FORMAT_Q4_0, nano_block_q4_0, 32, 8> {
    static __device__ uint2 codes(const struct nano_block_q4_0 *b, int64_t k)
    {
        const struct nano_cuda_nibbles at = nano_cuda_nibbles_of(k);
        return nano_cuda_field(nano_cuda_load_bytes8<2>(b->nibbles + at.byte), at.shift,
                               0x0F0F0F0F);
    }
};

template <>
struct nano_cuda_weights<NANO_FORMAT_Q5_0>
    : nano_cuda_codes_weights<NANO_FORMAT_Q5_0, nano_block_q5_0, 32, 16> {
    static __device__ uint2 codes(const struct nano_block_q5_0 *b, int64_t k)
    {
        const struct nano_cuda_nibbles at = nano_cuda_nibbles_of(k);
        return nano_cuda_fifth_bits(
            nano_cuda_field(nano_cuda_load_bytes8<2>(b->nibbles + at.byte), at.shift, 0x0F0F0F0F),
            nano_load<uint8_t>(b->high + at.high));
    }
};

template <>
struct nano_cuda_weights<NANO_FORMAT_Q8_0>
    : nano_cuda_codes_weights<NANO_FORMAT_Q8_0, nano_block_q8_0, 32, 128> {
    static __device__ uint2 codes(const struct nano_block_q8_0 *b, int64_t k)
    {
        const uint2 q = nano_cuda_load_bytes8<2>(reinterpret_cast<const uint8_t *>(b->q) +
                                                 static_cast<uint32_t>(k) % 32);
        return make_uint2(q.x ^ 0x80808080u, q.y ^ 0x80808080u);
    }
};

static constexpr uint8_t nano_cuda_plus_128(int value)
{
    return static_cast<uint8_t>(value + 128);
}

typedef nano_cuda_table<nano_cuda_plus_128, NANO_IQ4_VALUES> nano_cuda_iq4_table;

template <>
struct nano_cuda_weights<NANO_FORMAT_IQ4_NL>
    : nano_cuda_codes_weights<NANO_FORMAT_IQ4_NL, nano_block_iq4_nl, 32, 128> {
    static __device__ uint2 codes(const struct nano_block_iq4_nl *b, int64_t k)
    {
        const struct nano_cuda_nibbles at = nano_cuda_nibbles_of(k);
        return nano_cuda_lookup16_in_order(nano_cuda_lookup16<nano_cuda_iq4_table>(
            nano_cuda_load_bytes8<2>(b->nibbles + at.byte), at.shift));
    }
};

/* ---- d * q + m ---- */

template <> struct nano_cuda_weights<NANO_FORMAT_Q4_1> : nano_cuda_f16_weights<NANO_FORMAT_Q4_1> {
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const struct nano_block_q4_1 *b = nano_cuda_block<struct nano_block_q4_1, 32>(row, k);
        const struct nano_cuda_nibbles at = nano_cuda_nibbles_of(k);
        const float2 d_m = nano_f32x2_from_f16x2(nano_load<uint32_t>(b->d));
        nano_cuda_affine8(nano_cuda_load_bytes8<4>(b->nibbles + at.byte), 0x000F000Fu << at.shift,
                          d_m.x * nano_cuda_power_of_2(24 - static_cast<int>(at.shift)), d_m.y,
                          out);
    }
};

template <> struct nano_cuda_weights<NANO_FORMAT_Q5_1> : nano_cuda_f16_weights<NANO_FORMAT_Q5_1> {
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const struct nano_block_q5_1 *b = nano_cuda_block<struct nano_block_q5_1, 32>(row, k);
        const struct nano_cuda_nibbles at = nano_cuda_nibbles_of(k);
        const float2 d_m = nano_f32x2_from_f16x2(nano_load<uint32_t>(b->d));
        const uint2 codes = nano_cuda_fifth_bits(
            nano_cuda_field(nano_cuda_load_bytes8<8>(b->nibbles + at.byte), at.shift, 0x0F0F0F0F),
            nano_load<uint8_t>(b->high + at.high));
        nano_cuda_affine8(codes, 0x001F001F, d_m.x * nano_cuda_power_of_2(24), d_m.y, out);
    }
};

/* ---- FP4 ---- */

/* The upper byte of the F16 of an integer that needs no more. */
static constexpr uint8_t nano_cuda_upper_f16(int value)
{
    const int magnitude = value < 0 ? -value : value;
    int exponent = 0;
    while (magnitude >> (exponent + 1))
        exponent++;
    const int bits = ((15 + exponent) << 10) | (((magnitude << 10) >> exponent) & 1023);
    return static_cast<uint8_t>((magnitude ? bits >> 8 : 0) | (value < 0 ? 128 : 0));
}

typedef nano_cuda_table<nano_cuda_upper_f16, NANO_FP4_VALUES> nano_cuda_fp4_table;

/* The levels of the nibbles at bit `shift` of eight bytes, as pairs of F16. */
static __device__ inline void nano_cuda_levels_fp4(uint2 bytes, uint32_t shift, uint32_t out[4])
{
    const uint2 upper = nano_cuda_lookup16<nano_cuda_fp4_table>(bytes, shift);
    for (int i = 0; i < 4; i++)
        out[i] = nano_byte_perm(i % 2 ? upper.y : upper.x, 0, i < 2 ? 0x2404u : 0x3414u);
}

/* A pair of 2^exponent as F16, exponents from -14 to 15; of 0 for -15. */
static __device__ inline uint32_t nano_cuda_f16x2_power_of_2(int exponent)
{
    return static_cast<uint32_t>(exponent + 15) * 0x04000400u;
}

template <> struct nano_cuda_weights<NANO_FORMAT_MXFP4> {
    static constexpr bool half_is_bf16 = false;

    static __device__ uint32_t levels(const uint8_t *row, int64_t k, uint32_t out[4])
    {
        const struct nano_block_mxfp4 *b = nano_cuda_block<struct nano_block_mxfp4, 32>(row, k);
        const struct nano_cuda_nibbles at = nano_cuda_nibbles_of(k);
        nano_cuda_levels_fp4(nano_cuda_load_bytes8<1>(b->nibbles + at.byte), at.shift, out);
        return nano_load<uint8_t>(&b->e);
    }

    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        uint32_t pairs[4];
        const uint32_t e = levels(row, k, pairs);
        const float scale = nano_f32_from_bits(e < 2 ? 0x00200000u << e : (e - 1) << 23);
        for (int i = 0; i < 4; i++) {
            const float2 values = nano_f32x2_from_f16x2(pairs[i]);
            out[2 * i] = __fmul_rn(values.x, scale), out[2 * i + 1] = __fmul_rn(values.y, scale);
        }
    }

    /* In half precision, with two powers of 2 as there may be none of the scale's: the first
     * product is exact or infinite. */
    static __device__ void load8_half(const uint8_t *row, int64_t k, uint32_t out[4])
    {
        uint32_t pairs[4];
        const int exponent = static_cast<int>(levels(row, k, pairs)) - 128;
        const int first = min(max(exponent, -14), 15);
        const uint32_t scale = nano_cuda_f16x2_power_of_2(first),
                       rest = nano_cuda_f16x2_power_of_2(min(max(exponent - first, -15), 15));
        for (int i = 0; i < 4; i++)
            out[i] = nano_mul_f16x2(nano_mul_f16x2(pairs[i], scale), rest);
    }
};

template <> struct nano_cuda_weights<NANO_FORMAT_NVFP4> {
    static constexpr bool half_is_bf16 = false;

    /* A scale's bits are those of an F16 but for the exponent's offset; F16 has all products. */
    static __device__ void load8_half(const uint8_t *row, int64_t k, uint32_t out[4])
    {
        const struct nano_block_nvfp4 *b = nano_cuda_block<struct nano_block_nvfp4, 64>(row, k);
        const uint32_t at = static_cast<uint32_t>(k) % 64, part = at / 16;
        const uint32_t scale = nano_load<uint8_t>(b->scales + part);
        const uint32_t pair = nano_mul_f16x2((scale == 127 ? 0 : scale & 127) * 0x00800080u,
                                             nano_cuda_f16x2_power_of_2(7));
        uint32_t levels[4];
        nano_cuda_levels_fp4(nano_cuda_load_bytes8<4>(b->nibbles + 8 * part), at / 8 % 2 * 4,
                             levels);
        for (int i = 0; i < 4; i++)
            out[i] = nano_mul_f16x2(levels[i], pair);
    }

    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        uint32_t pairs[4];
        load8_half(row, k, pairs);
        nano_cuda_f32x8_from_f16(pairs, out);
    }
};

/* ---- one and two bits ---- */

template <> struct nano_cuda_weights<NANO_FORMAT_Q1_0> : nano_cuda_f16_weights<NANO_FORMAT_Q1_0> {
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        const struct nano_block_q1_0 *b = nano_cuda_block<struct nano_block_q1_0, 128>(row, k);
        const uint32_t d = nano_bits_from_f32(nano_cuda_load_f16(b->d));
        const uint32_t minus = ~static_cast<uint32_t>(
            nano_load<uint8_t>(b->bits + static_cast<uint32_t>(k) % 128 / 8));
        for (int i = 0; i < 8; i++)
            out[i] = nano_f32_from_bits(d ^ (minus << (31 - i) & 0x80000000u));
    }
};

template <>
struct nano_cuda_weights<NANO_FORMAT_Q2_0>
    : nano_cuda_codes_weights<NANO_FORMAT_Q2_0, nano_block_q2_0, 64, 1> {
    static __device__ uint2 codes(const struct nano_block_q2_0 *b, int64_t k)
    {
        const uint32_t bits = nano_load<uint16_t>(b->q + static_cast<uint32_t>(k) % 64 / 4);
        return nano_cuda_lookup8(0x03020100, 0, nano_cuda_spread2(bits));
    }
};

template <>
struct nano_cuda_weights<NANO_FORMAT_TQ1_0>
    : nano_cuda_codes_weights<NANO_FORMAT_TQ1_0, nano_block_tq1_0, 256, 1> {
    /* The trits at `power`, 3^n, of four bytes. */
    static __device__ uint32_t trits(uint32_t bytes, uint32_t power)
    {
        const uint32_t even = (bytes & 0x00FF00FF) * power & 0x00FF00FF,
                       odd = (bytes >> 8 & 0x00FF00FF) * power & 0x00FF00FF;
        return (even * 3 >> 8 & 0x00030003) | (odd * 3 & 0x03000300);
    }

    static __device__ uint32_t power_of_3(uint32_t n)
    {
        return nano_byte_perm(0x1B090301, 81, n) & 255;
    }

    static __device__ uint2 codes(const struct nano_block_tq1_0 *b, int64_t k)
    {
        const uint32_t at = static_cast<uint32_t>(k) % 256;
        const bool rest = at >= 240; /* all eight come from its four bytes */
        const uint32_t byte = at < 160 ? at % 32
                              : rest   ? 48
                                       : 32 + at % 16,
                       n = at < 160 ? at / 32
                           : rest   ? at / 4 - 60
                                    : at / 16 - 10;
        const uint8_t *bytes = reinterpret_cast<const uint8_t *>(b) + byte;
        const uint32_t low = nano_cuda_load_bytes4(bytes),
                       high = nano_cuda_load_bytes4(bytes + (rest ? 0 : 4));
        return make_uint2(trits(low, power_of_3(n)), trits(high, power_of_3(n + rest)));
    }
};

template <>
struct nano_cuda_weights<NANO_FORMAT_TQ2_0>
    : nano_cuda_codes_weights<NANO_FORMAT_TQ2_0, nano_block_tq2_0, 256, 1> {
    static __device__ uint2 codes(const struct nano_block_tq2_0 *b, int64_t k)
    {
        const uint32_t at = static_cast<uint32_t>(k) % 256;
        return nano_cuda_field(nano_cuda_load_bytes8<2>(b->q + at / 128 * 32 + at % 32),
                               at % 128 / 32 * 2, 0x03030303);
    }
};

#endif
