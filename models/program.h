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
#include "simd/kernels.h"

/* Sizes as in Hugging Face's config.json. */
struct nano_model_config {
    char architecture[32];
    int64_t vocab_size, hidden_size, intermediate_size;
    int64_t num_layers, num_heads, num_kv_heads, head_dim;
    int64_t max_position_embeddings; /* context length */
    float rms_norm_eps;              /* of LayerNorm too */
};

enum nano_op_kind {
    NANO_OP_EMBED, /* out[0] = row tokens[t] of weight[0], times scale, + row 0 of bias[0] */
    NANO_OP_POSITION_EMBED, /* out[0] += row positions[t] of weight[0] */
    NANO_OP_RMS_NORM,   /* out[0] = in[0] / rms(in[0]) over each group of group_width columns, times
                           weight[0] [group_width], or [width]: a weight for every group; in place
                           where out[0] is in[0] */
    NANO_OP_LAYER_NORM, /* the same of in[0] less its mean by its standard deviation; + bias[0] */
    NANO_OP_L2_NORM,    /* out[0] = in[0] / max(|in[0]|, eps) over each group; no weight */
    NANO_OP_LINEAR, /* out[i] (+)= in[0] x weight[i]^T + bias[i] for each segment i; with a norm, of
                       the normalised in[0]; with glu, out[0] is one output of two segments,
                       act(the first) * the second; with an act else, of its only segment */
    NANO_OP_HEAD_LINEAR, /* for each of num_heads heads h, out[0]'s columns from h * out_stride are
                            in[0]'s columns from h * in_stride x weight[0][h]^T; weight[0] is
                            [cols, rows, num_heads]; with copies_rest, what is behind those columns
                            up to in_stride follows them */
    NANO_OP_ROPE, /* in place: out[0] is in[0]; the rope's pairs of every head of head_dim columns,
                     from its column rope_offset on, at the token's position */
    NANO_OP_KV_STORE,  /* in[0] = k, in[1] = v into kv_layer's blocks; a layer with v_in_k has no v
                        */
    NANO_OP_ATTENTION, /* out[0] = attention of in[0] = q over kv_layer's blocks; weight[0]: a sink
                          [num_heads] or NULL; softcap; the layer's window; causal unless
                          bidirectional */
    NANO_OP_GLU,       /* out[0] = act(in[0]) * in[1]; in[0] of width 1 goes with every column */
    NANO_OP_ACTIVATE,  /* out[0] = act(in[0]) */
    NANO_OP_ADD,       /* out[0] += scale * in[0] */
    NANO_OP_SCALE,     /* in place: out[0] = scale * in[0] */
    NANO_OP_SOFTCAP,   /* in place: out[0] = softcap * tanh(in[0] / softcap) */
    NANO_OP_POSITION_SCALE, /* in place: times 1 + scale * ln(1 + floor(position / scale_length)) */
    NANO_OP_SPLIT_HEADS,    /* in[0] is num_heads times (out[0].width / num_heads columns of
                               out[0], as many of out[1] for its width, …) */
    NANO_OP_ROUTE,      /* out[0] = the moe.num_used experts of each row and their weights (struct
                           nano_route), from in[0] = router logits [num_experts]; weight[0]: added for
                           the choice only, or NULL */
    NANO_OP_MOE,        /* out[0] = sum over the experts e of in[1] = routes, weighted, of
                           down[e] x glu(gate[e] x in[0], up[e] x in[0]); weight[0 … 2] are gate, up and
                           down [cols, rows, num_experts], bias[0 … 2] theirs or NULL */
    NANO_OP_SHORT_CONV, /* out[0] = act (NONE or SILU) of (the causal convolution of every column of
                           in[0] over the sequence with weight[0] [kernel, width] + bias[0]); its
                           state: the last kernel - 1 inputs */
    NANO_OP_MAMBA2, /* the recurrence of Mamba-2 (nano_mamba2_args): in[0] = x | B | C, in[1] = dt
                       before its bias and softplus; weight[0] = A, [1] = D, [2] = bias of dt, all
                       [num_heads]; A is negative */
    NANO_OP_DELTA_NET, /* the gated delta rule (nano_delta_net_args): in[0] = q | k | v, in[1] =
                          alpha, in[2] = beta [num_heads], all before their norms, bias and sigmoid;
                          weight[0] = A, negative, [1] = bias of alpha */
    NANO_OP_GATHER,    /* out[i] = the rows of in[i] that are sampled: token rows -> output rows */
    NANO_NUM_OP_KINDS
};

#define NANO_MAX_INPUTS 3
#define NANO_MAX_SEGMENTS 4

struct nano_view {
    int buffer;
    int64_t offset, width; /* columns */
};

enum nano_gating {
    NANO_GATING_SOFTMAX,      /* of all experts */
    NANO_GATING_SIGMOID,      /* of each */
    NANO_GATING_SOFTMAX_USED, /* of the chosen ones' logits */
};

struct nano_moe {
    int num_experts, num_used;
    enum nano_gating gating;
    bool normalize;                  /* weights of the chosen ones, to a sum of 1 */
    float scale;                     /* of weights, after that */
    int num_groups, num_groups_used; /* experts are chosen from the groups whose two best sum up
                                        to most; 1, 1: from all */
};

/* A row of ROUTE's output: num_used of them. */
struct nano_route {
    int32_t expert;
    float weight;
};

/* Shape of a recurrence (MAMBA2, DELTA_NET) or of a convolution. */
struct nano_recurrence {
    int num_heads, num_key_heads; /* heads of x or v; of B and C or k and q, which
                                     num_heads / num_key_heads heads share */
    int head_dim, state_size;     /* of x or v; of B and C or k and q */
    int kernel;                   /* SHORT_CONV: positions that an output sees */
    bool interleaved;             /* head h goes with key head h % num_key_heads, else with
                                     h / (num_heads / num_key_heads) */
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

#define NANO_MAX_KV_GROUPS 16

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
