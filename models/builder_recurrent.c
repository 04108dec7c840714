/* Builder, fourth part: recurrent layers. */
#include "models/recurrent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 96
#define MAX_HEADS 4096
#define MAX_STATE_SIZE 1024
#define MAX_INNER_SIZE ((int64_t)1 << 20)
#define MAX_KERNEL 64

/* A matrix that is no linear's: it is read where it is. */
static const struct nano_tensor *small_matrix(struct nano_builder *b, const char *name,
                                              int64_t cols, int64_t rows)
{
    const struct nano_tensor *tensor = nano_build_weight(b, name, cols, rows);
    if (tensor && tensor->format != NANO_FORMAT_F32)
        nano_build_fail(b, NANO_ERR_UNSUPPORTED, "tensor '%s': format %s, expected F32",
                        tensor->name.bytes, nano_format_traits(tensor->format)->name);
    return tensor;
}

struct nano_recurrent_shape nano_build_recurrent_shape(struct nano_builder *b)
{
    const char *architecture = b->program->config.architecture;
    struct nano_recurrent_shape shape = {
        .inner_size = nano_build_int(b, "ssm.inner_size", 1, MAX_INNER_SIZE, NANO_REQUIRED)};
    struct nano_recurrence *heads = &shape.heads;
    heads->kernel = (int)nano_build_int(b, "ssm.conv_kernel", 1, MAX_KERNEL, NANO_REQUIRED);
    heads->state_size = (int)nano_build_int(b, "ssm.state_size", 1, MAX_STATE_SIZE, NANO_REQUIRED);
    heads->num_heads = (int)nano_build_int(b, "ssm.time_step_rank", 1, MAX_HEADS, NANO_REQUIRED);
    heads->num_key_heads = (int)nano_build_int(b, "ssm.group_count", 1, MAX_HEADS, NANO_REQUIRED);
    if (shape.inner_size % heads->num_heads)
        nano_build_fail(b, NANO_ERR_FORMAT,
                        "%s.ssm.inner_size %lld is no multiple of ssm.time_step_rank %d",
                        architecture, (long long)shape.inner_size, heads->num_heads);
    if (heads->num_heads % heads->num_key_heads)
        nano_build_fail(b, NANO_ERR_FORMAT,
                        "%s.ssm.time_step_rank %d is no multiple of ssm.group_count %d",
                        architecture, heads->num_heads, heads->num_key_heads);
    if (b->status != NANO_OK)
        return (struct nano_recurrent_shape){.inner_size = 1, .heads = {1, 1, 1, 1, 1, false}};
    heads->head_dim = (int)(shape.inner_size / heads->num_heads);
    return shape;
}

struct nano_view nano_build_layer_conv(struct nano_builder *b, const char *name,
                                       struct nano_view in, int kernel, enum nano_act act,
                                       enum nano_bias bias_rule)
{
    char full_name[NAME_BYTES];
    snprintf(full_name, sizeof full_name, "blk.%%d.%s.weight", name);
    const struct nano_tensor *weight = small_matrix(b, full_name, kernel, in.width), *bias = NULL;
    snprintf(full_name, sizeof full_name, "blk.%%d.%s.bias", name);
    if (bias_rule == NANO_BIAS_REQUIRED)
        bias = nano_build_weight(b, full_name, in.width, 0);
    else if (bias_rule == NANO_BIAS_OPTIONAL)
        bias = nano_build_weight_optional(b, full_name, in.width, 0);
    return nano_build_short_conv(b, name, in, act, weight, bias);
}

struct nano_view nano_build_mamba2_mixer(struct nano_builder *b, struct nano_view in,
                                         const struct nano_recurrent_shape *shape,
                                         enum nano_bias conv_bias)
{
    const struct nano_recurrence *heads = &shape->heads;
    const int64_t inner = shape->inner_size, groups = heads->num_key_heads;
    const int64_t conv_width = inner + 2 * groups * heads->state_size;
    struct nano_view all = nano_build_layer_linear(
        b, "ssm_in", in, inner + conv_width + heads->num_heads, NANO_BIAS_NONE);
    struct nano_view z = nano_build_slice(b, all, 0, inner);
    struct nano_view xbc = nano_build_slice(b, all, inner, conv_width);
    struct nano_view dt = nano_build_slice(b, all, inner + conv_width, heads->num_heads);
    xbc = nano_build_layer_conv(b, "ssm_conv1d", xbc, heads->kernel, NANO_ACT_SILU, conv_bias);
    struct nano_view y =
        nano_build_mamba2(b, xbc, dt, heads, small_matrix(b, "blk.%d.ssm_a", 1, heads->num_heads),
                          small_matrix(b, "blk.%d.ssm_d", 1, heads->num_heads),
                          nano_build_weight(b, "blk.%d.ssm_dt.bias", heads->num_heads, 0));
    y = nano_build_glu(b, NANO_ACT_SILU, z, y);
    y = nano_build_rms_norm(b, "ssm_norm", y,
                            small_matrix(b, "blk.%d.ssm_norm.weight", inner / groups, groups),
                            inner / groups);
    return nano_build_layer_linear(b, "ssm_out", y, b->program->config.hidden_size, NANO_BIAS_NONE);
}

struct nano_view nano_build_delta_mixer(struct nano_builder *b, const struct nano_delta_inputs *in,
                                        const struct nano_recurrent_shape *shape)
{
    const struct nano_recurrence *heads = &shape->heads;
    struct nano_view qkv = nano_build_layer_conv(b, "ssm_conv1d", in->qkv, heads->kernel,
                                                 NANO_ACT_SILU, NANO_BIAS_NONE);
    struct nano_view y =
        nano_build_delta_net(b, qkv, in->alpha, in->beta, heads,
                             nano_build_weight(b, "blk.%d.ssm_a", heads->num_heads, 0),
                             nano_build_weight(b, "blk.%d.ssm_dt.bias", heads->num_heads, 0));
    y = nano_build_layer_norm(b, "ssm_norm", y, heads->head_dim);
    y = nano_build_glu(b, NANO_ACT_SILU, in->z, y);
    return nano_build_layer_linear(b, "ssm_out", y, b->program->config.hidden_size, NANO_BIAS_NONE);
}

struct nano_view nano_build_gated_attention(struct nano_builder *b, struct nano_view in, int rope)
{
    const struct nano_model_config *c = &b->program->config;
    const int64_t q_width = c->num_heads * c->head_dim, kv_width = c->num_kv_heads * c->head_dim;
    const float scale = (float)nano_build_float(b, "attention.scale", 0, 1e6, 0);
    struct nano_view q_gate, gate;
    struct nano_qkv qkv;
    if (nano_build_layer_has(b, "attn_qkv")) {
        const struct nano_view all = nano_build_layer_linear(
            b, "attn_qkv", in, 2 * q_width + 2 * kv_width, NANO_BIAS_OPTIONAL);
        q_gate = nano_build_slice(b, all, 0, 2 * q_width);
        qkv.k = nano_build_slice(b, all, 2 * q_width, kv_width);
        qkv.v = nano_build_slice(b, all, 2 * q_width + kv_width, kv_width);
    } else {
        q_gate = nano_build_layer_linear(b, "attn_q", in, 2 * q_width, NANO_BIAS_OPTIONAL);
        qkv.k = nano_build_layer_linear(b, "attn_k", in, kv_width, NANO_BIAS_OPTIONAL);
        qkv.v = nano_build_layer_linear(b, "attn_v", in, kv_width, NANO_BIAS_OPTIONAL);
    }
    nano_build_split_heads(b, q_gate, (int)c->num_heads, &qkv.q, &gate);
    qkv.q = nano_build_layer_norm(b, "attn_q_norm", qkv.q, c->head_dim);
    qkv.k = nano_build_layer_norm(b, "attn_k_norm", qkv.k, c->head_dim);
    nano_build_qk_rope(b, &qkv, rope);
    struct nano_view out = nano_build_attention(b, qkv.q, qkv.k, qkv.v, scale);
    out = nano_build_glu(b, NANO_ACT_SIGMOID, gate, out);
    return nano_build_layer_linear(b, "attn_output", out, c->hidden_size, NANO_BIAS_NONE);
}

int64_t nano_build_layer_kv_heads(struct nano_builder *b)
{
    const struct nano_model_config *c = &b->program->config;
    const int64_t count = nano_build_layer_int(b, "attention.head_count_kv", b->layer, 0,
                                               c->num_heads, c->num_kv_heads);
    if (count && count != c->num_kv_heads)
        nano_build_fail(b, NANO_ERR_UNSUPPORTED,
                        "%s.attention.head_count_kv is %lld for layer %d and %lld for another",
                        c->architecture, (long long)count, b->layer, (long long)c->num_kv_heads);
    return count;
}

bool nano_build_layer_is_recurrent(struct nano_builder *b)
{
    const int64_t interval = nano_build_int(b, "full_attention_interval", 1, 1 << 16, 4);
    return nano_build_layer_int(b, "attention.recurrent_layers", b->layer, 0, 1,
                                (b->layer + 1) % interval != 0) == 1;
}

void nano_build_drop_nextn(struct nano_builder *b)
{
    struct nano_model_config *c = &b->program->config;
    const int64_t num_nextn = nano_build_int(b, "nextn_predict_layers", 0, c->num_layers - 1, 0);
    if (b->status != NANO_OK)
        return;
    c->num_layers -= num_nextn;
    for (size_t i = 0; i < b->weights->num_tensors && b->used; i++) {
        const char *name = b->weights->tensors[i].name.bytes;
        if (strncmp(name, "blk.", 4) == 0 && strtoll(name + 4, NULL, 10) >= c->num_layers)
            b->used[i] = true;
    }
}
