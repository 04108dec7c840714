/* The tile kernel of quantised weights, which it unpacks on their way to shared memory.
 *
 * A thread unpacks eight columns of two rows of a chunk, 100 to 120 instructions, while the tensor
 * cores have 16 of its warp's: of the four instructions that a multiprocessor starts in a cycle it
 * takes 250 cycles a chunk, shared memory 352 (cuda_linear_tile.cu), so that two blocks of it make
 * up to 330 TFLOP/s, and weights are read once for each 64 inputs. The skinny kernel unpacks for 32
 * inputs at a time, and its lanes read inputs from the cache: about 33 cycles for 16 rows.
 * Unpacking to memory and the larger tiles take over at about 192 inputs; not for experts, which
 * have few rows each, are many, and would not fit into the cache. */
#include "runner/cuda/cuda_linear_tile_kernel.h"

namespace
{
template <enum nano_format Format> using shape = nano_cuda_tile_shape<Format, 4, 2, 2, 4, 4, 2>;

constexpr bool is_quantised(enum nano_format format)
{
    return format != NANO_FORMAT_F32 && format != NANO_FORMAT_F16 && format != NANO_FORMAT_BF16;
}

int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}
} // namespace

bool nano_cuda_linear_tile_pays(struct nano_cuda_device *device,
                                const struct nano_cuda_linear_args *args)
{
    enum { TILE_CYCLES = 352, SKINNY_CYCLES = 33 }; /* of a chunk */
    typedef shape<NANO_FORMAT_Q8_0> any;
    if (!is_quantised(args->format))
        return false;
    if (args->tiles)
        return args->tile_slots > NANO_CUDA_SKINNY_ROWS;
    if (args->rows <= NANO_CUDA_SKINNY_ROWS)
        return false;
    const int64_t rows = nano_cuda_tile_rows(args), heads = args->num_heads,
                  multiprocessors = nano_cuda_device_multiprocessors(device);
    const int64_t blocks = ceil_div(rows, any::ROWS) * ceil_div(args->rows, any::INPUTS) * heads;
    const int64_t skinny =
        rows / NANO_CUDA_MMA_ROWS * ceil_div(args->rows, NANO_CUDA_SKINNY_ROWS) * heads;
    return ceil_div(blocks, multiprocessors) * TILE_CYCLES <
           ceil_div(skinny * SKINNY_CYCLES, multiprocessors);
}

void nano_cuda_linear_tile_quantised(struct nano_cuda_device *device,
                                     const struct nano_cuda_linear_args *args)
{
    nano_cuda_for_format(args->format, [&](auto format) {
        constexpr enum nano_format value = decltype(format)::value;
        if constexpr (is_quantised(value))
            nano_cuda_tile_launch<shape<value>>(device, args);
    });
}
