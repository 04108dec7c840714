/* Tiny random models made in memory, and a naive forward pass to compare runners with. */
#ifndef TESTS_TINY_MODEL_H
#define TESTS_TINY_MODEL_H

#include "format/weights.h"

struct tiny_shape {
    const char *architecture;
    int vocab_size, hidden_size, intermediate_size, num_layers, num_heads, num_kv_heads, head_dim;
    int rope_dims; /* 0: head_dim, and no key */
    bool tied, biases, rope_factors;
    const char *scaling; /* rope.scaling.type; NULL: none */
    double scaling_factor;
    uint64_t seed;
};

/* What is wrong with a model, for the tests of errors. Keys are without the architecture. */
struct tiny_fault {
    const char *omit;       /* tensor or key that is left out */
    const char *bad_shape;  /* tensor with one column more */
    const char *bad_format; /* tensor that claims to be F16 */
    const char *extra;      /* one tensor more */
    const char *bad_key;    /* integer key with value bad_value; added when the model has none */
    int64_t bad_value;
    const char *float_key; /* one float key more */
    double float_value;
};

/* GQA 3:1, odd sizes, partial rotary; one row per architecture. */
extern const struct tiny_shape tiny_shapes[];
extern const int num_tiny_shapes;

/* `fault` may be NULL. Aborts the test without memory. */
void tiny_model_make(struct nano_weights *out, const struct tiny_shape *shape,
                     const struct tiny_fault *fault);

/* Replaces every matrix whose rows are whole blocks of the format by its quantised form; and every
 * quantised tensor by what it stands for. */
void tiny_model_quantize(struct nano_weights *weights, enum nano_format format);
void tiny_model_dequantize(struct nano_weights *weights);

/* logits[num_tokens][vocab_size] by plain loops in double precision: every position attends to all
 * before it, nothing is cached, batched, fused or quantised. All tensors must be F32. */
void tiny_model_forward(const struct nano_weights *weights, const struct tiny_shape *shape,
                        const int32_t *tokens, int num_tokens, double *logits);

/* When set, tiny_model_forward tells it the input of every linear: "blk.0.attn_q.weight", [cols]. */
extern void (*tiny_model_on_linear)(const char *weight, const double *x, int cols);

/* Deterministic numbers. */
uint64_t tiny_random(uint64_t *state);

#endif
