#include "tests/cuda/quant_kernel.h"

#include "runner/cuda/cuda_quant_span.h"

namespace
{
struct unpack_args {
    struct quant_kernel_args args;
    int64_t row_bytes;
};

/* Spans in pairs, four lanes for each. */
template <enum nano_format Format>
void unpack_spans(const struct unpack_args &a, const uint8_t *row)
{
    if constexpr (nano_cuda_span<Format>::PAIR_BYTES != 0) {
        const uint32_t part = threadIdx.x % 4;
        for (int64_t pair = threadIdx.x / 4; pair * 256 < a.args.cols; pair += 8)
            for (uint32_t i = 0; i < 2 && pair * 256 + (i + 1) * 128 <= a.args.cols; i++) {
                struct nano_cuda_span<Format> span;
                span.place(row);
                span.load(row + pair * nano_cuda_span<Format>::PAIR_BYTES, i, part);
                const auto scales = span.scales(i);
                for (uint32_t chunk = 0; chunk < NANO_CUDA_SPAN; chunk++)
                    span.unpack(scales, chunk, part,
                                a.args.spans + (blockIdx.x * a.args.cols + pair * 256 + i * 128 +
                                                chunk * 32 + part * 8) /
                                                   2);
            }
    }
}

/* A block for each row. */
template <enum nano_format Format> __global__ void unpack(struct unpack_args a)
{
    const uint8_t *row = static_cast<const uint8_t *>(a.args.weights) + blockIdx.x * a.row_bytes;
    const int64_t first = static_cast<int64_t>(blockIdx.x) * a.args.cols;
    for (int64_t k = threadIdx.x * 8; k < a.args.cols; k += blockDim.x * 8) {
        nano_cuda_weights<Format>::load8(row, k, a.args.values + first + k);
        nano_cuda_weights<Format>::load8_half(row, k, a.args.halves + (first + k) / 2);
    }
    unpack_spans<Format>(a, row);
}
} // namespace

void quant_kernel(struct nano_cuda_device *device, const struct quant_kernel_args *args)
{
    const struct unpack_args a = {
        *args, static_cast<int64_t>(nano_format_row_bytes(args->format, args->cols))};
    nano_cuda_for_format(args->format, [&](auto format) {
        nano_launch(device, unpack<decltype(format)::value>,
                    dim3(static_cast<unsigned>(args->rows)), dim3(32), 0, a);
    });
}

bool quant_half_is_bf16(enum nano_format format)
{
    bool is_bf16 = false;
    nano_cuda_for_format(
        format, [&](auto f) { is_bf16 = nano_cuda_weights<decltype(f)::value>::half_is_bf16; });
    return is_bf16;
}

bool quant_has_spans(enum nano_format format)
{
    bool has_spans = false;
    nano_cuda_for_format(
        format, [&](auto f) { has_spans = nano_cuda_span<decltype(f)::value>::PAIR_BYTES != 0; });
    return has_spans;
}
