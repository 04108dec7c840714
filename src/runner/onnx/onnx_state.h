/* State of the ONNX runner. */
#ifndef NANO_RUNNER_ONNX_STATE_H
#define NANO_RUNNER_ONNX_STATE_H

#include "runner/onnx/onnx_kv.h"
#include "runner/onnx/onnx_session.h"
#include "simd/kernels.h"

/* What the graph can be asked for, beside what its shapes say: found out by running it. */
struct nano_onnx_traits {
    bool prompts; /* several tokens of a sequence that has no past */
    bool chunks;  /* several tokens behind a past */
    bool batches; /* sequences of different lengths */
};

/* Tokens of a sequence that a probe computes; buffers have room for two of them. */
#define NANO_ONNX_PROBE_TOKENS 4

/* What time goes to. */
enum nano_onnx_phase {
    NANO_ONNX_PHASE_GATHER, /* past that is not in the lanes yet */
    NANO_ONNX_PHASE_GRAPH,
    NANO_ONNX_PHASE_STORE, /* new columns to their blocks */
    NANO_ONNX_NUM_PHASES
};

/* A sequence on its way into a step. */
struct nano_onnx_member {
    int index;  /* in the batch */
    int length; /* tokens so far */
    int row;    /* kept row, or -1 */
};

struct nano_onnx_runner {
    struct nano_runner_config config;
    struct nano_arena arena;
    struct nano_onnx_decoder decoder;
    struct nano_onnx_session session;
    struct nano_onnx_kv_cache kv;
    struct nano_onnx_traits traits;
    struct nano_kernels kernels;
    struct nano_op_profile profile[NANO_ONNX_NUM_PHASES];

    /* What a run is fed with and gives. */
    int64_t max_rows; /* of logits */
    void *ids, *positions, *mask;
    unsigned char *logits; /* [max_rows, vocab_size] */
    float *row;            /* [vocab_size] of logits that are no f32 */

    /* Of a batch: */
    int *first_output; /* [max_num_seqs + 1] of each sequence's rows */
    int *level;        /* [max_num_seqs] how many sequences have to be computed before */
    int32_t *writer;   /* [num_blocks] the sequence that writes to it, or -1 */
    struct nano_onnx_member *members;   /* [max_num_seqs] of those that run together */
    const struct nano_batch_seq **seqs; /* [max_num_seqs] as a step has them */
    int *indices, *found;               /* [max_num_seqs] */
};

/* A run: the same number of tokens of each of some sequences. */
struct nano_onnx_step {
    struct nano_batch *batch;
    const struct nano_batch_seq *const *seqs;
    const int *indices; /* of the sequences in the batch */
    int num_seqs;
    int first_token; /* among each sequence's tokens of the batch */
    int num_tokens;  /* of each; 0: all, where all of a sequence is computed anew */
};

/* Computes the sequences of a step and hands out their logits. `past` and `present` are NULL where
 * the decoder has no past: then all of a sequence's tokens are computed. */
enum nano_status nano_onnx_run_step(struct nano_onnx_runner *r, const struct nano_onnx_step *step,
                                    const struct nano_onnx_region *past,
                                    const struct nano_onnx_region *present, struct nano_error *err);

/* Counts the time since start_ns. */
void nano_onnx_count(struct nano_onnx_runner *r, enum nano_onnx_phase phase, uint64_t start_ns);

/* Computes a batch, step by step. */
enum nano_status nano_onnx_run_batch(struct nano_onnx_runner *r, struct nano_batch *batch,
                                     struct nano_error *err);

/* Fills r->traits; leaves nothing behind in the KV cache that counts. */
enum nano_status nano_onnx_probe(struct nano_onnx_runner *r, struct nano_error *err);

#endif
