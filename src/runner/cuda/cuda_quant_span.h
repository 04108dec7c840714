/* Weights on the GPU, a span at a time: what one lane needs of 128 neighbouring columns of a row,
 * for the kernel that reads weights once and multiplies few rows with them.
 *
 * nano_cuda_span<FORMAT>::place(row) takes down, once, how the row lies between words. ::load(base,
 * i, part) asks for the bytes of span i from `base` on, where an even span of the row begins;
 * nothing waits for them. ::scales(i) is what they are scaled with. ::unpack(scales, chunk, part,
 * out) gives of the span the eight columns from 32 * chunk + 8 * part on, for part < 4, as
 * nano_cuda_weights<FORMAT>::load8_half does, but for the sign of zeros.
 *
 * So a lane has the bytes of several spans under way while it unpacks another one, and reads what
 * neighbouring chunks share - header, both nibbles of a byte - once. `i` and `chunk` are to be
 * known to the compiler. ::PAIR_BYTES is what two spans of a row take, 0 of formats that have no
 * struct of their own; ::ROWS_END_EARLY, that a row may end with a part of a span. */
#ifndef NANO_RUNNER_CUDA_CUDA_QUANT_SPAN_H
#define NANO_RUNNER_CUDA_CUDA_QUANT_SPAN_H

#include "runner/cuda/cuda_quant.h"

enum { NANO_CUDA_SPAN = 4 }; /* chunks of 32 columns */

template <enum nano_format Format> struct nano_cuda_span {
    enum { PAIR_BYTES = 0, ROWS_END_EARLY = true };
};

struct nano_cuda_no_scales {
};

/* Of formats whose rows all lie the same, or whose blocks do not. */
struct nano_cuda_span_anywhere {
    __device__ void place(const uint8_t *)
    {
    }
};

template <> struct nano_cuda_span<NANO_FORMAT_F16> : nano_cuda_span_anywhere {
    enum { PAIR_BYTES = 512, ROWS_END_EARLY = true };
    uint4 halves[NANO_CUDA_SPAN];

    __device__ void load(const uint8_t *base, uint32_t i, uint32_t part)
    {
#pragma unroll
        for (uint32_t chunk = 0; chunk < NANO_CUDA_SPAN; chunk++)
            halves[chunk] = nano_load_once(base + part * 16 + i * 256 + chunk * 64);
    }

    __device__ struct nano_cuda_no_scales scales(uint32_t) const
    {
        return {};
    }

    __device__ void unpack(const struct nano_cuda_no_scales &, uint32_t chunk, uint32_t,
                           uint32_t out[4]) const
    {
        const uint4 v = halves[chunk];
        out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w;
    }
};

/* ---- bytes at odd places ---- */

/* Eight bytes in three words, not yet shifted to their place. A last word that has none of them is
 * not read, but the first one again. */
struct nano_cuda_raw8 {
    uint32_t first, second, last;

    /* They begin `offset` bytes behind `word`, 0 or 2. */
    __device__ void load(const uint8_t *word, uint32_t offset)
    {
        first = nano_load<uint32_t>(word);
        second = nano_load<uint32_t>(word + 4);
        last = nano_load<uint16_t>(word + offset * 4);
    }

    /* From bit `shift` < 32 on. */
    __device__ uint2 bytes(uint32_t shift) const
    {
        return make_uint2(__funnelshift_r(first, second, shift),
                          __funnelshift_r(second, last, shift));
    }
};

/* ---- Q4_0, Q8_0 ---- */

/* Four blocks of an F16 factor and codes. A block is 2 bytes more than a multiple of 4: every
 * second one's codes begin where the row does, modulo 4. */
template <int BlockBytes> struct nano_cuda_span_codes {
    struct nano_cuda_raw8 codes[NANO_CUDA_SPAN];
    uint16_t d[NANO_CUDA_SPAN];
    uint32_t odd; /* 2 for rows that begin between words */

    __device__ void place(const uint8_t *row)
    {
        odd = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(row)) & 2;
    }

    __device__ void load_codes(const uint8_t *base, uint32_t i, uint32_t byte)
    {
        const uint8_t *even_words = base + odd + byte, *odd_words = base - odd + byte + 2;
#pragma unroll
        for (uint32_t chunk = 0; chunk < NANO_CUDA_SPAN; chunk++) {
            const uint32_t block = (i * NANO_CUDA_SPAN + chunk) * BlockBytes;
            if (chunk % 2)
                codes[chunk].load(odd_words + block, odd);
            else
                codes[chunk].load(even_words + block, 2 - odd);
            d[chunk] = nano_load<uint16_t>(base + block);
        }
    }

    __device__ uint2 codes_of(uint32_t chunk, uint32_t shift) const
    {
        return codes[chunk].bytes((chunk % 2 ? odd : 2 - odd) * 8 + shift);
    }

    __device__ struct nano_cuda_no_scales scales(uint32_t) const
    {
        return {};
    }
};

template <> struct nano_cuda_span<NANO_FORMAT_Q8_0> : nano_cuda_span_codes<34> {
    enum { PAIR_BYTES = 272, ROWS_END_EARLY = true };

    __device__ void load(const uint8_t *base, uint32_t i, uint32_t part)
    {
        load_codes(base, i, part * 8);
    }

    __device__ void unpack(const struct nano_cuda_no_scales &, uint32_t chunk, uint32_t,
                           uint32_t out[4]) const
    {
        const uint2 q = codes_of(chunk, 0);
        nano_cuda_scale8_half<128>(make_uint2(q.x ^ 0x80808080u, q.y ^ 0x80808080u), d[chunk], out);
    }
};

template <> struct nano_cuda_span<NANO_FORMAT_Q4_0> : nano_cuda_span_codes<18> {
    enum { PAIR_BYTES = 144, ROWS_END_EARLY = true };

    __device__ void load(const uint8_t *base, uint32_t i, uint32_t part)
    {
        load_codes(base, i, part % 2 * 8);
    }

    __device__ void unpack(const struct nano_cuda_no_scales &, uint32_t chunk, uint32_t part,
                           uint32_t out[4]) const
    {
        /* Bits that the words do not have are not in the mask. */
        const uint2 nibbles = codes_of(chunk, part / 2 * 4);
        nano_cuda_scale8_half<8>(make_uint2(nibbles.x & 0x0F0F0F0Fu, nibbles.y & 0x0F0F0F0Fu),
                                 d[chunk], out);
    }
};

/* ---- MXFP4 ---- */

template <> struct nano_cuda_span<NANO_FORMAT_MXFP4> {
    enum { PAIR_BYTES = 136, ROWS_END_EARLY = true };
    uint32_t words[NANO_CUDA_SPAN][3];
    uint8_t e[NANO_CUDA_SPAN];
    uint32_t odd; /* how far from a word's beginning the row's is */

    __device__ void place(const uint8_t *row)
    {
        odd = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(row)) & 3;
    }

    /* A block is 17 bytes. The words begin with the one that has the byte before the codes: so none
     * is read that has nothing of the block. */
    __device__ void load(const uint8_t *base, uint32_t i, uint32_t part)
    {
        const uint8_t *aligned = base - odd + part % 2 * 8;
#pragma unroll
        for (uint32_t chunk = 0; chunk < NANO_CUDA_SPAN; chunk++) {
            const uint8_t *from = aligned + ((odd + chunk) & 4) + i * 68 + chunk * 16;
            for (uint32_t j = 0; j < 3; j++)
                words[chunk][j] = nano_load<uint32_t>(from + 4 * j);
            e[chunk] = nano_load<uint8_t>(base + i * 68 + chunk * 17);
        }
    }

    struct scales_of {
        bool is_large; /* some factor is more than 2^15, with what levels() gives */
    };

    __device__ struct scales_of scales(uint32_t) const
    {
        return {max(max(e[0], e[1]), max(e[2], e[3])) > 128};
    }

    /* The upper bytes of F16 of the same sign, exponent and mantissa as four codes: 2^-14 of what
     * they stand for. Codes begin at bit `shift` of their bytes, 0 or 4. */
    static __device__ uint32_t levels(uint32_t bytes, uint32_t shift)
    {
        return (bytes << (4 - shift) & 0x80808080u) |
               (__funnelshift_l(bytes, bytes, 1 - shift) & 0x0E0E0E0Eu);
    }

    /* Rounded once, where the product with a power of 2 is subnormal; powers that F16 has not are
     * several, whose products are exact or infinite. */
    __device__ void unpack(const struct scales_of &s, uint32_t chunk, uint32_t part,
                           uint32_t out[4]) const
    {
        const uint32_t from = ((odd + chunk) & 3) * 0x1111u + 0x4321u, exponent = e[chunk],
                       most = 128;
        const float factor = nano_f32_from_bits((min(exponent, most) + 14) << 23);
        const uint32_t scale = nano_f16x2_from_f32(factor, factor);
        for (int i = 0; i < 4; i++) {
            const uint32_t *pair = words[chunk] + i / 2;
            out[i] = nano_mul_f16x2(
                nano_byte_perm(levels(nano_byte_perm(pair[0], pair[1], from), part / 2 * 4), 0,
                               i % 2 ? 0x3424u : 0x1404u),
                scale);
        }
        if (s.is_large)
            for (uint32_t rest = exponent; rest > most; rest -= min(rest - most, 15u))
                for (int i = 0; i < 4; i++)
                    out[i] = nano_mul_f16x2(out[i], nano_cuda_f16x2_power_of_2(
                                                        static_cast<int>(min(rest - most, 15u))));
    }
};

/* ---- Q4_K, Q5_K ---- */

/* Of four parts of 32: w = d * scale * code - dmin * min. */
struct nano_cuda_scales_k4 {
    uint32_t scale, min; /* a byte for each part */
    float d, d_shifted, dmin;
};

/* `late`: the second four of a block's eight parts. */
static __device__ inline struct nano_cuda_scales_k4 nano_cuda_scales_k4_of(uint4 header,
                                                                           uint32_t late)
{
    const uint32_t own = late ? 0x30303030u : 0x3F3F3F3Fu, other = late ? 0x0F0F0F0Fu : 0,
                   shift = late * 2;
    const float2 d = nano_f32x2_from_f16x2(header.x);
    return {(header.y >> shift & own) | (header.w & other),
            (header.z >> shift & own) | (header.w >> 4 & other), d.x * nano_cuda_power_of_2(48),
            d.x * nano_cuda_power_of_2(44), d.y * -nano_cuda_power_of_2(24)};
}

/* The factor and the term of nano_cuda_affine8, exact both; for codes that begin at bit 0 or 4. */
static __device__ inline float2 nano_cuda_affine_k4(const struct nano_cuda_scales_k4 &s,
                                                    uint32_t part, bool is_shifted)
{
    /* No byte has its sign bit set, which is what 8 + a byte's index stands for: zeros. */
    const float2 n =
        nano_f32x2_from_f16x2(nano_byte_perm(s.scale, s.min, 0xC480u + part * 0x1111u));
    return make_float2((is_shifted ? s.d_shifted : s.d) * n.x, s.dmin * n.y);
}

static __device__ inline void nano_cuda_halves_of(const float values[8], uint32_t out[4])
{
    for (int i = 0; i < 4; i++)
        out[i] = nano_f16x2_from_f32(values[2 * i], values[2 * i + 1]);
}

template <> struct nano_cuda_span<NANO_FORMAT_Q4_K> : nano_cuda_span_anywhere {
    enum { PAIR_BYTES = 144, ROWS_END_EARLY = false };
    uint4 header;
    uint2 nibbles[2];

    __device__ void load(const uint8_t *base, uint32_t i, uint32_t part)
    {
        const uint8_t *block = base + i / 2 * 144, *from = block + 16 + i % 2 * 64 + part * 8;
        header = nano_load<uint4>(block);
        nibbles[0] = nano_load<uint2>(from);
        nibbles[1] = nano_load<uint2>(from + 32);
    }

    __device__ struct nano_cuda_scales_k4 scales(uint32_t i) const
    {
        return nano_cuda_scales_k4_of(header, i % 2);
    }

    __device__ void unpack(const struct nano_cuda_scales_k4 &s, uint32_t chunk, uint32_t,
                           uint32_t out[4]) const
    {
        const float2 affine = nano_cuda_affine_k4(s, chunk, chunk % 2);
        float values[8];
        nano_cuda_affine8(nibbles[chunk / 2], chunk % 2 ? 0x00F000F0u : 0x000F000Fu, affine.x,
                          affine.y, values);
        nano_cuda_halves_of(values, out);
    }
};

template <> struct nano_cuda_span<NANO_FORMAT_Q5_K> : nano_cuda_span_anywhere {
    enum { PAIR_BYTES = 176, ROWS_END_EARLY = false };
    uint4 header;
    uint2 high, nibbles[2];

    __device__ void load(const uint8_t *base, uint32_t i, uint32_t part)
    {
        const uint8_t *block = base + i / 2 * 176, *from = block + 48 + i % 2 * 64 + part * 8;
        header = nano_load<uint4>(block);
        high = nano_load<uint2>(block + 16 + part * 8);
        nibbles[0] = nano_load<uint2>(from);
        nibbles[1] = nano_load<uint2>(from + 32);
    }

    struct scales_of {
        struct nano_cuda_scales_k4 k4;
        uint2 high; /* bit `chunk` of each byte is the fifth one of a code */
    };

    __device__ struct scales_of scales(uint32_t i) const
    {
        const uint32_t late = i % 2;
        return {nano_cuda_scales_k4_of(header, late),
                make_uint2(high.x >> late * 4, high.y >> late * 4)};
    }

    __device__ void unpack(const struct scales_of &s, uint32_t chunk, uint32_t,
                           uint32_t out[4]) const
    {
        const uint2 low = nibbles[chunk / 2];
        const uint32_t shift = chunk % 2 * 4;
        const uint2 codes =
            make_uint2((low.x >> shift & 0x0F0F0F0Fu) | (s.high.x << (4 - chunk) & 0x10101010u),
                       (low.y >> shift & 0x0F0F0F0Fu) | (s.high.y << (4 - chunk) & 0x10101010u));
        const float2 affine = nano_cuda_affine_k4(s.k4, chunk, false);
        float values[8];
        for (int j = 0; j < 4; j++) {
            const float2 code = nano_f32x2_from_f16x2(
                nano_byte_perm(j / 2 ? codes.y : codes.x, 0, j % 2 ? 0x4341u : 0x4240u));
            values[j / 2 * 4 + j % 2] = __fmaf_rn(code.x, affine.x, affine.y);
            values[j / 2 * 4 + j % 2 + 2] = __fmaf_rn(code.y, affine.x, affine.y);
        }
        nano_cuda_halves_of(values, out);
    }
};

/* ---- Q6_K ---- */

template <> struct nano_cuda_span<NANO_FORMAT_Q6_K> : nano_cuda_span_anywhere {
    enum { PAIR_BYTES = 210, ROWS_END_EARLY = false };
    struct nano_cuda_raw8 low[2], high;
    uint8_t scale[NANO_CUDA_SPAN];
    uint16_t d;
    uint32_t odd;

    __device__ void load(const uint8_t *base, uint32_t i, uint32_t part)
    {
        const uint8_t *block = base + i / 2 * 210;
        odd = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(block)) & 2;
        const uint8_t *words = block - odd + part * 8;
        low[0].load(words + i % 2 * 64, odd);
        low[1].load(words + i % 2 * 64 + 32, odd);
        high.load(words + 128 + i % 2 * 32, odd);
        const uint8_t *scales = block + 192 + i % 2 * 8 + part / 2;
#pragma unroll
        for (int chunk = 0; chunk < NANO_CUDA_SPAN; chunk++)
            scale[chunk] = nano_load<uint8_t>(scales + 2 * chunk);
        d = nano_load<uint16_t>(block + 208);
    }

    struct scales_of {
        float d;
        uint2 low[2], high;
    };

    __device__ struct scales_of scales(uint32_t) const
    {
        return {nano_f32_from_f16(d),
                {low[0].bytes(odd * 8), low[1].bytes(odd * 8)},
                high.bytes(odd * 8)};
    }

    __device__ void unpack(const struct scales_of &s, uint32_t chunk, uint32_t,
                           uint32_t out[4]) const
    {
        const uint2 codes =
            nano_cuda_join(s.low[chunk % 2], chunk / 2 * 4, 4, s.high, chunk * 2, 2);
        float values[8];
        nano_cuda_scale8<32>(codes, s.d * nano_cuda_f32_from_small(scale[chunk] ^ 128u, 128),
                             values);
        nano_cuda_halves_of(values, out);
    }
};

#endif
