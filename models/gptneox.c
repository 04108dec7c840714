/* gptneox: GPT-NeoX, Pythia, Dolly and others.
 *
 *   x ──┬─ attn_norm ─ attn_qkv ─ rope ─ attention ─ attn_output ─ + ─▶
 *       ├─ ffn_norm ─ ffn_up ─ gelu ─ ffn_down ────────────────────┤
 *       └──────────────────────────────────────────────────────────┘
 *
 * Differs from llama: LayerNorm with biases everywhere, a feed-forward without gate, and both
 * halves of a layer read the same x unless use_parallel_residual is false. */
#include "models/builder.h"

static void add_mlp(struct nano_builder *b, struct nano_view x)
{
    struct nano_view h = nano_build_layer_mean_norm(b, "ffn_norm", x, NANO_BIAS_REQUIRED);
    nano_build_add(b, x, nano_build_mlp(b, h, NANO_ACT_GELU, NANO_BIAS_REQUIRED));
}

static void build_layer(struct nano_builder *b, struct nano_view x, int rope, bool parallel)
{
    const struct nano_model_config *c = &b->program->config;
    struct nano_view h = nano_build_layer_mean_norm(b, "attn_norm", x, NANO_BIAS_REQUIRED);
    struct nano_qkv qkv = nano_build_layer_fused_qkv(b, h, NANO_BIAS_REQUIRED);
    nano_build_qk_rope(b, &qkv, rope);
    struct nano_view attention = nano_build_attention(b, qkv.q, qkv.k, qkv.v, 0);
    if (parallel)
        add_mlp(b, x);
    nano_build_add(
        b, x,
        nano_build_layer_linear(b, "attn_output", attention, c->hidden_size, NANO_BIAS_REQUIRED));
    if (!parallel)
        add_mlp(b, x);
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    const bool parallel = nano_build_bool(b, "use_parallel_residual", true);
    const int rope = nano_build_rope_from_metadata(b, false);
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, 1);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, rope, parallel);
    nano_build_mean_norm_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_gptneox = {"gptneox", build};
