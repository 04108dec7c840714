/* Programs: a model is a flat list of ops over named buffers.
 *
 *   embed ─▶ x ─▶ norm ─▶ linear q,k,v ─▶ rope ─▶ kv_store, attention ─▶ linear (+= x) ─▶ …
 *
 * models/<arch>.c reads hyper-parameters, binds weights by name and emits the list once, at load;
 * it computes nothing. Passes (fuse.c) rewrite it, the planner gives buffers their place in memory,
 * and every runner is an interpreter of the result.
 *
 * A buffer is a float32 matrix with one row per token of the step (or per output row, after the
 * gather op). Operands are views: a range of a buffer's columns.
 *
 * Invariant of a finished program: ops read only what earlier ops wrote, a linear's and an
 * attention's outputs overlap none of its inputs, and there is exactly one NANO_OP_GATHER; before
 * it all buffers are in the token domain, after it all are in the output domain, so that a runner
 * may run what follows it in several passes over parts of the output rows. A finished program is
 * read-only: any number of runners may share it. */
#ifndef NANO_MODELS_PROGRAM_H
#define NANO_MODELS_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "format/weights.h"
#include "models/op.h"
#include "simd/kernels.h"

/* Sizes as in Hugging Face's config.json. */
struct nano_model_config {
    char architecture[32];
    int64_t vocab_size, hidden_size, intermediate_size;
    int64_t num_layers, num_heads, num_kv_heads, head_dim;
    int64_t max_position_embeddings; /* context length */
    float rms_norm_eps;              /* of LayerNorm too */
};

struct nano_op {
    enum nano_op_kind kind;
    const char *label; /* what it is in the model: "attn_q", "ffn_gate"; fused ones join them */
    int layer;         /* -1: outside the layers */
    int num_in, num_out;
    struct nano_view in[NANO_MAX_INPUTS];
    struct nano_view out[NANO_MAX_SEGMENTS];
    const struct nano_tensor *weight[NANO_MAX_SEGMENTS]; /* [cols, rows] or [width] */
    const struct nano_tensor *bias[NANO_MAX_SEGMENTS];   /* F32 [rows], or NULL */
    bool accumulate;                /* LINEAR: adds to out, which an earlier op wrote (residual) */
    bool glu;                       /* LINEAR: of a gate and its factor */
    enum nano_act act;              /* LINEAR, GLU, ACTIVATE, MOE, SHORT_CONV */
    const struct nano_tensor *norm; /* LINEAR: norm of the whole input, or NULL */
    const struct nano_tensor *norm_bias;
    bool is_layer_norm;  /* LINEAR: the norm, else RMS norm */
    float eps;           /* norms, LINEAR with a norm, DELTA_NET */
    int64_t group_width; /* norms: columns that are normalised together */
    int rope;            /* ROPE: index in program->ropes */
    int rope_offset;
    int kv_layer;                          /* KV_STORE, ATTENTION */
    int num_heads, num_kv_heads, head_dim; /* ROPE (num_heads, head_dim), KV_STORE, ATTENTION,
                                              HEAD_LINEAR and SPLIT_HEADS (num_heads) */
    int v_head_dim;                        /* ATTENTION: of v and of an output head */
    int64_t in_stride, out_stride;         /* HEAD_LINEAR: columns from head to head */
    bool copies_rest;                      /* HEAD_LINEAR */
    float scale;         /* ATTENTION: of q . k; EMBED, ADD, SCALE, POSITION_SCALE */
    float softcap;       /* ATTENTION: of scaled q . k, 0: none; SOFTCAP */
    bool bidirectional;  /* ATTENTION: every token sees the whole sequence, which is one batch */
    int scale_length;    /* POSITION_SCALE */
    struct nano_moe moe; /* ROUTE, MOE */
    struct nano_recurrence recurrence;
    int64_t state_offset; /* SHORT_CONV, MAMBA2, DELTA_NET: floats into a sequence's state */
};

enum nano_row_domain { NANO_ROWS_TOKENS, NANO_ROWS_OUTPUTS };

struct nano_buffer {
    const char *name;
    int64_t width; /* columns */
    enum nano_row_domain domain;
    int first_op, last_op; /* live range: written first, used last */
};

/* One rotary embedding; all kinds of scaling end up in these numbers. */
struct nano_rope {
    int num_pairs;               /* head_dim / 2, or fewer: the rest of the head is left as it is */
    const float *inv_freq;       /* [num_pairs]: angle of pair i at position p is p * inv_freq[i] */
    const float *short_inv_freq; /* NULL, or those of a runner whose max_model_len is at most
                                    short_context (LongRoPE) */
    int64_t short_context;
    float magnitude; /* multiplies cos and sin */
    bool adjacent;   /* pairs (2i, 2i+1); else (i, i + num_pairs) */
};

/* Layers of one group have one block table per sequence: those that see everything, or some that
 * see the same window. A block holds the K and V of num_kv_slots layers; a block of a group is all
 * of its layers', each at its slot, so any free block can serve any group. */
struct nano_kv_layer {
    int num_kv_heads, head_dim, v_head_dim;
    int window;  /* position p sees p - window + 1 … p; 0: all */
    bool v_in_k; /* V is the first v_head_dim columns of K, which is stored once */
    int group, slot;
};

struct nano_kv_group {
    int window; /* 0: none */
    int num_layers;
};

struct nano_program {
    struct nano_arena arena; /* everything below lives in it */
    struct nano_model_config config;
    const struct nano_weights *weights; /* that the tensors are borrowed from */
    struct nano_op *ops;
    int num_ops, ops_capacity;
    struct nano_buffer *buffers;
    int num_buffers, buffers_capacity;
    struct nano_rope *ropes;
    int num_ropes;
    struct nano_kv_layer *kv_layers;
    int num_kv_layers;
    struct nano_kv_group kv_groups[NANO_MAX_KV_GROUPS]; /* at least one, also without kv layers */
    int num_kv_groups, num_kv_slots;
    int64_t state_floats; /* of a sequence's recurrent state; 0: it has none */
    bool bidirectional;   /* an attention sees what comes after: a sequence is one batch */
    int gather_op;        /* index of the NANO_OP_GATHER */
    int hidden_buffer; /* [outputs, its width]: what the logits are made of, or a text's embedding
                        */
    int logits_buffer; /* [outputs, vocab_size]; -1: an encoder, whose hidden rows are its output */
};

/* Builds, fuses and checks the program of a model; unknown architectures are an error that lists
 * the known ones. It borrows tensors from `weights`. */
enum nano_status nano_program_create(struct nano_program **out, const struct nano_weights *weights,
                                     struct nano_error *err);
void nano_program_destroy(struct nano_program *program);

/* The hyper-parameters alone, also of files without tensors and of unknown architectures: what is
 * not there is 0; of a value per layer it is the largest. */
enum nano_status nano_model_config_read(struct nano_model_config *out,
                                        const struct nano_weights *weights, struct nano_error *err);

/* Places the buffers for at most max_tokens token rows and max_outputs output rows: buffers whose
 * live ranges do not overlap share memory; rows are padded to cache lines. offsets[num_buffers]
 * (may be NULL) receives the byte offset of each buffer, *total_bytes what all of them need
 * together. */
enum nano_status nano_program_plan(const struct nano_program *program, int64_t max_tokens,
                                   int64_t max_outputs, size_t *offsets, size_t *total_bytes,
                                   struct nano_error *err);

/* How many of an op's weight and bias entries count. */
static inline int nano_op_num_weights(const struct nano_op *op)
{
    switch (op->kind) {
    case NANO_OP_MOE:
    case NANO_OP_MAMBA2:
        return 3;
    case NANO_OP_DELTA_NET:
        return 2;
    case NANO_OP_LINEAR:
        return op->glu ? 2 : op->num_out;
    default:
        return op->num_out;
    }
}

/* The first op that is not needed for the hidden rows. */
int nano_program_hidden_end(const struct nano_program *program);

/* Floats from one row of a buffer to the next. */
int64_t nano_buffer_stride(const struct nano_buffer *buffer);

/* One op per line; released with nano_mem_free. */
enum nano_status nano_program_print(const struct nano_program *program, char **out,
                                    struct nano_error *err);

const char *nano_op_kind_name(enum nano_op_kind kind);

#endif
