/* granite, granitemoe, granitehybrid: Granite 3 and 4, dense or of experts.
 *
 *   token_embd × embedding_scale ─▶ x
 *   x ─┬─ attn_norm ─ attn_q, k, v ─ rope ─ attention ─ attn_output ─ × s ─ + ─▶ x
 *      └───────────────────────────────────────────────────────────────────┘
 *   x ─┬─ ffn_norm ─ SwiGLU, or experts and a shared one ─ × s ─ + ─▶ x of the next layer
 *      └─────────────────────────────────────────────────────────┘
 *   x of the last layer ─ output_norm ─ output ─ / logit_scale ─▶ logits
 *
 * Differs from llama: four multipliers, s = residual_scale and attention.scale among them; no
 * rotary embedding where rope.scaling.finetuned is false. In a granitehybrid the layers without kv
 * heads have the mixer of mamba2 for their attention. */
#include "models/recurrent.h"

struct granite {
    int rope; /* -1: none */
    float residual_scale, attention_scale;
    bool is_hybrid, is_moe;
    struct nano_recurrent_shape mamba2;
    struct nano_moe_ffn moe;
};

static struct nano_view build_attention(struct nano_builder *b, struct nano_view in,
                                        const struct granite *g)
{
    struct nano_qkv qkv = nano_build_layer_qkv(b, in, NANO_BIAS_OPTIONAL);
    if (g->rope >= 0)
        nano_build_qk_rope(b, &qkv, g->rope);
    struct nano_view out = nano_build_attention(b, qkv.q, qkv.k, qkv.v, g->attention_scale);
    return nano_build_layer_linear(b, "attn_output", out, b->program->config.hidden_size,
                                   NANO_BIAS_OPTIONAL);
}

static void build_layer(struct nano_builder *b, struct nano_view x, const struct granite *g)
{
    const struct nano_model_config *c = &b->program->config;
    struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
    if (g->is_hybrid && nano_build_layer_kv_heads(b) == 0)
        h = nano_build_mamba2_mixer(b, h, &g->mamba2, NANO_BIAS_OPTIONAL);
    else
        h = build_attention(b, h, g);
    nano_build_add_scaled(b, x, h, g->residual_scale);

    if (g->is_moe) {
        nano_build_moe_ffn(b, x, &g->moe);
        return;
    }
    h = nano_build_layer_norm(b, "ffn_norm", x, c->hidden_size);
    h = nano_build_gated_mlp(b, h, NANO_ACT_SILU, NANO_BIAS_OPTIONAL);
    nano_build_add_scaled(b, x, h, g->residual_scale);
}

/* A multiplier; 0 and a missing one stand for 1. */
static float multiplier(struct nano_builder *b, const char *key)
{
    const float value = (float)nano_build_float(b, key, 0, 1e6, 0);
    return value == 0 ? 1 : value;
}

static void build_any(struct nano_builder *b, bool is_hybrid)
{
    const struct nano_model_config *c = nano_build_config(b);
    struct granite g = {
        .rope = -1,
        .residual_scale = multiplier(b, "residual_scale"),
        .attention_scale = (float)nano_build_float(b, "attention.scale", 0, 1e6, 0),
    };
    g.is_hybrid = is_hybrid;
    if (is_hybrid)
        g.mamba2 = nano_build_recurrent_shape(b);
    g.is_moe = nano_build_num_experts(b) > 0;
    if (g.is_moe)
        g.moe = nano_build_moe_config(b, NANO_GATING_SOFTMAX, true);
    if (g.is_moe && !g.moe.expert_size)
        g.moe.expert_size = c->intermediate_size;
    g.moe.residual_scale = g.residual_scale;
    const float embedding_scale = multiplier(b, "embedding_scale");
    const double logit_scale =
        nano_build_float(b, "logit_scale", 1e-6, 1e6, is_hybrid ? 1 : NANO_REQUIRED);
    if (nano_build_bool(b, "rope.scaling.finetuned", true))
        g.rope = nano_build_rope_from_metadata(b, true);
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, embedding_scale);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, &g);
    nano_build_scale(b, nano_build_head(b, x, embedding), (float)(1 / logit_scale));
}

static void build(struct nano_builder *b)
{
    build_any(b, false);
}

static void build_hybrid(struct nano_builder *b)
{
    build_any(b, true);
}

const struct nano_architecture nano_architecture_granite = {"granite", build};
const struct nano_architecture nano_architecture_granitemoe = {"granitemoe", build};
const struct nano_architecture nano_architecture_granitehybrid = {"granitehybrid", build_hybrid};
