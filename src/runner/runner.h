/* Runner: the seam between the engine and what computes. The seam is "run one batch".
 *
 * A runner holds the weights in its own layout and the KV pool, and interprets the program. It
 * knows nothing of requests, scheduling or, but for plain draws, sampling: block ids and token rows
 * come in, logits go out. One engine owns one runner and calls it from one thread at a time. */
#ifndef NANO_RUNNER_RUNNER_H
#define NANO_RUNNER_RUNNER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "format/onnx_graph.h"
#include "models/adapter.h"
#include "models/program.h"
#include "runner/draw.h"
#include "simd/kernels.h"

/* A sequence's share of a batch: tokens [first_token, first_token + num_tokens) of the batch stand
 * at positions first_position …; in a layer of KV group g, position p is in slot
 * table[p / block_size] * block_size + p % block_size with table = block_table + g * table_stride.
 * A table covers all positions up to the last of the batch; entries of blocks that lie whole behind
 * the group's window of the first token are not looked at.
 *
 * A program with recurrent layers has a state per sequence: `state` is its slot among those of
 * kv_alloc, and holds what comes of the positions before first_position; at position 0 it begins
 * anew, whatever is in the slot. */
struct nano_batch_seq {
    int first_token, num_tokens;
    int first_position;
    const int32_t *block_table;
    int64_t table_stride; /* not looked at where there is one group */
    int32_t state;        /* not looked at without recurrent layers */
    int32_t adapter;      /* 0: none; i: the config's adapters[i - 1] changes the weights */
};

/* A row of the batch whose logits, or hidden row, are wanted. */
struct nano_batch_output {
    int32_t row;   /* index of the token in the batch; rows ascend */
    bool greedy;   /* in: only the most likely token is needed */
    bool hidden;   /* in: no logits, but what they are made of; programs without logits have no
                      other outputs */
    bool draws;    /* in: only the token is needed that nano_sampler_draw gives; false unless the
                      runner's caps say that it can */
    int32_t token; /* out, when greedy: the first of the largest logits; when it draws: the draw */
    struct nano_draw draw; /* looked at only when it draws */
};

struct nano_batch {
    int num_tokens;
    const int32_t *tokens; /* [num_tokens]; -1 - k: what output k of the batch gives that was begun
                              before and is not ended yet */
    int num_seqs;
    const struct nano_batch_seq *seqs; /* [num_seqs], their token ranges tile the batch in order */
    int num_outputs;
    struct nano_batch_output *outputs; /* [num_outputs] */

    /* Called once for each output that neither is greedy nor draws, with its logits [vocab_size],
     * which it may change. It runs on the runner's threads, several outputs at once, before run
     * returns: sampling is as parallel as the model. */
    void (*on_logits)(void *context, int output, float *logits);
    /* Columns [first_column, end_column) of the hidden row of an output that wants it; `row` is the
     * whole row. It runs on the runner's threads, for different columns at once; every column of
     * every such output comes once, and for a column outputs come in order. */
    void (*on_hidden)(void *context, int output, const float *row, int64_t first_column,
                      int64_t end_column);
    void *context;
};

/* Columns [first_column, end_column) of what a linear op multiplies its weights with: normalised
 * where the op has a norm, and as it is before it is rounded to the weights' form. Row r's column c
 * is rows[r * stride + c].
 *
 * Of an MOE op it is what an expert, `matrix`, multiplies with: for each row and slot in order, one
 * row that goes to the weights 0 and 1, and one that goes to weight 2. */
struct nano_linear_input {
    const struct nano_op *op;
    int weight; /* the first of the op's that are multiplied with it; 0 in a LINEAR */
    int matrix;
    const float *rows;
    int64_t stride, num_rows, first_column, end_column;
};

struct nano_runner_config {
    const struct nano_program *program; /* NULL for the mock and ONNX runners */
    const struct nano_onnx_graph *onnx; /* for the ONNX runner only; borrowed */
    const char *onnx_providers;         /* as in nano_engine_params; borrowed until open returns */
    int num_threads;                    /* at least 1 */
    int max_num_batched_tokens, max_num_seqs, max_model_len;
    int block_size;
    enum nano_kv_format kv_format;
    bool enforce_eager, batch_invariant; /* as in nano_engine_params */

    /* What sequences may run with. Every part must change something in the program; all of it is
     * borrowed until open returns. */
    const struct nano_adapter *adapters;
    int num_adapters;

    /* NULL, or an observer of linears. It is called on the runner's threads, for different columns
     * at once, before run returns; every column of every row of an op comes once, and for a column
     * rows come in the batch's order. */
    void (*on_linear_input)(void *context, const struct nano_linear_input *input);
    void *on_linear_input_context;
};

struct nano_runner_caps {
    int64_t vocab_size;
    int64_t hidden_size; /* of a hidden row; 0: it gives none */
    const char *isa;     /* of the kernels, or what computes instead of them */
    bool draws;          /* it samples where nothing but a draw is asked for */
    bool runs_ahead;     /* begin and end may be called */
};

/* Bytes that open and kv_alloc will take, and what blocks are for. */
struct nano_runner_memory {
    uint64_t weight_bytes;     /* own memory for packed weights and adapters */
    uint64_t mapped_bytes;     /* weights read straight from the file */
    uint64_t packing_bytes;    /* beside weight_bytes, for a moment while they are packed */
    uint64_t activation_bytes; /* buffers, logits, per-thread scratch */
    uint64_t kv_block_bytes;   /* one block: all of its slots */
    uint64_t state_bytes;      /* one sequence's recurrent state; 0: the program has none */
    int num_kv_groups;
    int kv_windows[NANO_MAX_KV_GROUPS]; /* as nano_kv_group.window */
    /* Of a runner that computes in a device's memory, where weights, activations, blocks and states
     * are then: how much of it there is, and is free; and what it takes of the host's beside. */
    uint64_t device_bytes, device_free_bytes, host_bytes;
};

struct nano_runner {
    const char *name;

    /* What it would take, without taking it. */
    enum nano_status (*plan)(const struct nano_runner_config *config,
                             struct nano_runner_memory *out, struct nano_error *err);

    /* *state is NULL on failure. The config is copied; the program and its weights are borrowed. */
    enum nano_status (*open)(void **state, const struct nano_runner_config *config,
                             struct nano_error *err);
    void (*close)(void *state); /* NULL is fine */

    void (*caps)(const void *state, struct nano_runner_caps *out);

    /* Once after open. Block ids are 0 … num_blocks - 1, those of states 0 … num_states - 1. */
    enum nano_status (*kv_alloc)(void *state, int num_blocks, int num_states,
                                 struct nano_error *err);

    /* Copies the KV of a whole block. */
    void (*kv_copy)(void *state, int32_t src_block, int32_t dst_block);

    /* Copies a recurrent state. */
    void (*state_copy)(void *state, int32_t src_state, int32_t dst_state);

    /* Computes one batch; allocates nothing. */
    enum nano_status (*run)(void *state, struct nano_batch *batch, struct nano_error *err);

    /* A batch in two parts, NULL for runners that only run: begin starts it, end waits for it and
     * fills in the outputs' tokens, for which it is given the same batch. All outputs are greedy or
     * draws. Between the two another batch may be begun, so that at most two are; they are ended in
     * order, each that was begun without an error, before anything else is run or the runner
     * closed. When begin returns, the runner has read all that it needs of the batch. Copies of
     * blocks and states come after what is begun before them. */
    enum nano_status (*begin)(void *state, const struct nano_batch *batch, struct nano_error *err);
    enum nano_status (*end)(void *state, struct nano_batch *batch, struct nano_error *err);

    uint64_t (*memory_used)(const void *state);
    size_t (*profile)(const void *state, struct nano_op_profile *out, size_t capacity);
};

/* By name ("cpu", "cuda", "onnx", "mock"); an unknown one is an error that lists those in this
 * build. */
enum nano_status nano_runner_find(const struct nano_runner **out, const char *name,
                                  struct nano_error *err);

#endif
