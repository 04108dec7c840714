/* starcoder2: StarCoder 2, and Granite's code models of its form.
 *
 *   x ─┬─ attn_norm ─ attn_q, k, v ─ rope ─ attention ─ attn_output ─ + ─▶ x
 *      └──────────────────────────────────────────────────────────────┘
 *   x ─┬─ ffn_norm ─ ffn_up ─ gelu ─ ffn_down ─ + ─▶ x of the next layer
 *      └────────────────────────────────────────┘
 *
 * Differs from llama: LayerNorm with biases, biases everywhere, a feed-forward without gate. */
#include "models/builder.h"

static void build_layer(struct nano_builder *b, struct nano_view x, int rope)
{
    const struct nano_model_config *c = &b->program->config;
    struct nano_view h = nano_build_layer_mean_norm(b, "attn_norm", x, NANO_BIAS_REQUIRED);
    struct nano_qkv qkv = nano_build_layer_qkv(b, h, NANO_BIAS_OPTIONAL);
    nano_build_qk_rope(b, &qkv, rope);
    struct nano_view attention = nano_build_attention(b, qkv.q, qkv.k, qkv.v, 0);
    nano_build_add(
        b, x,
        nano_build_layer_linear(b, "attn_output", attention, c->hidden_size, NANO_BIAS_OPTIONAL));
    h = nano_build_layer_mean_norm(b, "ffn_norm", x, NANO_BIAS_REQUIRED);
    nano_build_add(b, x, nano_build_mlp(b, h, NANO_ACT_GELU, NANO_BIAS_OPTIONAL));
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    const int rope = nano_build_rope_from_metadata(b, false);
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, 1);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, rope);
    nano_build_mean_norm_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_starcoder2 = {"starcoder2", build};
