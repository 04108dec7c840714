#include "tests/cuda/quant_kernel.h"

#include "runner/cuda/cuda_quant.h"

namespace
{
struct unpack_args {
    struct quant_kernel_args args;
    int64_t row_bytes;
};

/* A block for each row. */
template <enum nano_format Format> __global__ void unpack(struct unpack_args a)
{
    const uint8_t *row = static_cast<const uint8_t *>(a.args.weights) + blockIdx.x * a.row_bytes;
    const int64_t first = static_cast<int64_t>(blockIdx.x) * a.args.cols;
    for (int64_t k = threadIdx.x * 8; k < a.args.cols; k += blockDim.x * 8) {
        nano_cuda_weights<Format>::load8(row, k, a.args.values + first + k);
        nano_cuda_weights<Format>::load8_half(row, k, a.args.halves + (first + k) / 2);
    }
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
