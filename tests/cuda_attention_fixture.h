/* A batch of sequences on the emulated GPU, their K and V in shuffled blocks, and attention over it
 * by the kernels and by the scalar reference. */
#ifndef TESTS_CUDA_ATTENTION_FIXTURE_H
#define TESTS_CUDA_ATTENTION_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "runner/cuda/cuda_attention.h"

enum { MAX_SEQS = 6, PAD = 3 /* rows of k and v are farther apart than wide, by so much */ };

int below(int n); /* random */

struct shape {
    enum nano_kv_format format;
    int num_kv_heads, group, head_dim, v_head_dim, block_size;
    bool v_in_k, bidirectional, has_sinks;
    int window;
    float softcap;
};

/* Some sequences: past positions, and then tokens of the batch. */
struct seq {
    int past, tokens;
};

struct world {
    struct shape shape;
    struct seq seqs[MAX_SEQS];
    int num_seqs, num_rows, num_positions;
    int first_position[MAX_SEQS]; /* in k and v, of the sequence's position 0 */
    int num_heads, num_blocks;
    int64_t k_stride, v_stride;
    float *k, *v, *q, *sinks;
    int32_t *slots, *tables[MAX_SEQS];
    struct nano_cuda_device *device;
    void *k_pool, *v_pool, *ref_k_pool, *ref_v_pool;
};

struct world make_world(const struct shape *shape, const struct seq *seqs, int num_seqs);
void free_world(struct world *w);

/* Stores k and v again, as they are now. */
void store_on_device(const struct world *w);

/* Columns of a row of outputs. */
int64_t out_width(const struct world *w);

/* Rows of all sequences by the reference: [num_rows, num_heads, v_head_dim]. */
float *reference(const struct world *w);

/* How a batch is cut, and which sequences [first_seq, end_seq) are in it. */
struct cut {
    int first_seq, end_seq;
    int num_queries; /* 0: as many as there can be */
    int plan_blocks, max_partials, num_blocks;
    int order;
};

/* Into out: [num_rows, num_heads, v_head_dim]; rows of other sequences are left alone. */
void attend(const struct world *w, const struct cut *cut, float *out);

#endif
