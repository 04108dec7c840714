/* LoRA in the CPU runner: what an op's rows with an adapter get on top.
 *
 * The rows of a step that have one adapter are neighbours in an order of their own, by slots:
 *
 *   row      0  1  2  3  4  5        adapter of row   -  1  0  0  -  1
 *   slot     -  2  0  1  -  3        x, t             rows 2 3 | 1 5
 *
 * For each op that an adapter changes, t = scale * A x is computed for all slots, weight rows and
 * rows divided between the threads; then each thread adds B t to the outputs that it has just
 * written. Rows without an adapter are not touched, and A and B go through the kernels that keep a
 * row's value independent of others'. */
#ifndef NANO_RUNNER_CPU_LORA_H
#define NANO_RUNNER_CPU_LORA_H

#include "models/adapter.h"
#include "simd/kernels.h"

struct nano_batch;
struct nano_cpu_runner;
struct nano_cpu_worker;

/* Rows of an A that a thread takes at a time, and of either matrix that are packed at a time: a
 * multiple of the float kernels' row_align. */
#define NANO_CPU_LORA_ROWS 16

/* What one adapter adds to one segment of an op; rank 0: nothing. Several parts are one, their
 * ranks side by side. */
struct nano_cpu_lora_pair {
    const unsigned char *a, *b; /* as the kernels read them; a of an embed op: as in a file */
    enum nano_format a_format, b_format;
    const float *scales; /* [rank] */
    int rank;
    int first; /* float of t where the segment's A x begins */
};

/* Slots of the rows of one domain. */
struct nano_cpu_lora_rows {
    int32_t *adapter; /* [rows]; -1: none */
    int32_t *slot;    /* [rows]; -1: none */
    int32_t *begin;   /* [num_adapters + 1]: slots of each adapter */
};

struct nano_cpu_lora {
    int num_adapters;
    int *first_segment;               /* [num_ops]: in pairs; -1: no adapter changes the op */
    struct nano_cpu_lora_pair *pairs; /* [segment, num_adapters] */
    int num_pairs;
    unsigned char *memory; /* of a, b and scales */
    size_t packed_bytes;
    int64_t max_x_floats; /* of the inputs that a step keeps */
    int64_t t_stride;     /* floats; of the widest op */

    /* In the runner's block: */
    struct nano_cpu_lora_rows tokens;
    float *x, *t;
};

/* An op of a step that adapters change. */
struct nano_cpu_lora_op {
    struct nano_cpu_lora_rows rows;         /* of the op's domain, in outputs of the pass */
    int num_slots;                          /* 0: nothing to do */
    const struct nano_cpu_lora_pair *pairs; /* [num_segments, num_adapters] */
    const float *x;                         /* [num_slots, width of the op's input] */
};

/* Sizes and places; no memory but the tables. */
enum nano_status nano_cpu_lora_collect(struct nano_cpu_runner *runner, struct nano_error *err);
/* Makes the memory and fills it. */
enum nano_status nano_cpu_lora_pack(struct nano_cpu_runner *runner, struct nano_error *err);
void nano_cpu_lora_deinit(struct nano_cpu_lora *lora);

/* Bytes of the tables that collect makes. */
size_t nano_cpu_lora_table_bytes(const struct nano_cpu_runner *runner);

/* The slots of a step's rows. */
void nano_cpu_lora_prepare(struct nano_cpu_runner *runner, const struct nano_batch *batch);

/* The slots of a pass's output rows, which each thread has for itself. */
void nano_cpu_lora_begin_pass(const struct nano_cpu_worker *w);

/* By all threads of a step, in this order, for a linear op: */
void nano_cpu_lora_begin(struct nano_cpu_lora_op *lora, const struct nano_cpu_worker *w, int op);
/* Keeps a row of the op's input, `width` floats; one thread does it for a row. Or lora->x is set to
 * where all slots' input is. */
void nano_cpu_lora_keep(const struct nano_cpu_lora_op *lora, const struct nano_cpu_worker *w,
                        int64_t row, const float *input, int64_t width);
/* After a barrier: this thread's share of t; another barrier must follow. */
void nano_cpu_lora_shrink(const struct nano_cpu_lora_op *lora, const struct nano_cpu_worker *w,
                          int op);
/* Adds to the outputs of a segment that were written with these arguments. */
void nano_cpu_lora_expand(const struct nano_cpu_lora_op *lora, const struct nano_cpu_worker *w,
                          int segment, const struct nano_linear_args *written);

/* For an embed op: adds to row `row`, which is this thread's and not yet scaled. */
void nano_cpu_lora_embed(const struct nano_cpu_worker *w, int op, int64_t row, float *y);

#endif
