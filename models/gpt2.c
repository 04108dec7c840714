/* gpt2: GPT-2 and models of its form.
 *
 *   token_embd + position_embd ─▶ x
 *   x ─┬─ attn_norm ─ attn_qkv ─ attention ─ attn_output ─ + ─▶ x
 *      └───────────────────────────────────────────────────┘
 *   x ─┬─ ffn_norm ─ ffn_up ─ gelu ─ ffn_down ─ + ─▶ x of the next layer
 *      └────────────────────────────────────────┘
 *
 * Differs from llama: learned positions, so no sequence is longer than their table, and no rotary
 * embedding; LayerNorm with biases everywhere; a feed-forward without gate. */
#include "models/builder.h"

static void build_layer(struct nano_builder *b, struct nano_view x)
{
    const struct nano_model_config *c = &b->program->config;
    struct nano_view h = nano_build_layer_mean_norm(b, "attn_norm", x, NANO_BIAS_REQUIRED);
    struct nano_qkv qkv = nano_build_layer_fused_qkv(b, h, NANO_BIAS_REQUIRED);
    struct nano_view attention = nano_build_attention(b, qkv.q, qkv.k, qkv.v, 0);
    nano_build_add(
        b, x,
        nano_build_layer_linear(b, "attn_output", attention, c->hidden_size, NANO_BIAS_REQUIRED));
    h = nano_build_layer_mean_norm(b, "ffn_norm", x, NANO_BIAS_REQUIRED);
    nano_build_add(b, x, nano_build_mlp(b, h, NANO_ACT_GELU, NANO_BIAS_REQUIRED));
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);
    const struct nano_tensor *positions =
        nano_build_weight(b, "position_embd.weight", c->hidden_size, c->max_position_embeddings);

    struct nano_view x = nano_build_embed(b, embedding, 1);
    nano_build_position_embed(b, x, positions);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x);
    nano_build_mean_norm_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_gpt2 = {"gpt2", build};
