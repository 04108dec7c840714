/* Weights on the GPU: eight neighbouring ones of a row, from the format they are stored in.
 *
 * nano_cuda_weights<FORMAT>::load8(row, k, out): weights k … k + 7 of the row that begins at `row`
 * (k is a multiple of 8), as float; ::load8_half: the same as four pairs of half precision, F16 of
 * what load8 gives, or of a BF16 tensor its own bits. */
#ifndef NANO_RUNNER_CUDA_CUDA_QUANT_H
#define NANO_RUNNER_CUDA_CUDA_QUANT_H

#include "runner/cuda/cuda_lang.h"
#include "simd/formats.h"

template <enum nano_format Format> struct nano_cuda_weights;

template <> struct nano_cuda_weights<NANO_FORMAT_F32> {
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        for (int i = 0; i < 8; i++)
            out[i] = reinterpret_cast<const float *>(row)[k + i];
    }
};

template <> struct nano_cuda_weights<NANO_FORMAT_F16> {
    static __device__ void load8_half(const uint8_t *row, int64_t k, uint32_t out[4])
    {
        const uint4 v = nano_load_once(row + 2 * k);
        out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w;
    }
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        for (int i = 0; i < 8; i++)
            out[i] = nano_f32_from_f16(reinterpret_cast<const uint16_t *>(row)[k + i]);
    }
};

template <> struct nano_cuda_weights<NANO_FORMAT_BF16> {
    static __device__ void load8_half(const uint8_t *row, int64_t k, uint32_t out[4])
    {
        const uint4 v = nano_load_once(row + 2 * k);
        out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w;
    }
    static __device__ void load8(const uint8_t *row, int64_t k, float out[8])
    {
        for (int i = 0; i < 8; i++)
            out[i] = nano_f32_from_bf16(reinterpret_cast<const uint16_t *>(row)[k + i]);
    }
};

#endif
