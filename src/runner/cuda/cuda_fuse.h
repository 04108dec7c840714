/* Ops in a row that one launch can do. The program stays as it is; what is found here is a
 * way to run it. */
#ifndef NANO_RUNNER_CUDA_CUDA_FUSE_H
#define NANO_RUNNER_CUDA_CUDA_FUSE_H

#include "models/program.h"
#include "runner/cuda/cuda_heads.h"

/* Heads of some columns, and the ops of the run that change or store them: -1 for none. */
struct nano_cuda_head_ops {
    struct nano_view view;
    int num_heads, head_dim;
    int norm, rope, store;
    bool is_v; /* store: as V, else as K */
};

struct nano_cuda_head_run {
    int num_ops;
    struct nano_cuda_head_ops parts[NANO_CUDA_HEAD_PARTS];
    int num_parts;
};

/* The longest run of ops that begins with op `first` and that nano_cuda_heads can do: its num_ops
 * is 0 or at least 2. */
struct nano_cuda_head_run nano_cuda_find_head_run(const struct nano_program *program, int first);

#endif
