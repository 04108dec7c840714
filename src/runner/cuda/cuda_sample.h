/* Sampling on the GPU: from rows of logits to tokens, those that nano_sampler_draw gives.
 *
 * Weights are the sampler's, exp((logit - largest) / temperature), but as integers of 2^-44: their
 * sums are exact in any order. So a token depends on its row alone, and is another one than the
 * sampler's only where a sum of floats is within its error of deciding otherwise. */
#ifndef NANO_RUNNER_CUDA_CUDA_SAMPLE_H
#define NANO_RUNNER_CUDA_CUDA_SAMPLE_H

#include "runner/cuda/cuda_batch.h"
#include "runner/cuda/cuda_device.h"
#include "runner/draw.h"

#ifdef __cplusplus
extern "C" {
#endif

enum nano_cuda_choice {
    NANO_CUDA_CHOICE_NONE, /* the row has no token */
    NANO_CUDA_CHOICE_GREEDY,
    NANO_CUDA_CHOICE_DRAW
};

/* How a row's token is chosen. */
struct nano_cuda_draw {
    int32_t choice; /* enum nano_cuda_choice; the rest is looked at for draws only */
    int32_t top_k;
    float top_p;
    float scale; /* 1 / temperature */
    float floor; /* min-p keeps logits from largest + floor on */
    float depth; /* logits below largest + depth have no weight */
    double uniform;
};

/* On the host. Where top_p is 1, top_k is at most NANO_MAX_DRAW_TOP_K. */
struct nano_cuda_draw nano_cuda_draw_make(const struct nano_draw *draw);

struct nano_cuda_sample_args {
    struct nano_cuda_view logits;
    int64_t width;                      /* of the vocabulary: at most 2^20 - 1 */
    const struct nano_cuda_draw *draws; /* [rows] on the device */
    int32_t *tokens;                    /* [rows] on the device; left alone where there is none */
    int rows;
};
void nano_cuda_sample(struct nano_cuda_device *device, const struct nano_cuda_sample_args *args);

#ifdef __cplusplus
}
#endif

#endif
