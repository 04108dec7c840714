/* Builder, third part: feed-forwards of experts. */
#include <stdio.h>

#include "models/builder.h"

#define MAX_EXPERTS 4096
#define MAX_EXPERT_SIZE ((int64_t)1 << 22)
#define NAME_BYTES 96

static void layer_tensor_name(const struct nano_builder *b, const char *name, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "blk.%d.%s", b->layer < 0 ? 0 : b->layer, name);
}

static bool have_tensor(const struct nano_builder *b, const char *name)
{
    char full_name[NAME_BYTES];
    layer_tensor_name(b, name, full_name);
    return nano_weights_find(b->weights, full_name) != NULL;
}

int64_t nano_build_num_experts(struct nano_builder *b)
{
    const int64_t num_experts = nano_build_int(b, "expert_count", 0, MAX_EXPERTS, 0);
    if (num_experts == 0 && have_tensor(b, "ffn_gate_inp.weight"))
        nano_build_fail(b, NANO_ERR_FORMAT,
                        "'%s.expert_count' is missing or 0, but there is a router, tensor "
                        "'blk.0.ffn_gate_inp.weight'",
                        b->program->config.architecture);
    return num_experts;
}

/* As llama.cpp numbers them; 0: not said. */
static enum nano_gating read_gating(struct nano_builder *b, enum nano_gating fallback)
{
    switch (nano_build_int(b, "expert_gating_func", 0, 3, 0)) {
    case 1:
        return NANO_GATING_SOFTMAX;
    case 2:
        return NANO_GATING_SIGMOID;
    case 3:
        return NANO_GATING_SOFTMAX_USED;
    default:
        return fallback;
    }
}

static void read_groups(struct nano_builder *b, struct nano_moe *moe)
{
    const char *architecture = b->program->config.architecture;
    int64_t groups = nano_build_int(b, "expert_group_count", 0, moe->num_experts, 0);
    groups = groups < 1 ? 1 : groups;
    int64_t used = nano_build_int(b, "expert_group_used_count", 0, groups, groups);
    used = used < 1 ? groups : used;
    if (b->status != NANO_OK)
        groups = used = 1;
    if (moe->num_experts % groups)
        nano_build_fail(b, NANO_ERR_FORMAT,
                        "%s.expert_count %d is no multiple of expert_group_count %lld",
                        architecture, moe->num_experts, (long long)groups);
    else if (used * (moe->num_experts / groups) < moe->num_used)
        nano_build_fail(b, NANO_ERR_FORMAT,
                        "%s.expert_used_count is %d, expected at most the %lld experts of %lld "
                        "groups",
                        architecture, moe->num_used,
                        (long long)(used * (moe->num_experts / groups)), (long long)used);
    moe->num_groups = (int)groups;
    moe->num_groups_used = (int)used;
}

struct nano_moe_ffn nano_build_moe_config(struct nano_builder *b, enum nano_gating gating,
                                          bool normalize)
{
    struct nano_moe_ffn ffn = {
        .act = NANO_ACT_SILU, .norm = "ffn_norm", .bias = NANO_BIAS_NONE, .residual_scale = 1};
    struct nano_moe *moe = &ffn.moe;
    moe->num_experts = (int)nano_build_int(b, "expert_count", 1, MAX_EXPERTS, NANO_REQUIRED);
    moe->num_used = (int)nano_build_int(b, "expert_used_count", 1, moe->num_experts, NANO_REQUIRED);
    moe->gating = read_gating(b, gating);
    moe->normalize = nano_build_bool(b, "expert_weights_norm", normalize);
    moe->scale = (float)nano_build_float(b, "expert_weights_scale", 0, 1e6, 0);
    if (moe->scale == 0) /* not said */
        moe->scale = 1;
    read_groups(b, moe);
    ffn.expert_size = nano_build_int(b, "expert_feed_forward_length", 0, MAX_EXPERT_SIZE, 0);
    ffn.shared_size = nano_build_int(b, "expert_shared_feed_forward_length", 0, MAX_EXPERT_SIZE, 0);
    return ffn;
}

/* What converters once wrote, or write for other engines, is not only missing. */
static void refuse_other_layouts(struct nano_builder *b)
{
    char name[NAME_BYTES];
    if (have_tensor(b, "ffn_gate_exps.weight"))
        return;
    if (have_tensor(b, "ffn_gate.0.weight")) {
        layer_tensor_name(b, "ffn_gate.0.weight", name);
        nano_build_fail(b, NANO_ERR_UNSUPPORTED,
                        "tensor '%s' is of a single expert, expected all of a layer in one: an old "
                        "file, convert the model again",
                        name);
    } else if (have_tensor(b, "ffn_gate_up_exps.weight")) {
        layer_tensor_name(b, "ffn_gate_up_exps.weight", name);
        nano_build_fail(b, NANO_ERR_UNSUPPORTED,
                        "tensor '%s' holds gate and up of all experts, expected one tensor each",
                        name);
    }
}

/* "blk.L.NAME.bias" [rows, num_experts], or NULL. */
static const struct nano_tensor *expert_bias(struct nano_builder *b, const char *name, int64_t rows,
                                             const struct nano_moe_ffn *ffn)
{
    char full_name[NAME_BYTES];
    snprintf(full_name, sizeof full_name, "blk.%%d.%s.bias", name);
    const struct nano_tensor *bias = NULL;
    if (ffn->bias == NANO_BIAS_REQUIRED)
        bias = nano_build_weight(b, full_name, rows, ffn->moe.num_experts);
    else if (ffn->bias == NANO_BIAS_OPTIONAL)
        bias = nano_build_weight_optional(b, full_name, rows, ffn->moe.num_experts);
    if (bias && bias->format != NANO_FORMAT_F32)
        nano_build_fail(b, NANO_ERR_UNSUPPORTED, "tensor '%s': format %s, expected F32",
                        bias->name.bytes, nano_format_traits(bias->format)->name);
    return bias;
}

static struct nano_view build_experts(struct nano_builder *b, struct nano_view h,
                                      struct nano_view logits, const struct nano_moe_ffn *ffn)
{
    const int64_t hidden = b->program->config.hidden_size, size = ffn->expert_size,
                  count = ffn->moe.num_experts;
    const struct nano_tensor *choice_bias =
        nano_build_weight_optional(b, "blk.%d.exp_probs_b.bias", count, 0);
    const struct nano_tensor *const weight[] = {
        nano_build_weight_3d(b, "blk.%d.ffn_gate_exps.weight", hidden, size, count),
        nano_build_weight_3d(b, "blk.%d.ffn_up_exps.weight", hidden, size, count),
        nano_build_weight_3d(b, "blk.%d.ffn_down_exps.weight", size, hidden, count)};
    const struct nano_tensor *const bias[] = {expert_bias(b, "ffn_gate_exps", size, ffn),
                                              expert_bias(b, "ffn_up_exps", size, ffn),
                                              expert_bias(b, "ffn_down_exps", hidden, ffn)};
    struct nano_view routes = nano_build_route(b, logits, choice_bias, &ffn->moe);
    return nano_build_moe(b, h, routes, ffn->act, &ffn->moe, weight, bias);
}

static struct nano_view build_shared_expert(struct nano_builder *b, struct nano_view h,
                                            int64_t size)
{
    struct nano_view gate = nano_build_layer_linear(b, "ffn_gate_shexp", h, size, NANO_BIAS_NONE);
    struct nano_view up = nano_build_layer_linear(b, "ffn_up_shexp", h, size, NANO_BIAS_NONE);
    struct nano_view act = nano_build_glu(b, NANO_ACT_SILU, gate, up);
    return nano_build_layer_linear(b, "ffn_down_shexp", act, b->program->config.hidden_size,
                                   NANO_BIAS_NONE);
}

void nano_build_moe_ffn(struct nano_builder *b, struct nano_view x, const struct nano_moe_ffn *ffn)
{
    if (b->status == NANO_OK && ffn->expert_size < 1)
        nano_build_fail(b, NANO_ERR_FORMAT,
                        "metadata key '%s.expert_feed_forward_length' is missing",
                        b->program->config.architecture);
    refuse_other_layouts(b);
    struct nano_view h = nano_build_layer_norm(b, ffn->norm, x, b->program->config.hidden_size);
    struct nano_view logits =
        nano_build_layer_linear(b, "ffn_gate_inp", h, ffn->moe.num_experts, ffn->bias);
    struct nano_view gate = {0};
    if (ffn->shared_size && ffn->shared_gate)
        gate = nano_build_layer_linear(b, "ffn_gate_inp_shexp", h, 1, NANO_BIAS_NONE);
    nano_build_add_scaled(b, x, build_experts(b, h, logits, ffn), ffn->residual_scale);
    if (!ffn->shared_size)
        return;
    struct nano_view shared = build_shared_expert(b, h, ffn->shared_size);
    if (ffn->shared_gate)
        shared = nano_build_glu(b, NANO_ACT_SIGMOID, gate, shared);
    nano_build_add_scaled(b, x, shared, ffn->residual_scale);
}
