/* Attention with tensor cores, with K and V in formats of 8 bits. */
#include "runner/cuda/cuda_attention_mma.h"

bool nano_cuda_attention_mma8(struct nano_cuda_device *device,
                              const struct nano_attention_params &params)
{
    if (params.args.format == NANO_KV_FORMAT_Q8_0)
        return launch_format<NANO_KV_FORMAT_Q8_0>(device, params);
    return params.args.format == NANO_KV_FORMAT_FP8 &&
           launch_format<NANO_KV_FORMAT_FP8>(device, params);
}
