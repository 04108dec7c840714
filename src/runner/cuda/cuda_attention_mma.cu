/* Attention with tensor cores, with K and V in F16 and BF16. */
#include "runner/cuda/cuda_attention_mma.h"

bool nano_cuda_attention_mma(struct nano_cuda_device *device,
                             const struct nano_attention_params &params)
{
    if (params.args.format == NANO_KV_FORMAT_F16)
        return launch_format<NANO_KV_FORMAT_F16>(device, params);
    return params.args.format == NANO_KV_FORMAT_BF16 &&
           launch_format<NANO_KV_FORMAT_BF16>(device, params);
}
