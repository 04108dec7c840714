/* Recurrent layers that several architectures have: Mamba-2, the gated delta net, and the gated
 * attention that alternates with the latter. Part of the builder: after a failure they do nothing
 * that matters. */
#ifndef NANO_MODELS_RECURRENT_H
#define NANO_MODELS_RECURRENT_H

#include "models/builder.h"

/* What ssm.* says: heads of x (or v) and groups of them that share B and C (or k and q). */
struct nano_recurrent_shape {
    struct nano_recurrence heads; /* with the kernel of its convolution */
    int64_t inner_size;           /* of all heads together */
};
struct nano_recurrent_shape nano_build_recurrent_shape(struct nano_builder *b);

/* A convolution by its tensors "blk.L.NAME.weight", [kernel, width] in F32, and "blk.L.NAME.bias".
 */
struct nano_view nano_build_layer_conv(struct nano_builder *b, const char *name,
                                       struct nano_view in, int kernel, enum nano_act act,
                                       enum nano_bias bias);

/* The mixer of a Mamba-2 layer, from what its norm gives to what is added to x; with tensors
 * "ssm_in", "ssm_conv1d", "ssm_dt", "ssm_a", "ssm_d", "ssm_norm" and "ssm_out". */
struct nano_view nano_build_mamba2_mixer(struct nano_builder *b, struct nano_view in,
                                         const struct nano_recurrent_shape *shape,
                                         enum nano_bias conv_bias);

/* The inputs of a gated delta net. */
struct nano_delta_inputs {
    struct nano_view qkv, z;      /* before the convolution; the gate of the output */
    struct nano_view alpha, beta; /* [heads] */
};

/* The rest of its mixer, with tensors "ssm_conv1d", "ssm_a", "ssm_dt", "ssm_norm" and "ssm_out". */
struct nano_view nano_build_delta_mixer(struct nano_builder *b, const struct nano_delta_inputs *in,
                                        const struct nano_recurrent_shape *shape);

/* Attention whose "attn_q" gives a query and a gate per head: the output is times the gate's
 * sigmoid before "attn_output". q and k have norms per head; the rope is of two halves. */
struct nano_view nano_build_gated_attention(struct nano_builder *b, struct nano_view in, int rope);

/* The layer's attention.head_count_kv: 0 in a layer without attention, else the config's. */
int64_t nano_build_layer_kv_heads(struct nano_builder *b);

/* True if the layer is one of a delta net: by attention.recurrent_layers, a flag for each, or else
 * all but every full_attention_interval-th. */
bool nano_build_layer_is_recurrent(struct nano_builder *b);

/* Takes the layers that only predict further tokens (nextn_predict_layers), which come last, out of
 * the model. */
void nano_build_drop_nextn(struct nano_builder *b);

#endif
