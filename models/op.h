/* Ops: their kinds and parameters, apart from the program (program.h) that they stand in, so that
 * code in other languages than C can know them. */
#ifndef NANO_MODELS_OP_H
#define NANO_MODELS_OP_H

#include <stdbool.h>
#include <stdint.h>

#define NANO_MAX_INPUTS 3
#define NANO_MAX_SEGMENTS 4
#define NANO_MAX_KV_GROUPS 16

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

#endif
