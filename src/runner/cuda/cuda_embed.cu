/* Embeddings: a thread for eight columns of a row. */
#include "runner/cuda/cuda_embed.h"

#include "runner/cuda/cuda_quant.h"

enum { THREADS = 128 };

/* Weights k … k + count - 1 of a row. */
template <enum nano_format Format>
static __device__ void load_up_to_8(const uint8_t *row, int64_t k, int count, bool aligned,
                                    float out[8])
{
    typedef nano_cuda_weights<Format> weights;
    if constexpr (Format == NANO_FORMAT_F32 || Format == NANO_FORMAT_F16 ||
                  Format == NANO_FORMAT_BF16) {
        if (!aligned) {
            for (int i = 0; i < 8; i++)
                out[i] = i < count ? weights::load1(row, k + i) : 0;
            return;
        }
    }
    weights::load8(row, k, out);
}

template <enum nano_format Format>
static __global__ void embed_kernel(struct nano_cuda_embed_args args)
{
    nano_wait_for_earlier();
    const int64_t k = (static_cast<int64_t>(blockIdx.y) * THREADS + threadIdx.x) * 8;
    if (k >= args.width)
        return;
    const int row = static_cast<int>(blockIdx.x);
    const int count = args.width - k < 8 ? static_cast<int>(args.width - k) : 8;
    int32_t id = args.ids[row];
    if (id < 0)
        id = args.tokens[-1 - id];
    float values[8];
    load_up_to_8<Format>(static_cast<const uint8_t *>(args.weight) + id * args.row_bytes, k, count,
                         args.width % 8 == 0, values);
    float *out = args.out.data + row * args.out.stride + k;
    for (int i = 0; i < 8; i++) {
        if (i >= count)
            break;
        float value = __fmul_rn(values[i], args.scale);
        if (args.bias)
            value = __fadd_rn(value, args.bias[k + i]);
        out[i] = args.accumulate ? __fadd_rn(out[i], value) : value;
    }
}

void nano_cuda_embed(struct nano_cuda_device *device, const struct nano_cuda_embed_args *args)
{
    if (args->rows <= 0)
        return;
    const dim3 grid(static_cast<unsigned>(args->rows),
                    static_cast<unsigned>((args->width + THREADS * 8 - 1) / (THREADS * 8)));
    nano_cuda_for_format(args->format, [&](auto format) {
        nano_launch_early(device, embed_kernel<decltype(format)::value>, grid, dim3(THREADS), 0,
                          *args);
    });
}
