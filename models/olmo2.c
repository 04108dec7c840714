/* olmo2: OLMo 2 and OLMo 3.
 *
 *   x ──┬─┬─ attn_q ─ attn_q_norm ─ rope ─┐
 *       │ ├─ attn_k ─ attn_k_norm ─ rope ─┼─ attention ─ attn_output ─ post_attention_norm ─ + ─┐
 *       │ └─ attn_v ──────────────────────┘                                                  │  │
 *       └────────────────────────────────────────────────────────────────────────────────────┘  │
 *   ┌───────────────────────────────────────────────────────────────────────────────────────────┘
 *   ├─ SwiGLU ─ post_ffw_norm ─ + ─▶ x of the next layer
 *   └───────────────────────────┘
 *
 * Differs from llama: norms stand behind attention and feed-forward instead of before them; q and k
 * are normalised over all heads together. OLMo 3: all layers but every fourth see a window, and
 * only those that see everything have YaRN. */
#include "models/builder.h"

static void build_layer(struct nano_builder *b, struct nano_view x, const int ropes[2])
{
    const struct nano_model_config *c = &b->program->config;
    const int window = nano_build_layer_window(b, 0, 4);
    struct nano_qkv qkv = nano_build_layer_qkv(b, x, NANO_BIAS_NONE);
    qkv.q = nano_build_layer_norm(b, "attn_q_norm", qkv.q, qkv.q.width);
    qkv.k = nano_build_layer_norm(b, "attn_k_norm", qkv.k, qkv.k.width);
    nano_build_qk_rope(b, &qkv, ropes[window > 0]);
    struct nano_view h = nano_build_attention_with(
        b, qkv.q, qkv.k, qkv.v, &(struct nano_attention_options){.window = window});
    h = nano_build_layer_linear(b, "attn_output", h, c->hidden_size, NANO_BIAS_NONE);
    nano_build_add(b, x, nano_build_layer_norm(b, "post_attention_norm", h, c->hidden_size));

    h = nano_build_gated_mlp(b, x, NANO_ACT_SILU, NANO_BIAS_NONE);
    nano_build_add(b, x, nano_build_layer_norm(b, "post_ffw_norm", h, c->hidden_size));
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    const int ropes[2] = {
        nano_build_rope_from_metadata(b, false),
        nano_build_rope_from_metadata_with(b, &(struct nano_rope_options){.unscaled = true})};
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, 1);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, ropes);
    nano_build_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_olmo2 = {"olmo2", build};
