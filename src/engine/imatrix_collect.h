/* Collecting an importance matrix: what the linears of a program multiply their weights with. */
#ifndef NANO_ENGINE_IMATRIX_COLLECT_H
#define NANO_ENGINE_IMATRIX_COLLECT_H

#include "format/imatrix.h"
#include "runner/runner.h"

/* An MOE op has two inputs: that of gate and up, and that of down. */
#define NANO_IMATRIX_MAX_INPUTS 2

/* What one op has seen since it was last given to an importance matrix, of each input. */
struct nano_imatrix_op {
    double *sums[NANO_IMATRIX_MAX_INPUTS];    /* [matrices, columns]; NULL: it has no weight that is
                                                 asked for */
    int64_t *counts[NANO_IMATRIX_MAX_INPUTS]; /* [matrices]: tokens, counted by the thread that has
                                                 column 0 */
};

struct nano_imatrix_collector {
    const struct nano_program *program;
    bool process_output;
    struct nano_imatrix_op *ops; /* [program->num_ops] */
    struct nano_arena arena;
};

/* The program is borrowed. */
enum nano_status nano_imatrix_collector_init(struct nano_imatrix_collector *collector,
                                             const struct nano_program *program,
                                             bool process_output, struct nano_error *err);
void nano_imatrix_collector_deinit(struct nano_imatrix_collector *collector);

/* A runner's on_linear_input; the context is the collector. */
void nano_imatrix_on_linear_input(void *context, const struct nano_linear_input *input);

/* Adds the sums to the entries of all weights that share an input, and starts again from zero. */
enum nano_status nano_imatrix_collector_give(struct nano_imatrix_collector *collector,
                                             struct nano_importance *importance,
                                             struct nano_error *err);

#endif
