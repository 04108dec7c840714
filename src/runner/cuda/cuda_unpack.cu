/* Quantised weights as halves, for the tile kernel. */
#include "runner/cuda/cuda_lang.h"
#include "runner/cuda/cuda_linear.h"
#include "runner/cuda/cuda_quant.h"

namespace
{
enum { UNPACK_THREADS = 128 };

/* A thread has eight columns of a row. */
template <enum nano_format Format>
__global__ void unpack_kernel(const struct nano_cuda_unpack_args a)
{
    const int64_t k = (static_cast<int64_t>(blockIdx.y) * UNPACK_THREADS + threadIdx.x) * 8;
    if (k >= a.half_stride)
        return;
    const int64_t row = blockIdx.x;
    uint32_t pairs[4] = {0, 0, 0, 0};
    if (k < a.cols)
        nano_cuda_weights<Format>::load8_half(
            static_cast<const uint8_t *>(a.weight) + row * a.row_bytes, k, pairs);
    *reinterpret_cast<uint4 *>(a.out + row * a.half_stride + k) =
        make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}
} // namespace

void nano_cuda_unpack(struct nano_cuda_device *device, const struct nano_cuda_unpack_args *args)
{
    const int64_t threads = args->half_stride / 8;
    const dim3 grid(static_cast<unsigned>(args->rows),
                    static_cast<unsigned>((threads + UNPACK_THREADS - 1) / UNPACK_THREADS));
    nano_cuda_for_format(args->format, [&](auto format) {
        nano_launch(device, unpack_kernel<decltype(format)::value>, grid, dim3(UNPACK_THREADS), 0,
                    *args);
    });
}
