/* The tile kernel of quantised weights, which it unpacks on their way to shared memory. */
#include "runner/cuda/cuda_linear_tile_kernel.h"

void nano_cuda_linear_tile_quantised(struct nano_cuda_device *device,
                                     const struct nano_cuda_linear_args *args)
{
    nano_cuda_for_format(args->format, [&](auto format) {
        constexpr enum nano_format value = decltype(format)::value;
        if constexpr (value != NANO_FORMAT_F32 && value != NANO_FORMAT_BF16 &&
                      value != NANO_FORMAT_F16)
            nano_cuda_tile_launch<nano_cuda_tile_shape<value, 4, 2, 2, 4, 4, 2>>(device, args);
    });
}
