/* Adapters: low-rank changes of a program's matrices, which a sequence may run with.
 *
 *   linear   y = W x            becomes   y = W x + scale * B (A x)
 *   embed    y = row t of W     becomes   that + scale * B (row t of A)
 *
 * W is shared by all sequences; A and B are an adapter's own. Where a matrix of the embedding is
 * the output's too, its adapter counts for the embedding only. */
#ifndef NANO_MODELS_ADAPTER_H
#define NANO_MODELS_ADAPTER_H

#include "models/program.h"

/* Parts with one target add up. */
struct nano_adapter_part {
    const struct nano_tensor *target;  /* of the program: [cols, rows] */
    const struct nano_tensor *a, *b;   /* linear: [cols, rank], [rank, rows]; embed: [rank, rows],
                                          [rank, cols] */
    const struct nano_weights *stored; /* what a and b belong to */
    float scale;
    bool is_lookup; /* changes embed ops, else linear ops */
};

struct nano_adapter {
    const struct nano_adapter_part *parts;
    size_t num_parts;
};

/* True if the part changes weight `index` of the op. */
bool nano_adapter_part_changes(const struct nano_adapter_part *part, const struct nano_op *op,
                               int index);

/* Fails unless an op of the program is changed by the part; the message names file and tensor. */
enum nano_status nano_adapter_part_check(const struct nano_adapter_part *part,
                                         const struct nano_program *program,
                                         struct nano_error *err);

#endif
