/* llama: Llama 1-3, Mistral, TinyLlama, SmolLM and others that converters call "llama".
 *
 *   x ──┬─ attn_norm ─┬─ attn_q ─ rope ─┐
 *       │             ├─ attn_k ─ rope ─┼─ attention ─ attn_output ─ + ─┐
 *       │             └─ attn_v ────────┘                            │  │
 *       └────────────────────────────────────────────────────────────┘  │
 *   ┌───────────────────────────────────────────────────────────────────┘
 *   ├─ ffn_norm ─┬─ ffn_gate ─ silu ─┐
 *   │            └─ ffn_up ───────── × ─ ffn_down ─ + ─▶ x of the next layer
 *   └──────────────────────────────────────────────┘
 *
 *   x of the last layer ─ output_norm ─ output (or the embedding, tied) ─▶ logits
 *
 * A mixture of experts (Mixtral) has a router and experts for ffn_gate, ffn_up and ffn_down; the
 * weights of the chosen ones sum up to 1.
 *
 * Grouped-query attention: num_heads / num_kv_heads query heads share a key and value head. q and
 * k are for rotary pairs (2i, 2i+1). Models with attention_bias or mlp_bias have biases;
 * rope_freqs.weight stretches Llama 3.1's context. */
#include <math.h>

#include "models/builder.h"

static void build_layer(struct nano_builder *b, struct nano_view x, int rope,
                        const struct nano_moe_ffn *moe)
{
    const struct nano_model_config *c = &b->program->config;
    const int64_t q_width = c->num_heads * c->head_dim, kv_width = c->num_kv_heads * c->head_dim;

    struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
    struct nano_view q = nano_build_layer_linear(b, "attn_q", h, q_width, NANO_BIAS_OPTIONAL);
    struct nano_view k = nano_build_layer_linear(b, "attn_k", h, kv_width, NANO_BIAS_OPTIONAL);
    struct nano_view v = nano_build_layer_linear(b, "attn_v", h, kv_width, NANO_BIAS_OPTIONAL);
    nano_build_rope(b, "rope_q", q, (int)c->num_heads, rope);
    nano_build_rope(b, "rope_k", k, (int)c->num_kv_heads, rope);
    struct nano_view attention = nano_build_attention(b, q, k, v, 1 / sqrtf((float)c->head_dim));
    nano_build_add(
        b, x,
        nano_build_layer_linear(b, "attn_output", attention, c->hidden_size, NANO_BIAS_OPTIONAL));

    if (moe)
        nano_build_moe_ffn(b, x, moe);
    else
        nano_build_swiglu_ffn(b, x, NANO_BIAS_OPTIONAL);
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    const bool is_moe = nano_build_num_experts(b) > 0;
    struct nano_moe_ffn moe = {0};
    if (is_moe)
        moe = nano_build_moe_config(b, NANO_GATING_SOFTMAX, true);
    if (is_moe && !moe.expert_size)
        moe.expert_size = c->intermediate_size;
    const int rope = nano_build_rope_from_metadata(b, true);
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, 1);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, rope, is_moe ? &moe : NULL);
    nano_build_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_llama = {"llama", build};
