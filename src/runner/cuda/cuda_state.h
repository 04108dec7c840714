/* State of the CUDA runner, shared by its C files.
 *
 *   cuda_runner.c    the vtable: open, close, KV pool
 *   cuda_weights.c   the program's tensors in the device's memory
 *   cuda_layout.c    what else is there: activations, scratch, the batch
 *   cuda_step.c      a step: the batch's way in, graphs, outputs
 *   cuda_ops.c       what each op starts; cuda_linear_op.c: linears and experts
 *   cuda_fuse.c      ops in a row that one launch does
 *   cuda_device.h    what it knows of the device; cuda_*.cu: the kernels
 *
 * Invariant: after open and kv_alloc nothing is allocated but graphs, whose number is bounded. */
#ifndef NANO_RUNNER_CUDA_CUDA_STATE_H
#define NANO_RUNNER_CUDA_CUDA_STATE_H

#include "runner/cpu/cpu_pool.h"
#include "runner/cuda/cuda_attention.h"
#include "runner/cuda/cuda_attention_plan.h"
#include "runner/cuda/cuda_batch.h"
#include "runner/cuda/cuda_device.h"
#include "runner/cuda/cuda_gemm.h"
#include "runner/cuda/cuda_linear.h"
#include "runner/cuda/cuda_moe.h"
#include "runner/cuda/cuda_sample.h"
#include "runner/runner.h"

enum {
    /* Output rows that go through the ops after the gather at a time: bounds the memory of logits.
     */
    NANO_CUDA_OUTPUT_ROWS = 256,
    /* Rows of a batch up to which its step may be a graph's. */
    NANO_CUDA_GRAPH_ROWS = 256,
    NANO_CUDA_MAX_GRAPHS = 96,
    /* Rows that an op with experts takes at a time in any case: see nano_cuda_moe_rows. */
    NANO_CUDA_MOE_ROWS = 1024,
    /* Blocks of threads that share what a batch has a varying number of: a few per multiprocessor.
     */
    NANO_CUDA_BLOCKS_PER_MULTIPROCESSOR = 4,
    NANO_CUDA_ITEM_WORDS = sizeof(struct nano_cuda_attention_item) / sizeof(int32_t),
    NANO_CUDA_MERGE_WORDS = sizeof(struct nano_cuda_attention_merge) / sizeof(int32_t),
    /* Rows of attention's partial sums, at most. */
    NANO_CUDA_MAX_PARTIALS = 4096,
    /* Rows from which on linears go to cuBLASLt, where sums may depend on the batch. */
    NANO_CUDA_GEMM_ROWS = 128,
    /* Rows up to which quantised weights go through the skinny kernel, a few at a time: reading
     * them again costs less than unpacking them. */
    NANO_CUDA_UNPACK_ROWS = 128
};

/* Sums that cuBLASLt makes and a kernel finishes, at a time. */
#define NANO_CUDA_SUMS_BYTES ((uint64_t)128 << 20)

/* What comes of the slots of as many rows as an op with experts takes at a time: experts with many
 * slots each are read once for more of them. */
#define NANO_CUDA_MOE_BYTES ((uint64_t)256 << 20)

/* Halves that quantised weights are unpacked to for the tile kernel, a piece at a time. */
#define NANO_CUDA_UNPACK_BYTES ((uint64_t)32 << 20) /* which the cache holds */

struct nano_cuda_weight {
    const struct nano_tensor *tensor;
    bool in_linear;          /* rows of halves are padded to whole chunks of 32 columns */
    enum nano_format format; /* on the device: BF16 of linears becomes F16 */
    float scale;             /* a weight is what is stored, times this */
    int64_t row_bytes;
    uint64_t num_bytes;
    const void *data; /* on the device */
};

struct nano_cuda_weights {
    struct nano_cuda_weight *items; /* by address of their tensors */
    int count, capacity;
    uint64_t num_bytes; /* of all, on the device */
    void *memory;
};

struct nano_cuda_op {
    const struct nano_cuda_weight *weight[NANO_MAX_SEGMENTS];
    const float *bias[NANO_MAX_SEGMENTS];
    const float *norm, *norm_bias;
    int num_fused; /* ops that are run with it, and it; 0: it is run with one before it */
    int profile;
    uint64_t weight_bytes, macs_per_row;
};

/* Where the parts of a batch of a shape are, in words from its head. What has a varying size comes
 * last, so that the places of the rest depend on the shape alone, and graphs can be used again. */
struct nano_cuda_batch_layout {
    int rows, outputs; /* with padding */
    int32_t tokens, positions, slots, seqs, output_rows, draws, variable;
};

struct nano_cuda_graph_entry {
    int rows, outputs;
    struct nano_cuda_graph *graph; /* NULL: seen once, and not recorded yet */
    uint64_t last_used;
};

/* Memory of the device; sizes are found first, pointers after. */
struct nano_cuda_scratch {
    uint16_t *half;
    float *scales, *f32; /* of a linear's input */
    float *glu_up;       /* the second factor where it cannot be made with the first */
    uint16_t *unpacked;
    float *sums;
    void *gemm_workspace;
    float *partials;
    float *expert_hidden, *expert_out;
    struct nano_cuda_expert_tile *tiles;
    int32_t *num_tiles, *order, *order_row;
};

struct nano_cuda_runner {
    struct nano_runner_config config;
    const struct nano_program *program;
    struct nano_cuda_device *device; /* NULL while only sizes are asked for */
    struct nano_cuda_device_info info;
    struct nano_cuda_gemm *gemm; /* NULL: rows have the same bits in every batch */
    struct nano_cpu_pool pool;   /* for outputs whose logits come to the host */
    int max_outputs, hidden_end, num_blocks_per_grid;
    struct nano_cuda_weights weights;
    struct nano_cuda_op *ops; /* [num_ops] */

    uint64_t work_bytes; /* of all that follows, on the device */
    void *work;
    size_t *offsets; /* [num_buffers] into activations */
    unsigned char *activations;
    struct nano_cuda_scratch scratch;
    const float **inv_freq; /* [num_ropes], on the device */
    int32_t *batch;         /* on the device */
    int64_t batch_words;
    int32_t *tokens; /* [max_num_batched_tokens]: what was chosen for outputs in order, until the
                        end of the next step */

    /* Two of each, page-locked: a batch that is begun needs its own until it is ended. */
    int32_t *host_batch[2];        /* [batch_words] */
    int32_t *host_tokens[2];       /* [max_num_batched_tokens] */
    uint64_t num_begun, num_ended; /* the nth has those of n % 2 */
    int num_begun_outputs[2];
    float *host_rows; /* page-locked: logits or hidden rows of a pass */
    uint64_t host_bytes;

    int attention_queries[NANO_MAX_KV_GROUPS];      /* of an item of the group's layers */
    int attention_blocks[NANO_MAX_KV_GROUPS];       /* that the GPU runs at once for each KV head */
    struct nano_cuda_attention_seq *attention_seqs; /* [max_num_seqs] */
    struct nano_cuda_attention_merge *attention_merges; /* as many as a group can have */
    int *output_order;                                  /* [max_num_batched_tokens] */
    struct nano_cuda_graph_entry graphs[NANO_CUDA_MAX_GRAPHS];
    int num_graphs;
    uint64_t num_steps;

    int num_blocks, num_states;
    void **k_pools, **v_pools; /* [num_kv_slots], on the device */
    float *states;
    uint64_t kv_bytes;

    struct nano_op_profile *profile; /* [num_ops] at most */
    int num_profile;
    char *profile_names;
};

/* ---- cuda_weights.c ---- */

enum nano_status nano_cuda_weights_collect(struct nano_cuda_weights *weights,
                                           const struct nano_program *program,
                                           struct nano_error *err);
/* From the file to the device. */
enum nano_status nano_cuda_weights_load(struct nano_cuda_weights *weights,
                                        const struct nano_weights *stored,
                                        struct nano_cuda_device *device, struct nano_error *err);
void nano_cuda_weights_deinit(struct nano_cuda_weights *weights, struct nano_cuda_device *device);
const struct nano_cuda_weight *nano_cuda_weights_find(const struct nano_cuda_weights *weights,
                                                      const struct nano_tensor *tensor);

/* ---- cuda_layout.c ---- */

/* Sizes and, on an open device, memory for all but the KV pool. */
enum nano_status nano_cuda_lay_out(struct nano_cuda_runner *r, struct nano_error *err);
void nano_cuda_lay_out_deinit(struct nano_cuda_runner *r);
int nano_cuda_max_partials(const struct nano_cuda_runner *r);
struct nano_cuda_batch_layout nano_cuda_lay_out_batch(const struct nano_cuda_runner *r, int rows,
                                                      int outputs);

/* ---- cuda_step.c ---- */

enum nano_status nano_cuda_run(void *state, struct nano_batch *batch, struct nano_error *err);
enum nano_status nano_cuda_begin(void *state, const struct nano_batch *batch,
                                 struct nano_error *err);
enum nano_status nano_cuda_end(void *state, struct nano_batch *batch, struct nano_error *err);

/* ---- cuda_ops.c ---- */

/* What ops of a step know: rows include padding. */
struct nano_cuda_pass {
    struct nano_cuda_runner *runner;
    const struct nano_cuda_batch_layout *layout;
    int rows;         /* of the op's domain */
    int first_output; /* of the pass, after the gather */
};

static inline struct nano_cuda_view nano_cuda_view_of(const struct nano_cuda_runner *r,
                                                      struct nano_view view)
{
    float *buffer = (float *)(void *)(r->activations + r->offsets[view.buffer]);
    return (struct nano_cuda_view){buffer + view.offset,
                                   nano_buffer_stride(&r->program->buffers[view.buffer])};
}

void nano_cuda_run_op(const struct nano_cuda_pass *pass, int index);

/* ---- cuda_linear_op.c ---- */

/* Columns of a row of halves. */
static inline int64_t nano_cuda_half_stride(int64_t cols)
{
    return (cols + NANO_CUDA_CHUNK - 1) / NANO_CUDA_CHUNK * NANO_CUDA_CHUNK;
}

/* Rows that an op with experts takes at a time: bounds the memory of what comes of each. */
static inline int nano_cuda_moe_rows(const struct nano_op *op, int rows)
{
    const int64_t row_bytes =
        (op->weight[0]->dims[1] + op->out[0].width) * op->moe.num_used * (int64_t)sizeof(float);
    const int64_t most = (int64_t)NANO_CUDA_MOE_BYTES / row_bytes;
    const int64_t limit = most > NANO_CUDA_MOE_ROWS ? most : NANO_CUDA_MOE_ROWS;
    return rows < limit ? rows : (int)limit;
}

/* True if an op's gate and factor have to be made one after the other. */
bool nano_cuda_splits_glu(const struct nano_op *op);
void nano_cuda_linear_op(const struct nano_cuda_pass *pass, int index);
void nano_cuda_head_linear_op(const struct nano_cuda_pass *pass, int index);
void nano_cuda_moe_op(const struct nano_cuda_pass *pass, int index);

#endif
