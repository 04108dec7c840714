/* falcon: Falcon 7B and 40B.
 *
 *   x ──┬─ attn_norm ─┬─ attn_qkv ─ rope ─ attention ─ attn_output ─ + ─▶
 *       │             └─ ffn_up ─ gelu ─ ffn_down ───────────────────┤
 *       └────────────────────────────────────────────────────────────┘
 *
 * Differs from llama: LayerNorm with biases, no other biases, a feed-forward without gate, and both
 * halves of a layer read the same x. In the 40B form attention has a norm of its own:
 * attn_norm_2. */
#include "models/builder.h"

static void build_layer(struct nano_builder *b, struct nano_view x, int rope)
{
    const struct nano_model_config *c = &b->program->config;
    const bool two_norms = nano_build_layer_has(b, "attn_norm_2");
    const char *name = two_norms ? "attn_norm_2" : "attn_norm";
    struct nano_view h = nano_build_layer_mean_norm(b, name, x, NANO_BIAS_REQUIRED);
    struct nano_qkv qkv = nano_build_layer_fused_qkv(b, h, NANO_BIAS_NONE);
    nano_build_qk_rope(b, &qkv, rope);
    struct nano_view attention = nano_build_attention(b, qkv.q, qkv.k, qkv.v, 0);
    if (two_norms)
        h = nano_build_layer_mean_norm(b, "attn_norm", x, NANO_BIAS_REQUIRED);
    nano_build_add(b, x, nano_build_mlp(b, h, NANO_ACT_GELU, NANO_BIAS_NONE));
    nano_build_add(
        b, x, nano_build_layer_linear(b, "attn_output", attention, c->hidden_size, NANO_BIAS_NONE));
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

const struct nano_architecture nano_architecture_falcon = {"falcon", build};
