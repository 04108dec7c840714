/* Harness: drives a runner without an engine; every position's logits are wanted. */
#ifndef TESTS_RUNNER_HARNESS_H
#define TESTS_RUNNER_HARNESS_H

#include "models/program.h"
#include "runner/runner.h"

struct harness_config {
    int num_threads, block_size, max_num_batched_tokens, max_num_seqs;
    enum nano_kv_format kv_format;
    uint64_t shuffle; /* order of block ids */
    void (*on_linear_input)(void *context, const struct nano_linear_input *input);
    void *on_linear_input_context;
    const struct nano_adapter *adapters; /* as in nano_runner_config */
    int num_adapters;
};

struct harness {
    const struct nano_runner *runner;
    void *state;
    struct harness_config config;
    int num_kv_groups, num_blocks, next_block, num_states;
    int32_t *block_ids; /* shuffled */
    int64_t vocab_size; /* of a row: see harness_row_size */
    bool hidden;
};

#define HARNESS_MAX_LEN 1024

/* A sequence under way. */
struct harness_seq {
    const int32_t *tokens;
    int num_tokens, num_computed;
    int32_t *block_table; /* [num_kv_groups, table_stride] */
    int table_stride;
    int32_t state, adapter;
    float *logits; /* [num_tokens, vocab_size]: filled as positions are computed */
};

/* What a position gives: vocab_size logits or, without them, the hidden row. */
int64_t harness_row_size(const struct nano_program *program);

/* The program must outlive it. Aborts the test on errors. */
void harness_open(struct harness *h, const struct nano_program *program,
                  const struct harness_config *config);
/* The same of an ONNX graph; sequences have at most max_len tokens. */
void harness_open_onnx(struct harness *h, const struct nano_onnx_graph *graph, int64_t vocab_size,
                       int max_len, const struct harness_config *config);
void harness_close(struct harness *h);

void harness_seq_begin(struct harness *h, struct harness_seq *seq, const int32_t *tokens,
                       int num_tokens);
void harness_seq_end(struct harness_seq *seq);

/* One step: the next counts[i] tokens of sequence i (0: it sits out). */
void harness_step(struct harness *h, struct harness_seq *seqs, const int *counts, int num_seqs);

/* Logits [num_tokens, vocab_size] of one sequence in chunks, to be freed. */
float *harness_logits(const struct nano_program *program, const struct harness_config *config,
                      const int32_t *tokens, int num_tokens, int chunk);

/* Largest |a - b| divided by the largest |b|. */
double harness_difference(const float *a, const double *b, size_t count);

#endif
