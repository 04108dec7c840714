/* gpt-oss: OpenAI's open models of experts.
 *
 *   x ──┬─ attn_norm ─ attn_q, k, v + bias ─ rope ─ attention ─ attn_output + bias ─ + ─▶ x
 *       └────────────────────────────────────────────────────────────────────────────┘
 *   x ──┬─ post_attention_norm ─ ffn_gate_inp + bias ─ the best experts, weighted ─ + ─▶ x
 *       └───────────────────────────────────────────────────────────────────────────┘
 *
 * Differs from llama: every even layer sees a window; each head's softmax has a sink, a score that
 * takes its share and gives nothing; experts with biases and a clamped gate, their weights a
 * softmax of the chosen ones' logits; rotary pairs are halves. */
#include "models/builder.h"

struct gpt_oss {
    int rope, window_rope;
    struct nano_moe_ffn moe;
};

static void build_layer(struct nano_builder *b, struct nano_view x, const struct gpt_oss *g)
{
    const struct nano_model_config *c = &b->program->config;
    const int window = nano_build_layer_window(b, NANO_REQUIRED, 2);
    struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
    const struct nano_qkv qkv = nano_build_layer_qkv(b, h, NANO_BIAS_OPTIONAL);
    nano_build_qk_rope(b, &qkv, window ? g->window_rope : g->rope);
    const struct nano_attention_options options = {
        .window = window,
        .sinks = nano_build_weight(b, "blk.%d.attn_sinks.weight", c->num_heads, 0)};
    h = nano_build_attention_with(b, qkv.q, qkv.k, qkv.v, &options);
    nano_build_add(
        b, x, nano_build_layer_linear(b, "attn_output", h, c->hidden_size, NANO_BIAS_REQUIRED));
    nano_build_moe_ffn(b, x, &g->moe);
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    struct gpt_oss g = {.moe = nano_build_moe_config(b, NANO_GATING_SOFTMAX_USED, false)};
    g.moe.act = NANO_ACT_SWIGLU_CLAMPED;
    g.moe.bias = NANO_BIAS_REQUIRED;
    g.moe.norm = "post_attention_norm";
    g.moe.shared_size = 0;
    g.rope = g.window_rope = nano_build_rope_from_metadata(b, false);
    const double window_base = nano_build_float(b, "rope.freq_base_swa", 0, 1e12, 0);
    if (window_base > 0)
        g.window_rope = nano_build_rope_from_metadata_with(
            b, &(struct nano_rope_options){.freq_base = window_base});
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, 1);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, &g);
    nano_build_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_gpt_oss = {"gpt-oss", build};
