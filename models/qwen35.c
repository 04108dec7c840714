/* qwen35: Qwen 3.5 (dense).
 *
 *   x ─┬─ attn_norm ─┬─ attn_qkv ─ ssm_conv1d ─ silu ─┐
 *      │             ├─ ssm_alpha, ssm_beta ──────────┴─ delta rule ─ ssm_norm ─ × ─ ssm_out ─ + ─┐
 *      │             └─ attn_gate ─ silu ────────────────────────────────────────┘             │  │
 *      └───────────────────────────────────────────────────────────────────────────────────────┘  │
 *   ┌─────────────────────────────────────────────────────────────────────────────────────────────┘
 *   ├─ post_attention_norm ─┬─ ffn_gate ─ silu ─┐
 *   │                       └─ ffn_up ───────── × ─ ffn_down ─ + ─▶ x of the next layer
 *   └─────────────────────────────────────────────────────────┘
 *
 * Every full_attention_interval-th layer has gated attention instead. Text has the same position in
 * all sections of its rotary embedding, so they do not matter. Value head h goes with key head h
 * modulo their number. */
#include "models/recurrent.h"

static struct nano_view build_delta_net(struct nano_builder *b, struct nano_view in,
                                        const struct nano_recurrent_shape *shape)
{
    const struct nano_recurrence *heads = &shape->heads;
    const int64_t keys = (int64_t)heads->num_key_heads * heads->state_size;
    struct nano_delta_inputs inputs;
    inputs.qkv =
        nano_build_layer_linear(b, "attn_qkv", in, 2 * keys + shape->inner_size, NANO_BIAS_NONE);
    inputs.z = nano_build_layer_linear(b, "attn_gate", in, shape->inner_size, NANO_BIAS_NONE);
    inputs.alpha = nano_build_layer_linear(b, "ssm_alpha", in, heads->num_heads, NANO_BIAS_NONE);
    inputs.beta = nano_build_layer_linear(b, "ssm_beta", in, heads->num_heads, NANO_BIAS_NONE);
    return nano_build_delta_mixer(b, &inputs, shape);
}

static void build_layer(struct nano_builder *b, struct nano_view x,
                        const struct nano_recurrent_shape *shape, int rope)
{
    const struct nano_model_config *c = &b->program->config;
    struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
    nano_build_add(b, x,
                   nano_build_layer_is_recurrent(b) ? build_delta_net(b, h, shape)
                                                    : nano_build_gated_attention(b, h, rope));
    h = nano_build_layer_norm(b, "post_attention_norm", x, c->hidden_size);
    nano_build_add(b, x, nano_build_gated_mlp(b, h, NANO_ACT_SILU, NANO_BIAS_NONE));
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    struct nano_recurrent_shape shape = nano_build_recurrent_shape(b);
    shape.heads.interleaved = true;
    const int rope = nano_build_rope_from_metadata(b, false);
    nano_build_drop_nextn(b);
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, 1);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, &shape, rope);
    nano_build_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_qwen35 = {"qwen35", build};
