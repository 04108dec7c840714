/* Plan of attention: the items and merges of a batch for one KV group, the same for all of the
 * group's layers.
 *
 * A tile is some neighbouring queries of a sequence. It is one item, or one for each range of
 * NANO_ATTENTION_SPLIT positions that its queries see something of, when it is a large part of the
 * work and partial rows are left. */
#ifndef NANO_RUNNER_CUDA_CUDA_ATTENTION_PLAN_H
#define NANO_RUNNER_CUDA_CUDA_ATTENTION_PLAN_H

#include "runner/cuda/cuda_batch.h"

#ifdef __cplusplus
extern "C" {
#endif

struct nano_cuda_attention_seq {
    int32_t table; /* words from the batch's head */
    int32_t first_row, num_tokens, first_position;
};

struct nano_cuda_attention_plan_args {
    const struct nano_cuda_attention_seq *seqs;
    int num_seqs;
    int window; /* 0: none */
    bool bidirectional;
    int num_queries;  /* of a tile: the least nano_cuda_attention_queries of the group's layers */
    int num_blocks;   /* that a layer's attention is started with, for each KV head */
    int max_partials; /* partial rows that there is memory for */
};

struct nano_cuda_attention_plan {
    struct nano_cuda_attention_item *items; /* the caller's memory, */
    struct nano_cuda_attention_merge *merges;
    int num_items, num_merges, num_partials;
};

struct nano_cuda_attention_limits {
    int max_items, max_merges;
};

/* Of any batch with at most so many rows and sequences. */
struct nano_cuda_attention_limits
nano_cuda_attention_plan_limits(int max_rows, int max_seqs, int num_queries, int max_partials);

/* Fills the plan's items and merges, which have room for what the limits say. */
void nano_cuda_attention_plan_make(struct nano_cuda_attention_plan *plan,
                                   const struct nano_cuda_attention_plan_args *args);

#ifdef __cplusplus
}
#endif

#endif
