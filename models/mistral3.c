/* mistral3: Ministral 3 and Mistral models that converters call so (dense).
 *
 *   x ──┬─ attn_norm ─┬─ attn_q ─ rope ─ × temperature ─┐
 *       │             ├─ attn_k ─ rope ─────────────────┼─ attention ─ attn_output ─ + ─┐
 *       │             └─ attn_v ────────────────────────┘                            │  │
 *       └────────────────────────────────────────────────────────────────────────────┘  │
 *   ┌───────────────────────────────────────────────────────────────────────────────────┘
 *   ├─ ffn_norm ─ SwiGLU ─ + ─▶ x of the next layer
 *   └──────────────────────┘
 *
 * Differs from llama: YaRN whose magnitude is divided by yarn_log_multiplier's; queries far behind
 * the original context n are sharpened: q is multiplied by
 * 1 + temperature_scale * ln(1 + floor(position / n)). */
#include "models/builder.h"

struct temperature {
    float scale; /* 0: none */
    int length;
};

static void build_layer(struct nano_builder *b, struct nano_view x, int rope,
                        const struct temperature *temperature)
{
    const struct nano_model_config *c = &b->program->config;
    struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
    struct nano_qkv qkv = nano_build_layer_qkv(b, h, NANO_BIAS_OPTIONAL);
    nano_build_qk_rope(b, &qkv, rope);
    if (temperature->scale > 0)
        nano_build_position_scale(b, qkv.q, temperature->scale, temperature->length);
    struct nano_view attention = nano_build_attention(b, qkv.q, qkv.k, qkv.v, 0);
    nano_build_add(
        b, x,
        nano_build_layer_linear(b, "attn_output", attention, c->hidden_size, NANO_BIAS_OPTIONAL));

    nano_build_swiglu_ffn(b, x, NANO_BIAS_OPTIONAL);
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    if (nano_build_int(b, "expert_count", 0, 1 << 16, 0) > 0)
        nano_build_fail(b, NANO_ERR_UNSUPPORTED, "mixtures of experts are not supported in %s",
                        c->architecture);
    const struct temperature temperature = {
        .scale = (float)nano_build_float(b, "attention.temperature_scale", 0, 100, 0),
        .length = (int)nano_build_int(b, "rope.scaling.original_context_length", 1, 1 << 30,
                                      c->max_position_embeddings),
    };
    const int rope = nano_build_rope_from_metadata(b, true);
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, 1);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, rope, &temperature);
    nano_build_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_mistral3 = {"mistral3", build};
