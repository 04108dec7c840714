/* Recurrent layers on the GPU. Each goes through the batch's sequences (nano_cuda_batch) and a
 * sequence's rows one by one; at position 0 the state begins as zeros, whatever is in the slot.
 * What they compute stands in simd/kernels.h; a row's bits depend on its sequence alone. */
#ifndef NANO_RUNNER_CUDA_CUDA_RECURRENT_H
#define NANO_RUNNER_CUDA_CUDA_RECURRENT_H

#include "runner/cuda/cuda_batch.h"
#include "runner/cuda/cuda_device.h"
#include "simd/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { NANO_CUDA_MAX_STATE_SIZE = 1024 };

struct nano_cuda_recurrent_args {
    const struct nano_cuda_batch *batch; /* on the device */
    const struct nano_cuda_seq *seqs;    /* the same: [batch->num_seqs] in the order of their rows,
                                            which are all of the batch's */
    float *states;                       /* sequence's: states + state * state_floats */
    int64_t state_floats, state_offset;
    struct nano_recurrence recurrence;
    struct nano_cuda_view in[NANO_MAX_INPUTS], out;
    const float *weight[3]; /* as the op's, F32 on the device; SHORT_CONV: [width][kernel] */
    const float *bias;      /* SHORT_CONV: or NULL */
    enum nano_act act;      /* SHORT_CONV: NONE or SILU */
    int64_t width;          /* SHORT_CONV: columns */
    float eps;              /* DELTA_NET */
    int rows;               /* at least the batch's: with num_blocks, what a grid's size is from */
    int num_blocks;         /* of threads that the GPU runs at a time, about */
};

/* Blocks along the sequences, where each of `parts` parts of a state has its own: a few times what
 * runs at a time, since even a block that finds nothing to do takes its turn. */
static inline int nano_cuda_seq_blocks(const struct nano_cuda_recurrent_args *args, int parts)
{
    const int most = 4 * args->num_blocks / parts + 1;
    return args->rows < most ? args->rows : most;
}

void nano_cuda_short_conv(struct nano_cuda_device *device,
                          const struct nano_cuda_recurrent_args *args);
void nano_cuda_mamba2(struct nano_cuda_device *device, const struct nano_cuda_recurrent_args *args);
void nano_cuda_delta_net(struct nano_cuda_device *device,
                         const struct nano_cuda_recurrent_args *args);

#ifdef __cplusplus
}
#endif

#endif
