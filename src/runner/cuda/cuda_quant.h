/* Weights on the GPU: eight neighbouring ones of a row, from the format they are stored in.
 *
 * nano_cuda_weights<FORMAT>::load8(row, k, out): weights k … k + 7 of the row that begins at `row`
 * (k is a multiple of 8), as float; ::load8_half: the same as four pairs of half precision, F16 of
 * what load8 gives, or of a BF16 tensor its own bits (::half_is_bf16). F32, F16 and BF16 also have
 * ::load1(row, k) of any k.
 *
 * The values are those of simd/ref to the bit, except that a zero may have the other sign.
 *
 * A tensor begins 256-byte aligned, so that a block is aligned to the largest power of 2 in its
 * size; of F32, F16 and BF16, load8 is for rows that begin 16-byte aligned. Of MXFP4, the rest of
 * the last word of 4 bytes that a tensor has a part of is read too. */
#ifndef NANO_RUNNER_CUDA_CUDA_QUANT_H
#define NANO_RUNNER_CUDA_CUDA_QUANT_H

#include "runner/cuda/cuda_lang.h"
#include "simd/formats.h"

template <enum nano_format Format> struct nano_cuda_weights;

/* For a format's struct to derive from: its half precision is F16, by way of load8. */
template <enum nano_format Format> struct nano_cuda_f16_weights {
    static constexpr bool half_is_bf16 = false;

    static __device__ void load8_half(const uint8_t *row, int64_t k, uint32_t out[4])
    {
        float values[8];
        nano_cuda_weights<Format>::load8(row, k, values);
        for (int i = 0; i < 4; i++)
            out[i] = nano_f16x2_from_f32(values[2 * i], values[2 * i + 1]);
    }
};

static __device__ inline void nano_cuda_f32x8_from_f16(const uint32_t pairs[4], float out[8])
{
    for (int i = 0; i < 4; i++) {
        const float2 values = nano_f32x2_from_f16x2(pairs[i]);
        out[2 * i] = values.x, out[2 * i + 1] = values.y;
    }
}

template <> struct nano_cuda_weights<NANO_FORMAT_F32> : nano_cuda_f16_weights<NANO_FORMAT_F32> {
    static __device__ float load1(const uint8_t *row, int64_t k)
    {
        return nano_load<float>(row + 4 * k);
    }

    /* Not nano_load_once: each of the two loads takes half of every 32 bytes. */
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        for (int i = 0; i < 2; i++) {
            const uint4 v = nano_load<uint4>(row + 4 * k + 16 * i);
            out[4 * i] = nano_f32_from_bits(v.x), out[4 * i + 1] = nano_f32_from_bits(v.y);
            out[4 * i + 2] = nano_f32_from_bits(v.z), out[4 * i + 3] = nano_f32_from_bits(v.w);
        }
    }
};

template <> struct nano_cuda_weights<NANO_FORMAT_F16> : nano_cuda_f16_weights<NANO_FORMAT_F16> {
    static __device__ float load1(const uint8_t *row, int64_t k)
    {
        return nano_f32_from_f16(nano_load<uint16_t>(row + 2 * k));
    }

    static __device__ void load8_half(const uint8_t *row, int64_t k, uint32_t out[4])
    {
        const uint4 v = nano_load_once(row + 2 * k);
        out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w;
    }

    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        uint32_t pairs[4];
        load8_half(row, k, pairs);
        nano_cuda_f32x8_from_f16(pairs, out);
    }
};

template <> struct nano_cuda_weights<NANO_FORMAT_BF16> {
    static constexpr bool half_is_bf16 = true;

    static __device__ float load1(const uint8_t *row, int64_t k)
    {
        return nano_f32_from_bf16(nano_load<uint16_t>(row + 2 * k));
    }

    static __device__ void load8_half(const uint8_t *row, int64_t k, uint32_t out[4])
    {
        const uint4 v = nano_load_once(row + 2 * k);
        out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w;
    }

    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        uint32_t pairs[4];
        load8_half(row, k, pairs);
        for (int i = 0; i < 4; i++) {
            out[2 * i] = nano_f32_from_bits(pairs[i] << 16);
            out[2 * i + 1] = nano_f32_from_bits(pairs[i] & 0xFFFF0000);
        }
    }
};

#include "runner/cuda/cuda_quant_grid.h"
#include "runner/cuda/cuda_quant_k.h"
#include "runner/cuda/cuda_quant_small.h"

/* Calls with<FORMAT>(...) for a format known at run time:
 *
 *   nano_cuda_for_format(format, [&](auto f) { launch<decltype(f)::value>(...); });
 *
 * It compiles for all formats of quant.def, or not at all. */
template <enum nano_format Format> struct nano_cuda_format {
    static constexpr enum nano_format value = Format;
};

template <class Function>
static inline void nano_cuda_for_format(enum nano_format format, const Function &function)
{
    switch (format) {
#define NANO_FORMAT(NAME, name, gguf_id, length, bytes, activation) \
    case NANO_FORMAT_##NAME:                                        \
        return function(nano_cuda_format<NANO_FORMAT_##NAME>());
#include "simd/quant.def"
#undef NANO_FORMAT
    case NANO_NUM_FORMATS:
        return;
    }
}

#endif
