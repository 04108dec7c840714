/* Small random models of any architecture, from hyper-parameters alone.
 *
 * A model begins without tensors; whatever tensor its architecture says is missing is added in the
 * shape that the message expects, until the program can be built. So a test of every architecture
 * needs no list of its tensors; optional ones are listed in the spec. */
#ifndef TESTS_GROWN_MODEL_H
#define TESTS_GROWN_MODEL_H

#include "format/weights.h"

struct grown_spec {
    const char *name;         /* of the variant */
    const char *architecture; /* general.architecture, and the prefix of the keys */
    /* "block_count=2 rope.freq_base=1e4 attention.head_count_kv=[0,2] use_x=true type=yarn": ints,
     * floats (with '.' or 'e'), arrays of ints, bools, strings. */
    const char *metadata;
    /* "token_embd.weight=64x80 blk.1.attn_q.bias=64": dims[0] first. */
    const char *tensors;
};

/* One row or more for each architecture. */
extern const struct grown_spec grown_specs[];
extern const int num_grown_specs;

/* F32 values: matrices about 1 / sqrt(cols), norms about 1. Aborts the test when the model cannot
 * be built. */
void grown_model_make(struct nano_weights *out, const struct grown_spec *spec);

#endif
