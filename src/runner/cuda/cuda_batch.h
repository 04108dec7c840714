/* A batch on the device: everything a step's kernels know of it, in one piece of memory that is
 * copied in at once.
 *
 * Kernels are started for `rows` rows, which may be more than the batch's tokens: the rest is
 * padding, whose values mean nothing but whose inputs are valid (token 0, position 0, slot -1). So
 * one recorded graph does for every batch of up to so many tokens. What a batch has a varying
 * number of - attention items, merges, sequences - is counted in its head, and kernels go through
 * it with a grid of fixed size. */
#ifndef NANO_RUNNER_CUDA_CUDA_BATCH_H
#define NANO_RUNNER_CUDA_CUDA_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "models/op.h"

/* Attention of num_queries neighbouring rows of one sequence over positions [begin, end), at one KV
 * head per block of threads. Query i is row first_row + i at position first_position + i; it sees
 * positions up to its own, as many as the window has, or all of [0, seq_end) when bidirectional.
 * A part that no query sees is left out: begin may be anywhere in the first range, end anywhere in
 * the last. Ranges begin at multiples of NANO_ATTENTION_SPLIT.
 *
 * partial < 0: the item covers all that its queries see and writes out. Else it is one range, and
 * query i writes its sums to partial row partial + i. */
struct nano_cuda_attention_item {
    int32_t table; /* of its sequence and group: words from the batch's head */
    int32_t first_row, num_queries, first_position;
    int32_t begin, end, seq_end;
    int32_t partial;
};

/* Row `row` is the merge of partial rows partial + i * stride, i in [0, count), in this order. */
struct nano_cuda_attention_merge {
    int32_t row, partial, stride, count;
};

struct nano_cuda_seq {
    int32_t first_row, num_rows;
    int32_t first_position;
    int32_t state;
};

struct nano_cuda_batch {
    int32_t num_rows, num_seqs;
    struct {
        int32_t items, num_items;   /* words from the head, count */
        int32_t merges, num_merges; /* the same */
    } groups[NANO_MAX_KV_GROUPS];
};

/* A view of a buffer on the device: row r begins at data + r * stride. */
struct nano_cuda_view {
    float *data;
    int64_t stride; /* floats */
};

#endif
