/* Builder, third part: what several architectures' layers have in common. */
#include <stdio.h>

#include "models/builder.h"

#define NAME_BYTES 96

static const struct nano_tensor *layer_bias(struct nano_builder *b, const char *name, int64_t width,
                                            enum nano_bias rule)
{
    char full_name[NAME_BYTES];
    snprintf(full_name, sizeof full_name, "blk.%%d.%s.bias", name);
    if (rule == NANO_BIAS_REQUIRED)
        return nano_build_weight(b, full_name, width, 0);
    return rule == NANO_BIAS_OPTIONAL ? nano_build_weight_optional(b, full_name, width, 0) : NULL;
}

bool nano_build_layer_has(const struct nano_builder *b, const char *name)
{
    char full_name[NAME_BYTES];
    snprintf(full_name, sizeof full_name, "blk.%d.%s.weight", b->layer, name);
    return nano_weights_find(b->weights, full_name) != NULL;
}

struct nano_view nano_build_layer_mean_norm(struct nano_builder *b, const char *name,
                                            struct nano_view in, enum nano_bias bias_rule)
{
    char full_name[NAME_BYTES];
    snprintf(full_name, sizeof full_name, "blk.%%d.%s.weight", name);
    const struct nano_tensor *weight = nano_build_weight(b, full_name, in.width, 0);
    const struct nano_tensor *bias = layer_bias(b, name, in.width, bias_rule);
    return nano_build_mean_norm(b, name, in, weight, bias, in.width);
}

static struct nano_qkv build_qkv(struct nano_builder *b, struct nano_view in, enum nano_bias bias,
                                 bool fused)
{
    const struct nano_model_config *c = &b->program->config;
    const int64_t q_width = c->num_heads * c->head_dim, kv_width = c->num_kv_heads * c->head_dim;
    if (nano_build_float(b, "attention.clamp_kqv", 0, 1e30, 0) > 0)
        nano_build_fail(b, NANO_ERR_UNSUPPORTED, "%s.attention.clamp_kqv is not supported",
                        c->architecture);
    if (fused) {
        const struct nano_view qkv =
            nano_build_layer_linear(b, "attn_qkv", in, q_width + 2 * kv_width, bias);
        return (struct nano_qkv){.q = nano_build_slice(b, qkv, 0, q_width),
                                 .k = nano_build_slice(b, qkv, q_width, kv_width),
                                 .v = nano_build_slice(b, qkv, q_width + kv_width, kv_width)};
    }
    struct nano_qkv out;
    out.q = nano_build_layer_linear(b, "attn_q", in, q_width, bias);
    out.k = nano_build_layer_linear(b, "attn_k", in, kv_width, bias);
    out.v = nano_build_layer_linear(b, "attn_v", in, kv_width, bias);
    return out;
}

struct nano_qkv nano_build_layer_qkv(struct nano_builder *b, struct nano_view in,
                                     enum nano_bias bias)
{
    return build_qkv(b, in, bias, nano_build_layer_has(b, "attn_qkv"));
}

struct nano_qkv nano_build_layer_fused_qkv(struct nano_builder *b, struct nano_view in,
                                           enum nano_bias bias)
{
    return build_qkv(b, in, bias, !nano_build_layer_has(b, "attn_q"));
}

void nano_build_qk_rope(struct nano_builder *b, const struct nano_qkv *qkv, int rope)
{
    const struct nano_model_config *c = &b->program->config;
    nano_build_rope(b, "rope_q", qkv->q, (int)c->num_heads, rope);
    nano_build_rope(b, "rope_k", qkv->k, (int)c->num_kv_heads, rope);
}

int nano_build_layer_window(struct nano_builder *b, int default_window, int default_period)
{
    const char *key = "attention.sliding_window_pattern";
    const int window =
        (int)nano_build_int(b, "attention.sliding_window", 0, 1 << 30, default_window);
    const int64_t pattern = nano_build_layer_int(b, key, b->layer, 0, 1 << 16, default_period);
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s.%s", b->program->config.architecture, key);
    const struct nano_meta *meta = nano_weights_meta(b->weights, name);
    if (b->status != NANO_OK)
        return 0;
    if (meta && meta->type == NANO_META_ARRAY)
        return pattern ? window : 0;
    return pattern == 0 || b->layer % pattern < pattern - 1 ? window : 0;
}

static void require_ffn(struct nano_builder *b)
{
    if (b->program->config.intermediate_size < 1)
        nano_build_fail(b, NANO_ERR_FORMAT, "metadata key '%s.feed_forward_length' is missing",
                        b->program->config.architecture);
}

struct nano_view nano_build_mlp(struct nano_builder *b, struct nano_view in, enum nano_act act,
                                enum nano_bias bias)
{
    const struct nano_model_config *c = &b->program->config;
    require_ffn(b);
    struct nano_view h = nano_build_layer_linear(b, "ffn_up", in, c->intermediate_size, bias);
    nano_build_activate(b, act, h);
    return nano_build_layer_linear(b, "ffn_down", h, c->hidden_size, bias);
}

struct nano_view nano_build_gated_mlp(struct nano_builder *b, struct nano_view in,
                                      enum nano_act act, enum nano_bias bias)
{
    const struct nano_model_config *c = &b->program->config;
    require_ffn(b);
    struct nano_view gate = nano_build_layer_linear(b, "ffn_gate", in, c->intermediate_size, bias);
    struct nano_view up = nano_build_layer_linear(b, "ffn_up", in, c->intermediate_size, bias);
    return nano_build_layer_linear(b, "ffn_down", nano_build_glu(b, act, gate, up), c->hidden_size,
                                   bias);
}

void nano_build_mean_norm_head(struct nano_builder *b, struct nano_view x,
                               const struct nano_tensor *embedding)
{
    const struct nano_model_config *c = &b->program->config;
    b->layer = -1;
    x = nano_build_gather(b, x);
    const struct nano_tensor *weight =
        nano_build_weight(b, "output_norm.weight", c->hidden_size, 0);
    const struct nano_tensor *bias = nano_build_weight(b, "output_norm.bias", c->hidden_size, 0);
    const struct nano_tensor *output =
        nano_build_weight_optional(b, "output.weight", c->hidden_size, c->vocab_size);
    x = nano_build_mean_norm(b, "output_norm", x, weight, bias, c->hidden_size);
    nano_build_logits(b, x, output ? output : embedding);
}
