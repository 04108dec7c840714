/* State of the CPU runner, shared by its files.
 *
 *   cpu_runner.c     the vtable: open, close, KV pool
 *   cpu_weights.c    which tensors are packed, which are read where the file has them
 *   cpu_lora_pack.c  adapters' matrices; cpu_lora.c  what they do in a step
 *   cpu_layout.c     one block of memory: activations, tables, scratch
 *   cpu_run.c        a step: checks, the walk over the ops, outputs, profile
 *   cpu_pool.c       the threads; cpu_barrier.c  how they wait for each other
 *   cpu_limits.c     what the machine does at best (no part of a runner)
 *   cpu_ops.c, cpu_elementwise.c, cpu_linear.c, cpu_head_linear.c, cpu_attention.c,
 *   cpu_route.c, cpu_moe.c
 *                    what each op does
 *   cpu_recurrent.c     the ops that have a state per sequence
 *   cpu_attention_plan.c     how a step's attention is cut into work items
 *
 * Invariant: after nano_cpu_lay_out nothing here is allocated but the KV pool; a step writes only
 * the block, the KV pool and the batch's outputs. */
#ifndef NANO_RUNNER_CPU_STATE_H
#define NANO_RUNNER_CPU_STATE_H

#include <stdatomic.h>

#include "base/memory.h"
#include "runner/cpu/cpu_lora.h"
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

struct nano_cpu_op {
    const void *weight[NANO_MAX_SEGMENTS]; /* in the layout that the kernels read */
    const struct nano_linear_kernels *linear[NANO_MAX_SEGMENTS];
    size_t matrix_bytes[NANO_MAX_SEGMENTS]; /* from one matrix of a 3-d weight to the next */
    bool makes[NANO_NUM_ACTIVATIONS];       /* LINEAR, MOE: forms of the input that are made for
                                               it */
    float *conv_weight;  /* SHORT_CONV: [kernel, width], for a file has the kernel innermost */
    bool barrier_before; /* an op since the last barrier touches the same memory */
    int profile;         /* index in runner->profile */
    uint64_t weight_bytes, macs_per_row; /* MOE: bytes of all experts */
};

/* A tensor that the program uses. */
struct nano_cpu_weight {
    const struct nano_tensor *tensor;
    bool in_linear;      /* else only looked up, added or multiplied with */
    bool in_panels;      /* packed for the kernels; else in the file's layout, packed or not */
    size_t matrix_bytes; /* of each matrix of a 3-d tensor, as it is read */
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

/* An expert that rows of a pass go to. Its rows have consecutive places. */
struct nano_cpu_expert {
    int32_t expert, num_rows;
    int32_t first_x; /* place of its first row among inputs */
    int32_t first;   /* and among what comes of them */
};

struct nano_cpu_thread {
    unsigned char *x; /* input of a linear of one token */
    float *row;       /* of normalised input, of a table of positions, or a router's scores */
    float *tile;      /* [NANO_CPU_TILE_FLOATS] */
    float *attention;
    float *recurrent;                       /* of the delta net's kernel */
    int32_t *next_place;                    /* [2, num_experts] */
    struct nano_cpu_expert *experts;        /* [num_experts]: of the pass */
    struct nano_cpu_lora_rows lora_outputs; /* of the current pass */
};

/* Scratch of MOE ops. A pass is of so few rows that its size does not grow with a step's. */
struct nano_cpu_moe {
    int32_t *places;      /* [rows, num_used] */
    float *hidden;        /* [places, intermediate size] */
    float *y;             /* [places, width] */
    uint64_t num_touched; /* experts of the op that runs, each counted once per pass; thread 0's */
};

/* Queries whose rows in the batch are consecutive. */
struct nano_cpu_chunk {
    int first_row, num_queries;
    int num_items;
    bool in_ranges;  /* items leave partial results: [ranges, num_queries] units */
    int first_range; /* of the units */
    int first_unit;
};

/* Some queries of a chunk that see the blocks of a sequence: all positions, or one range. */
struct nano_cpu_attention_item {
    int chunk, seq;
    int first_query, num_queries; /* in the chunk */
    int first_position;           /* of first_query */
    int num_positions;            /* not 0: of every query, whatever the window */
    int range;
};

/* The items of a step for the layers of one KV group. */
struct nano_cpu_attention_plan {
    int window; /* 0: none */
    struct nano_cpu_chunk *chunks;
    struct nano_cpu_attention_item *items;
    int *order; /* [num_items], the large ones first */
    int num_chunks, num_items, num_units;
    uint64_t num_pairs; /* (query, position) */
};

struct nano_cpu_attention {
    bool bidirectional;
    int max_queries;                      /* of a chunk */
    int max_chunks, max_items, max_units; /* of a plan */
    int min_kv_heads, max_kv_heads;       /* of a layer */
    size_t unit_floats;                   /* the partial results of a query and a range */
    _Atomic int *num_done; /* [chunk, kv_head]: parts of items that left their partial results;
                              0 between ops */
    float *partials;       /* [max_units, unit_floats] */
    struct nano_cpu_attention_plan *plans; /* [program->num_kv_groups] */
};

struct nano_cpu_runner {
    struct nano_runner_config config;
    const struct nano_program *program;
    struct nano_kernels kernels;
    struct nano_kernels file_kernels; /* reads rows in the file's layout */
    struct nano_cpu_weights weights;
    struct nano_cpu_lora lora;
    int max_outputs; /* rows of a pass */
    int hidden_end;  /* of the program */

    void *block; /* everything below up to the KV pool lies in it */
    size_t block_bytes;
    struct nano_cpu_op *ops;    /* [program->num_ops] */
    unsigned char *activations; /* the program's buffers, as planned */
    float **buffers;            /* [program->num_buffers] */
    size_t *offsets;            /* [program->num_buffers] */
    float **cos_sin;            /* [program->num_ropes]: [tokens, 2 * num_pairs] */
    int32_t *positions;         /* [tokens] */
    int32_t *output_order;      /* [tokens]: outputs of the batch as passes take them */
    int32_t *slots;             /* [program->num_kv_groups, max_num_batched_tokens] */
    struct nano_cpu_attention attention;
    struct nano_cpu_moe moe;
    unsigned char *x;                /* input of the current linear, as its kernels want it */
    struct nano_cpu_thread *threads; /* [config.num_threads] */
    struct nano_op_profile *profile;
    char *profile_names;
    int num_profile;

    void **k_pools, **v_pools; /* [program->num_kv_slots]; NULL where V is in K */
    float *states;             /* [num_states, program->state_floats] */
    int num_blocks, num_states;
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
    int first_output, num_outputs; /* of the current pass, in output_order */
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
/* What packing takes at its worst moment beyond packed_bytes: a stored tensor is let go of when its
 * packed form is complete. */
uint64_t nano_cpu_weights_packing_bytes(const struct nano_cpu_weights *weights,
                                        const struct nano_kernels *kernels, int num_threads);
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

/* The table of the layer's group, how its pools are laid out, and bytes of a block in each. */
const int32_t *nano_cpu_block_table(const struct nano_cpu_runner *runner,
                                    const struct nano_batch_seq *seq, int kv_layer);
struct nano_kv_layout nano_cpu_kv_layout(const struct nano_cpu_runner *runner, int kv_layer);
size_t nano_cpu_k_block_bytes(const struct nano_cpu_runner *runner, int kv_layer);
size_t nano_cpu_v_block_bytes(const struct nano_cpu_runner *runner, int kv_layer);

/* ---- cpu_attention_plan.c ---- */

/* Fills what does not depend on a step. */
void nano_cpu_attention_size(struct nano_cpu_attention *attention,
                             const struct nano_cpu_runner *runner);
/* The first position that the one at `position` sees. */
int nano_cpu_first_seen(int window, int position);
/* The plans of a step. */
void nano_cpu_attention_prepare(struct nano_cpu_runner *runner, const struct nano_batch *batch);

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

/* Where a recurrent op has a sequence's state. */
float *nano_cpu_state(const struct nano_cpu_runner *runner, const struct nano_op *op,
                      const struct nano_batch_seq *seq);

/* Floats of a thread's `row` that a ROUTE op wants. */
size_t nano_cpu_route_floats(const struct nano_moe *moe);

/* ---- cpu_moe.c ---- */

/* What an MOE op takes at most with max_rows rows. */
struct nano_cpu_moe_size {
    size_t places;                  /* [entries of it] */
    size_t hidden_floats, y_floats; /* of the runner's scratch */
    size_t x_bytes, x_bytes_of_one; /* of the runner's and the threads' x */
};
struct nano_cpu_moe_size nano_cpu_moe_size(const struct nano_cpu_runner *runner,
                                           const struct nano_op *op,
                                           const bool makes[NANO_NUM_ACTIVATIONS],
                                           int64_t max_rows);

/* ---- cpu_head_linear.c ---- */

/* What a HEAD_LINEAR op takes at most of the runner's and the threads' x. */
struct nano_cpu_head_linear_size {
    size_t x_bytes, x_bytes_of_one;
};
struct nano_cpu_head_linear_size nano_cpu_head_linear_size(const struct nano_cpu_runner *runner,
                                                           const struct nano_op *op,
                                                           int64_t max_rows);

/* ---- cpu_linear.c ---- */

/* Rows of a linear's weights are cut at multiples of it; 16 floats of output are a cache line. */
int64_t nano_cpu_unit_rows(const struct nano_linear_kernels *linear);

/* args[0].y = act(first linear) * second linear, for the rows and tokens of args[0]; `lora`, which
 * may be NULL, adds to both. */
void nano_cpu_gated_rows(const struct nano_cpu_worker *w,
                         const struct nano_linear_kernels *const linear[2],
                         const struct nano_linear_args args[2], enum nano_act act,
                         const struct nano_cpu_lora_op *lora);

/* ---- op bodies: called by all threads together, `rows` rows ---- */

/* True if row t of the op is made from row t of its inputs, by the thread whose share of the rows t
 * is in. */
bool nano_cpu_is_row_local(enum nano_op_kind kind);

void nano_cpu_embed(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_position_embed(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_norm(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_rope(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_rope_tables(struct nano_cpu_worker *w);
void nano_cpu_glu(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_add(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_map(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_split_heads(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_gather(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_linear(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_route(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_moe(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_head_linear(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_kv_store(struct nano_cpu_worker *w, int op, int64_t rows);
void nano_cpu_attention(struct nano_cpu_worker *w, int op);
void nano_cpu_short_conv(struct nano_cpu_worker *w, int op);
void nano_cpu_mamba2(struct nano_cpu_worker *w, int op);
void nano_cpu_delta_net(struct nano_cpu_worker *w, int op);

#endif
