/* Plan of a quantisation: the format that each tensor gets, decided before a byte is written. */
#ifndef NANO_ENGINE_QUANTIZE_PLAN_H
#define NANO_ENGINE_QUANTIZE_PLAN_H

#include "format/imatrix.h"
#include "nanovllm.h"

struct nano_quantize_step {
    const struct nano_tensor *from;
    const float *importance; /* [dims[2]][dims[0]], or NULL */
    bool is_fallback;
};

struct nano_quantize_plan {
    const struct nano_weights *weights; /* borrowed, and what it consists of */
    struct nano_quantize_step *steps;   /* one per tensor, in the file's order */
    struct nano_weights
        to; /* what they become: tensors without bytes, metadata with the new type */
    struct nano_importance importance; /* what steps borrow from */
    struct nano_quantize_result result;
};

/* Refuses what cannot be done: unknown types and patterns, quantised tensors without
 * allow_requantize, and, unless dry_run, formats that need an importance matrix without one. On
 * failure nothing is left in *plan. */
enum nano_status nano_quantize_plan_create(struct nano_quantize_plan *plan,
                                           const struct nano_weights *weights,
                                           const struct nano_quantize_params *params,
                                           struct nano_error *err);
void nano_quantize_plan_destroy(struct nano_quantize_plan *plan);

#endif
