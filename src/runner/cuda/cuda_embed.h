/* Embeddings on the GPU, from rows of any weight format. */
#ifndef NANO_RUNNER_CUDA_CUDA_EMBED_H
#define NANO_RUNNER_CUDA_CUDA_EMBED_H

#include "runner/cuda/cuda_batch.h"
#include "runner/cuda/cuda_device.h"
#include "simd/formats.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out row r (+)= scale * weight row ids[r], + bias (row 0 of a tensor, or NULL). An id of -1 - k is
 * tokens[k]. */
struct nano_cuda_embed_args {
    struct nano_cuda_view out;
    const int32_t *ids;    /* [rows]: tokens or positions */
    const int32_t *tokens; /* looked at only for negative ids */
    enum nano_format format;
    const void *weight;
    int64_t row_bytes, width;
    float scale;
    const float *bias; /* F32 [width], or NULL */
    bool accumulate;
    int rows;
};
void nano_cuda_embed(struct nano_cuda_device *device, const struct nano_cuda_embed_args *args);

#ifdef __cplusplus
}
#endif

#endif
