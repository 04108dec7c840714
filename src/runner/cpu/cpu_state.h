/* State of the CPU runner, shared by its files.
 *
 *   cpu_runner.c     the vtable: open, close, KV pool
 *   cpu_weights.c    which tensors are packed, which are read where the file has them
 *   cpu_layout.c     one block of memory: activations, tables, scratch
 *   cpu_run.c        a step: checks, the walk over the ops, outputs, profile
 *   cpu_pool.c       the threads; cpu_barrier.c  how they wait for each other
 *   cpu_limits.c     what the machine does at best (no part of a runner)
 *   cpu_ops.c, cpu_linear.c, cpu_attention.c     what each op does
 *
 * Invariant: after nano_cpu_lay_out nothing here is allocated but the KV pool; a step writes only
 * the block, the KV pool and the batch's outputs. */
#ifndef NANO_RUNNER_CPU_STATE_H
#define NANO_RUNNER_CPU_STATE_H

#include <stdatomic.h>

#include "base/memory.h"
#include "runner/cpu/cpu_pool.h"
#include "runner/runner.h"

/* Output rows that go through the ops after the gather at a time: bounds the memory of logits. */
#define NANO_CPU_OUTPUT_ROWS 32

/* Up to this many rows a linear divides its weights evenly; with more, threads fetch chunks. */
#define NANO_CPU_EVEN_ROWS 16

#define NANO_CPU_CHUNK_ROWS 128 /* weight rows of a chunk */

/* Scratch of a gate's second factor: a chunk's rows of this many tokens. */
#define NANO_CPU_TILE_TOKENS 48
#define NANO_CPU_TILE_FLOATS (NANO_CPU_CHUNK_ROWS * NANO_CPU_TILE_TOKENS)
#define NANO_CPU_QUERIES 16 /* queries of an attention work item */

struct nano_cpu_op {
    const void *weight[NANO_MAX_SEGMENTS]; /* in the layout that the kernels read */
    const struct nano_linear_kernels *linear[NANO_MAX_SEGMENTS];
    bool makes[NANO_NUM_ACTIVATIONS]; /* LINEAR: forms of the input that are made for it */
    bool barrier_before;              /* an op since the last barrier touches the same memory */
    int profile;                      /* index in runner->profile */
    uint64_t weight_bytes, macs_per_row;
};

/* A tensor that the program uses. */
struct nano_cpu_weight {
    const struct nano_tensor *tensor;
    bool in_linear;      /* else only looked up, added or multiplied with */
    void *packed;        /* in weights->memory; NULL: read in place */
    size_t packed_bytes; /* whole cache lines; 0: read in place */
};

struct nano_cpu_weights {
    struct nano_cpu_weight *items; /* by address of their tensors */
    int count, capacity;
    unsigned char *memory; /* of all packed ones */
    size_t packed_bytes;   /* of it */
    uint64_t mapped_bytes;
};

struct nano_cpu_thread {
    unsigned char *x; /* input of a linear of one token */
    float *row;       /* of normalised input */
    float *tile;      /* [NANO_CPU_TILE_FLOATS] */
    float *attention;
};

struct nano_cpu_runner {
    struct nano_runner_config config;
    const struct nano_program *program;
    struct nano_kernels kernels;
    struct nano_kernels file_kernels; /* reads rows in the file's layout */
    struct nano_cpu_weights weights;
    int max_outputs; /* rows of a pass */

    void *block; /* everything below up to the KV pool lies in it */
    size_t block_bytes;
    struct nano_cpu_op *ops;         /* [program->num_ops] */
    unsigned char *activations;      /* the program's buffers, as planned */
    float **buffers;                 /* [program->num_buffers] */
    size_t *offsets;                 /* [program->num_buffers] */
    float **cos_sin;                 /* [program->num_ropes]: [tokens, 2 * num_pairs] */
    int32_t *positions, *slots;      /* [tokens] */
    int *first_chunk;                /* [max_num_seqs + 1]: attention chunks before sequence i */
    unsigned char *x;                /* input of the current linear, as its kernels want it */
    struct nano_cpu_thread *threads; /* [config.num_threads] */
    struct nano_op_profile *profile;
    char *profile_names;
    int num_profile;

    void **k_pools, **v_pools; /* [program->num_kv_layers] */
    int num_blocks;
    uint64_t kv_bytes;

    struct nano_cpu_pool pool;
    _Alignas(NANO_CACHE_LINE) _Atomic int64_t next_item[2];
};

/* One thread's view of a step. */
struct nano_cpu_worker {
    struct nano_cpu_runner *runner;
    struct nano_batch *batch;
    struct nano_cpu_thread *scratch;
    int index, num_threads;
    unsigned num_shared_loops;     /* loops over shared items so far; equal in all threads between
                                      barriers */
    int first_output, num_outputs; /* of the current pass */
};

/* ---- cpu_weights.c ---- */

enum nano_status nano_cpu_weights_collect(struct nano_cpu_weights *weights,
                                          const struct nano_program *program,
                                          const struct nano_kernels *kernels,
                                          struct nano_error *err);
enum nano_status nano_cpu_weights_pack(struct nano_cpu_weights *weights,
                                       const struct nano_weights *stored,
                                       const struct nano_kernels *kernels,
                                       struct nano_cpu_pool *pool, struct nano_error *err);
void nano_cpu_weights_deinit(struct nano_cpu_weights *weights);
const struct nano_cpu_weight *nano_cpu_weights_find(const struct nano_cpu_weights *weights,
                                                    const struct nano_tensor *tensor);

/* ---- cpu_layout.c ---- */

/* With memory false only block_bytes is computed; else the block is made and filled. */
enum nano_status nano_cpu_lay_out(struct nano_cpu_runner *runner, bool memory,
                                  struct nano_error *err);

/* Bytes of a linear's input in one form, in whole cache lines. */
size_t nano_cpu_x_bytes(const struct nano_cpu_runner *runner, enum nano_activation form,
                        int64_t num_tokens, int64_t cols);

/* The KV pool of one layer, K or V. */
struct nano_kv_layout nano_cpu_kv_layout(const struct nano_cpu_runner *runner, int kv_layer);
size_t nano_cpu_kv_block_bytes(const struct nano_cpu_runner *runner, int kv_layer);

/* ---- cpu_run.c ---- */

enum nano_status nano_cpu_run(void *state, struct nano_batch *batch, struct nano_error *err);

/* Waits until all threads of the step are here. */
void nano_cpu_sync(struct nano_cpu_worker *w);

/* Thread `index` of `num_threads` gets items [*begin, *end) of `count`. */
void nano_cpu_share(const struct nano_cpu_worker *w, int64_t count, int64_t *begin, int64_t *end);

/* A loop whose items go to whichever thread is free: all threads call _begin, then _next until it
 * gives false; item ranges are `step` long. A barrier must lie between two such loops. */
_Atomic int64_t *nano_cpu_shared_loop_begin(struct nano_cpu_worker *w);
bool nano_cpu_shared_loop_next(_Atomic int64_t *next, int64_t count, int64_t step, int64_t *begin,
                               int64_t *end);

/* Row `row` of a view, and floats from row to row. */
float *nano_cpu_row(const struct nano_cpu_runner *runner, struct nano_view view, int64_t row);
int64_t nano_cpu_stride(const struct nano_cpu_runner *runner, struct nano_view view);

/* ---- op bodies: called by all threads together, `rows` rows ---- */

/* True if row t of the op is made from row t of its inputs, by the thread whose share of the rows t
 * is in. */
bool nano_cpu_is_row_local(enum nano_op_kind kind);

void nano_cpu_embed(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_rms_norm(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_rope(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_rope_tables(struct nano_cpu_worker *w);
void nano_cpu_silu_mul(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_add(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_gather(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_linear(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_kv_store(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_attention(struct nano_cpu_worker *w, int op);

#endif
