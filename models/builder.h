/* Builder: what models/<arch>.c writes its program with.
 *
 * The first failure is kept and every later call does nothing, so an architecture reads as a plain
 * list of calls; nano_program_create looks at the status once, at the end. After a failure integers
 * are at least 1, tensors NULL and views empty. */
#ifndef NANO_MODELS_BUILDER_H
#define NANO_MODELS_BUILDER_H

#include "models/program.h"

struct nano_builder {
    struct nano_program *program;
    const struct nano_weights *weights;
    bool *used; /* [weights->num_tensors]: what the program has asked for */
    int layer;  /* weights named with %d and labels belong to it; -1 outside */
    enum nano_status status;
    struct nano_error *err;
};

/* One architecture: its row in registry.c. */
struct nano_architecture {
    const char *name; /* general.architecture */
    void (*build)(struct nano_builder *builder);
};

/* Row `index` of the registry; NULL past the end. */
const struct nano_architecture *nano_architecture_at(size_t index);

/* NULL with an error that lists the known ones. */
const struct nano_architecture *nano_architecture_find(const char *name, struct nano_error *err);

/* Ends the build: status and message stand unless an earlier failure does. */
void nano_build_fail(struct nano_builder *b, enum nano_status status, const char *fmt, ...)
    NANO_PRINTF(3, 4);

/* Hyper-parameters under the architecture's prefix: key "rope.freq_base" reads
 * "llama.rope.freq_base". A fallback outside min … max means that the key must be there. */
int64_t nano_build_int(struct nano_builder *b, const char *key, int64_t min, int64_t max,
                       int64_t fallback);
double nano_build_float(struct nano_builder *b, const char *key, double min, double max,
                        double fallback);

#define NANO_REQUIRED (-1)

bool nano_build_bool(struct nano_builder *b, const char *key, bool fallback);

/* An integer that may be an array with one per layer. */
int64_t nano_build_layer_int(struct nano_builder *b, const char *key, int layer, int64_t min,
                             int64_t max, int64_t fallback);

/* Reads and checks what every model has, into program->config: layers, hidden size, vocabulary,
 * context, the epsilon of its norms; and the intermediate size, 0 where there is none. Of a value
 * per layer the config has the largest. */
const struct nano_model_config *nano_build_config_base(struct nano_builder *b);

/* The same, and the heads of attention, which must be there. */
const struct nano_model_config *nano_build_config(struct nano_builder *b);

/* A weight by name; "%d" in it is the layer. Its shape must be [cols, rows] (rows 0: a vector,
 * which must be F32) or, of the 3-d ones, [cols, rows, count]. The _optional one gives NULL when
 * the file has none. */
const struct nano_tensor *nano_build_weight(struct nano_builder *b, const char *name, int64_t cols,
                                            int64_t rows);
const struct nano_tensor *nano_build_weight_optional(struct nano_builder *b, const char *name,
                                                     int64_t cols, int64_t rows);

const struct nano_tensor *nano_build_weight_3d(struct nano_builder *b, const char *name,
                                               int64_t cols, int64_t rows, int64_t count);

/* A new buffer, whole. Names need not be unique; they and labels must outlive the program. */
struct nano_view nano_build_buffer(struct nano_builder *b, const char *name, int64_t width);

/* A part of a view: columns [offset, offset + width). */
struct nano_view nano_build_slice(struct nano_builder *b, struct nano_view view, int64_t offset,
                                  int64_t width);

/* Ops. Each returns its output view where it makes one; what they compute stands in program.h. */
struct nano_view nano_build_embed(struct nano_builder *b, const struct nano_tensor *weight,
                                  float scale);
/* The same plus row 0 of bias (F32), which may be NULL. */
struct nano_view nano_build_embed_with(struct nano_builder *b, const struct nano_tensor *weight,
                                       float scale, const struct nano_tensor *bias);
void nano_build_position_embed(struct nano_builder *b, struct nano_view x,
                               const struct nano_tensor *weight);
struct nano_view nano_build_rms_norm(struct nano_builder *b, const char *label, struct nano_view in,
                                     const struct nano_tensor *weight, int64_t group_width);
void nano_build_rms_norm_in_place(struct nano_builder *b, const char *label, struct nano_view x,
                                  const struct nano_tensor *weight);
struct nano_view nano_build_mean_norm(struct nano_builder *b, const char *label,
                                      struct nano_view in, const struct nano_tensor *weight,
                                      const struct nano_tensor *bias, int64_t group_width);
struct nano_view nano_build_l2_norm(struct nano_builder *b, const char *label, struct nano_view in,
                                    int64_t group_width, float eps);
struct nano_view nano_build_linear(struct nano_builder *b, const char *label, struct nano_view in,
                                   const struct nano_tensor *weight,
                                   const struct nano_tensor *bias);
struct nano_view nano_build_head_linear(struct nano_builder *b, const char *label,
                                        struct nano_view in, int64_t in_stride,
                                        struct nano_view out, int64_t out_stride,
                                        const struct nano_tensor *weight, bool copies_rest);
void nano_build_rope(struct nano_builder *b, const char *label, struct nano_view x, int num_heads,
                     int rope);
/* Of heads of that many columns, from column `offset` of each on. */
void nano_build_rope_part(struct nano_builder *b, const char *label, struct nano_view x,
                          int num_heads, int head_dim, int offset, int rope);

/* What an attention has beyond the usual; zeros are the usual. */
struct nano_attention_options {
    float scale;                     /* of q . k; 0: 1 / sqrt(head_dim) */
    float softcap;                   /* 0: none */
    int window;                      /* 0: none */
    int head_dim, v_head_dim;        /* 0: the config's head_dim; 0: head_dim */
    bool v_in_k;                     /* v is ignored: the first v_head_dim columns of k */
    bool bidirectional;              /* also where the file's attention.causal is false */
    const struct nano_tensor *sinks; /* [num_heads], or NULL */
};
/* kv_store + attention, next kv layer. */
struct nano_view nano_build_attention_with(struct nano_builder *b, struct nano_view q,
                                           struct nano_view k, struct nano_view v,
                                           const struct nano_attention_options *options);
struct nano_view nano_build_attention(struct nano_builder *b, struct nano_view q,
                                      struct nano_view k, struct nano_view v, float scale);
/* The result takes the place of up. A gate of width 1 goes with every column. */
struct nano_view nano_build_glu(struct nano_builder *b, enum nano_act act, struct nano_view gate,
                                struct nano_view up);
void nano_build_activate(struct nano_builder *b, enum nano_act act,
                         struct nano_view x);                                        /* in place */
void nano_build_add(struct nano_builder *b, struct nano_view x, struct nano_view y); /* x += y */
void nano_build_add_scaled(struct nano_builder *b, struct nano_view x, struct nano_view y,
                           float scale); /* x += scale * y */
void nano_build_scale(struct nano_builder *b, struct nano_view x, float scale);
void nano_build_softcap(struct nano_builder *b, struct nano_view x, float softcap);
void nano_build_position_scale(struct nano_builder *b, struct nano_view x, float scale,
                               int scale_length);
/* in is num_heads times (a, b), both of that width. */
void nano_build_split_heads(struct nano_builder *b, struct nano_view in, int num_heads,
                            struct nano_view *first, struct nano_view *second);
/* in is num_heads times (columns of out[0], of out[1], …), which are columns of buffers. */
void nano_build_split_heads_into(struct nano_builder *b, struct nano_view in, int num_heads,
                                 const struct nano_view *out, int num_out);
struct nano_view nano_build_route(struct nano_builder *b, struct nano_view logits,
                                  const struct nano_tensor *choice_bias,
                                  const struct nano_moe *moe);
struct nano_view nano_build_moe(struct nano_builder *b, struct nano_view in,
                                struct nano_view routes, enum nano_act act,
                                const struct nano_moe *moe,
                                const struct nano_tensor *const weight[3],
                                const struct nano_tensor *const bias[3]);
struct nano_view nano_build_short_conv(struct nano_builder *b, const char *label,
                                       struct nano_view in, enum nano_act act,
                                       const struct nano_tensor *weight,
                                       const struct nano_tensor *bias);
struct nano_view nano_build_mamba2(struct nano_builder *b, struct nano_view xbc,
                                   struct nano_view dt, const struct nano_recurrence *shape,
                                   const struct nano_tensor *a, const struct nano_tensor *d,
                                   const struct nano_tensor *dt_bias);
struct nano_view nano_build_delta_net(struct nano_builder *b, struct nano_view qkv,
                                      struct nano_view alpha, struct nano_view beta,
                                      const struct nano_recurrence *shape,
                                      const struct nano_tensor *a,
                                      const struct nano_tensor *alpha_bias);
struct nano_view nano_build_gather(struct nano_builder *b, struct nano_view in);
struct nano_view nano_build_logits(struct nano_builder *b, struct nano_view in,
                                   const struct nano_tensor *weight);

/* What ends an encoder, in place of the logits: its output is the rows of in. */
void nano_build_hidden_rows(struct nano_builder *b, struct nano_view in);

/* The same by the layer's tensor names: "blk.L.NAME.weight" and "blk.L.NAME.bias"; the name is the
 * label too. */
enum nano_bias { NANO_BIAS_NONE, NANO_BIAS_OPTIONAL, NANO_BIAS_REQUIRED };
struct nano_view nano_build_layer_linear(struct nano_builder *b, const char *name,
                                         struct nano_view in, int64_t rows, enum nano_bias bias);
struct nano_view nano_build_layer_norm(struct nano_builder *b, const char *name,
                                       struct nano_view in, int64_t group_width);

/* The dense feed-forward half of most layers, added to x: "ffn_norm", then
 * ffn_down(silu(ffn_gate) * ffn_up). */
void nano_build_swiglu_ffn(struct nano_builder *b, struct nano_view x, enum nano_bias bias);

/* True if the layer has "blk.L.NAME.weight". */
bool nano_build_layer_has(const struct nano_builder *b, const char *name);

/* LayerNorm of all columns, by the layer's tensor names. */
struct nano_view nano_build_layer_mean_norm(struct nano_builder *b, const char *name,
                                            struct nano_view in, enum nano_bias bias);

/* q, k and v from "attn_q", "attn_k" and "attn_v", or from "attn_qkv", which is all of them: which
 * of both a file has is looked at, and the usual one is asked for where it has neither. */
struct nano_qkv {
    struct nano_view q, k, v;
};
struct nano_qkv nano_build_layer_qkv(struct nano_builder *b, struct nano_view in,
                                     enum nano_bias bias);
struct nano_qkv nano_build_layer_fused_qkv(struct nano_builder *b, struct nano_view in,
                                           enum nano_bias bias);
void nano_build_qk_rope(struct nano_builder *b, const struct nano_qkv *qkv, int rope);

/* The window of the current layer, 0 for none: attention.sliding_window in the layers that
 * attention.sliding_window_pattern names, by a flag for each or by a period whose last layer sees
 * everything. */
int nano_build_layer_window(struct nano_builder *b, int default_window, int default_period);

/* ffn_down(act(ffn_up)), and ffn_down(act(ffn_gate) * ffn_up). */
struct nano_view nano_build_mlp(struct nano_builder *b, struct nano_view in, enum nano_act act,
                                enum nano_bias bias);
struct nano_view nano_build_gated_mlp(struct nano_builder *b, struct nano_view in,
                                      enum nano_act act, enum nano_bias bias);

/* As nano_build_head, with LayerNorm. */
void nano_build_mean_norm_head(struct nano_builder *b, struct nano_view x,
                               const struct nano_tensor *embedding);
/* A feed-forward of experts, and of one that every row goes to. */
struct nano_moe_ffn {
    struct nano_moe moe;
    int64_t expert_size, shared_size; /* intermediate sizes; shared_size 0: no shared expert */
    bool shared_gate;    /* the shared one's result is times sigmoid of "ffn_gate_inp_shexp" */
    enum nano_act act;   /* of the experts; the shared one's is SILU */
    enum nano_bias bias; /* of router and experts */
    const char *norm;    /* name of the weights of the norm before it */
    float residual_scale;
};

/* The number of experts, 0 for a dense model, which has no router. */
int64_t nano_build_num_experts(struct nano_builder *b);

/* What the metadata says of experts, which must be there: expert_count, expert_used_count,
 * expert_feed_forward_length and expert_shared_feed_forward_length (0: not said),
 * expert_gating_func, expert_weights_norm and _scale, expert_group_count and _used_count. The rest
 * is SILU, no biases, "ffn_norm". `gating` and `normalize` stand where the file says nothing. */
struct nano_moe_ffn nano_build_moe_config(struct nano_builder *b, enum nano_gating gating,
                                          bool normalize);

/* Added to x, times residual_scale: the norm, the router "ffn_gate_inp" with a choice bias
 * "exp_probs_b" where there is one, experts "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps", and
 * the shared expert's "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp". */
void nano_build_moe_ffn(struct nano_builder *b, struct nano_view x, const struct nano_moe_ffn *ffn);

/* What ends most models: rows that are sampled, "output_norm.weight", logits with "output.weight"
 * or, without one, the embedding's matrix. Returns the logits. */
struct nano_view nano_build_head(struct nano_builder *b, struct nano_view x,
                                 const struct nano_tensor *embedding);

/* Adds the rotary embedding that the metadata describes (rope.freq_base, rope.dimension_count,
 * rope.scaling.*, rope_freqs.weight, rope_factors_{long,short}.weight: linear, YaRN, Llama 3,
 * LongRoPE) and returns its index. */
int nano_build_rope_from_metadata(struct nano_builder *b, bool adjacent);

/* The same, but for what is not zero. */
struct nano_rope_options {
    bool adjacent;
    bool unscaled;    /* none of rope.scaling.*, no factors */
    double freq_base; /* instead of rope.freq_base */
    int64_t head_dim; /* instead of the config's */
    double magnitude; /* instead of YaRN's, still times rope.scaling.attn_factor */
};
int nano_build_rope_from_metadata_with(struct nano_builder *b,
                                       const struct nano_rope_options *options);

#endif
