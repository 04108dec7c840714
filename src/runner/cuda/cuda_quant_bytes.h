/* From the bytes of a block to eight floats; part of cuda_quant.h.
 *
 * A GPU is slow to convert integers. Here their bits become part of a float instead, of one of
 * these: 128 + n for n < 128, 2^15 + n for n < 256, or n * 2^-24 as the bits of a denormal F16.
 * Scales are products of an F16 and a small integer, so what is multiplied with them and what that
 * is corrected by have few enough digits to be exact: where an instruction rounds at all, it rounds
 * what the reference rounds. */
#ifndef NANO_RUNNER_CUDA_CUDA_QUANT_BYTES_H
#define NANO_RUNNER_CUDA_CUDA_QUANT_BYTES_H

#include "runner/cuda/cuda_lang.h"

/* The block that weight k is in. */
template <class Block, unsigned Length>
static __device__ inline const Block *nano_cuda_block(const uint8_t *row, int64_t k)
{
    return reinterpret_cast<const Block *>(row) + static_cast<uint32_t>(k) / Length;
}

/* ---- loads ---- */

/* Eight bytes at an address that is a multiple of Align, at least. */
template <int Align> static __device__ inline uint2 nano_cuda_load_bytes8(const uint8_t *p)
{
    if constexpr (Align == 8) {
        return nano_load<uint2>(p);
    } else if constexpr (Align == 4) {
        return make_uint2(nano_load<uint32_t>(p), nano_load<uint32_t>(p + 4));
    } else {
        /* The words that they are in, shifted: loads are dearer than what saves them. A word that
         * has none of them is not read, but the first one again: a branch would keep loads behind
         * it from being under way. */
        const uintptr_t address = reinterpret_cast<uintptr_t>(p), three = 3;
        const uint32_t shift = static_cast<uint32_t>(address) * 8; /* modulo 32 */
        const uint8_t *word = reinterpret_cast<const uint8_t *>(address & ~three);
        const uint32_t first = nano_load<uint32_t>(word), second = nano_load<uint32_t>(word + 4);
        const uint8_t *end = word + (address & 3 ? 8 : 0);
        const uint32_t last = Align == 2 ? nano_load<uint16_t>(end) : nano_load<uint32_t>(end);
        return make_uint2(__funnelshift_r(first, second, shift),
                          __funnelshift_r(second, last, shift));
    }
}

/* Four bytes at an even address. */
static __device__ inline uint32_t nano_cuda_load_bytes4(const uint8_t *p)
{
    return nano_load<uint16_t>(p) | static_cast<uint32_t>(nano_load<uint16_t>(p + 2)) << 16;
}

static __device__ inline float nano_cuda_load_f16(const uint8_t *p)
{
    return nano_f32_from_f16(nano_load<uint16_t>(p));
}

/* ---- bits ---- */

/* Every byte of a and b shifted to the right, of which `mask` is what stays. */
static __device__ inline uint2 nano_cuda_field(uint2 bytes, uint32_t shift, uint32_t mask)
{
    return make_uint2(bytes.x >> shift & mask, bytes.y >> shift & mask);
}

/* Fields of `bits` bits that begin at bit `from` of each byte of `high`, put above the `to` bits
 * that begin at bit `shift` of each byte of `low`. */
static __device__ inline uint2 nano_cuda_join(uint2 low, uint32_t shift, uint32_t to, uint2 high,
                                              uint32_t from, uint32_t bits)
{
    const uint32_t below = 0x01010101u * ((1u << to) - 1),
                   all = 0x01010101u * ((1u << (to + bits)) - 1), left = to - from;
    const uint32_t x = __funnelshift_l(high.x, high.x, left), /* around */
        y = __funnelshift_l(high.y, high.y, left);
    return make_uint2(((low.x >> shift & below) | (x & ~below)) & all,
                      ((low.y >> shift & below) | (y & ~below)) & all);
}

/* Bit i of eight becomes bit 4 of byte i. */
static __device__ inline uint2 nano_cuda_fifth_bits(uint2 bytes, uint32_t bits)
{
    return make_uint2(bytes.x | ((bits & 15) * 0x02040810u & 0x10101010u),
                      bytes.y | ((bits >> 4) * 0x02040810u & 0x10101010u));
}

/* Eight numbers of 2 bits to nibbles. */
static __device__ inline uint32_t nano_cuda_spread2(uint32_t x)
{
    x = (x | x << 8) & 0x00FF00FF;
    x = (x | x << 4) & 0x0F0F0F0F;
    return (x | x << 2) & 0x33333333;
}

/* ---- tables ---- */

template <uint8_t (*Byte)(int), int... Values> static constexpr uint32_t nano_cuda_table_word(int i)
{
    const int values[16] = {Values...};
    uint32_t bytes = 0;
    for (int j = 0; j < 4; j++)
        bytes |= static_cast<uint32_t>(Byte(values[4 * i + j])) << 8 * j;
    return bytes;
}

/* Byte(value) of up to 16 values, in words. */
template <uint8_t (*Byte)(int), int... Values> struct nano_cuda_table {
    static constexpr uint32_t w0 = nano_cuda_table_word<Byte, Values...>(0),
                              w1 = nano_cuda_table_word<Byte, Values...>(1),
                              w2 = nano_cuda_table_word<Byte, Values...>(2),
                              w3 = nano_cuda_table_word<Byte, Values...>(3);
};

/* Nibble i of `nibbles` is an index below 8 into the bytes of low and high: byte i. */
static __device__ inline uint2 nano_cuda_lookup8(uint32_t low, uint32_t high, uint32_t nibbles)
{
    return make_uint2(nano_byte_perm(low, high, nibbles), nano_byte_perm(low, high, nibbles >> 16));
}

/* The nibbles at bit `shift` of eight bytes as indices into 16 bytes: those of weights 0 4 1 5 and
 * 2 6 3 7. */
template <class Table>
static __device__ inline uint2 nano_cuda_lookup16(uint2 bytes, uint32_t shift)
{
    const uint32_t nibbles =
        (bytes.x >> shift & 0x0F0F0F0Fu) | (bytes.y >> shift << 4 & 0xF0F0F0F0u);
    const uint32_t index = nibbles & 0x77777777u,
                   upper = (nibbles >> 1 & 0x44444444u) | 0x32103210u;
    const uint2 a = nano_cuda_lookup8(Table::w0, Table::w1, index),
                b = nano_cuda_lookup8(Table::w2, Table::w3, index);
    return make_uint2(nano_byte_perm(a.x, b.x, upper), nano_byte_perm(a.y, b.y, upper >> 16));
}

static __device__ inline uint2 nano_cuda_lookup16_in_order(uint2 bytes)
{
    return make_uint2(nano_byte_perm(bytes.x, bytes.y, 0x6420),
                      nano_byte_perm(bytes.x, bytes.y, 0x7531));
}

/* ---- floats ---- */

static __device__ inline float nano_cuda_power_of_2(int exponent)
{
    return nano_f32_from_bits(static_cast<uint32_t>(127 + exponent) << 23);
}

/* n - zero, for n < 2^23. */
static __device__ inline float nano_cuda_f32_from_small(uint32_t n, int zero)
{
    return nano_f32_from_bits(0x4B000000u | n) - (8388608.0f + static_cast<float>(zero));
}

/* s * (code - Zero) of eight bytes below 128. */
template <int Zero>
static __device__ inline void nano_cuda_scale8(uint2 codes, float s, float out[8])
{
    const float correction = s * -(128.0f + Zero);
    for (int i = 0; i < 8; i++) {
        const uint32_t bits = nano_byte_perm(i < 4 ? codes.x : codes.y, 0x43000000u,
                                             0x7044u | static_cast<uint32_t>(i % 4) << 8);
        out[i] = __fmaf_rn(nano_f32_from_bits(bits), s, correction);
    }
}

/* 2^15 + byte i of eight. */
static __device__ inline float nano_cuda_2_15_plus(uint2 codes, int i)
{
    return nano_f32_from_bits(nano_byte_perm(i < 4 ? codes.x : codes.y, 0x47000000u,
                                             0x7404u | static_cast<uint32_t>(i % 4) << 4));
}

/* s * (code - 128) of eight bytes. */
static __device__ inline void nano_cuda_scale8_signed(uint2 codes, float s, float out[8])
{
    const float correction = s * -(32768.0f + 128.0f);
    for (int i = 0; i < 8; i++)
        out[i] = __fmaf_rn(nano_cuda_2_15_plus(codes, i), s, correction);
}

/* d * (code - Zero) of eight bytes as F16: of one d, itself an F16, half precision does it. */
template <int Zero>
static __device__ inline void nano_cuda_scale8_half(uint2 codes, uint16_t d, uint32_t out[4])
{
    const uint32_t pair = d * 0x10001u;
    for (int i = 0; i < 4; i++) {
        const uint32_t bits = nano_byte_perm(i < 2 ? codes.x : codes.y, 0x64646464u, /* 1024 + */
                                             i % 2 ? 0x4342u : 0x4140u);
        out[i] = nano_mul_f16x2(nano_add_f16x2(bits, (0xE400u + Zero) * 0x10001u), pair);
    }
}

/* s * code * 2^-24 + m of eight codes: what of each byte is in `mask`, a byte's mask for bytes 0
 * and 2 of a word. */
static __device__ inline void nano_cuda_affine8(uint2 bytes, uint32_t mask, float s, float m,
                                                float out[8])
{
    for (int i = 0; i < 2; i++) {
        const uint32_t word = i ? bytes.y : bytes.x;
        const float2 even = nano_f32x2_from_f16x2(word & mask),
                     odd = nano_f32x2_from_f16x2(word >> 8 & mask);
        out[4 * i] = __fmaf_rn(even.x, s, m), out[4 * i + 1] = __fmaf_rn(odd.x, s, m);
        out[4 * i + 2] = __fmaf_rn(even.y, s, m), out[4 * i + 3] = __fmaf_rn(odd.y, s, m);
    }
}

#endif
