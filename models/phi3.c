/* phi3: Phi-3 and Phi-4 (dense).
 *
 *   x ──┬─ attn_norm ─ attn_qkv ─ rope ─ attention ─ attn_output ─ + ─┐
 *       └──────────────────────────────────────────────────────────┘  │
 *   ┌─────────────────────────────────────────────────────────────────┘
 *   ├─ ffn_norm ─ ffn_up ─┬─ first half ─ silu ─┐
 *   │                     └─ second half ────── × ─ ffn_down ─ + ─▶ x of the next layer
 *   └──────────────────────────────────────────────────────────┘
 *
 * Differs from llama: q, k and v are one matrix, and so are gate and up; rotary pairs are halves,
 * of a part of the head in some; LongRoPE in the models of 128k. The window that some files name is
 * not applied, as in llama.cpp: what converters wrote there is not reliable. */
#include "models/builder.h"

static void build_layer(struct nano_builder *b, struct nano_view x, int rope)
{
    const struct nano_model_config *c = &b->program->config;
    const int64_t width = c->intermediate_size;
    struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
    struct nano_qkv qkv = nano_build_layer_fused_qkv(b, h, NANO_BIAS_OPTIONAL);
    nano_build_qk_rope(b, &qkv, rope);
    struct nano_view attention = nano_build_attention(b, qkv.q, qkv.k, qkv.v, 0);
    nano_build_add(
        b, x, nano_build_layer_linear(b, "attn_output", attention, c->hidden_size, NANO_BIAS_NONE));

    h = nano_build_layer_norm(b, "ffn_norm", x, c->hidden_size);
    struct nano_view gate_up = nano_build_layer_linear(b, "ffn_up", h, 2 * width, NANO_BIAS_NONE);
    struct nano_view gate = nano_build_slice(b, gate_up, 0, width);
    struct nano_view up = nano_build_slice(b, gate_up, width, width);
    struct nano_view act = nano_build_glu(b, NANO_ACT_SILU, gate, up);
    nano_build_add(b, x,
                   nano_build_layer_linear(b, "ffn_down", act, c->hidden_size, NANO_BIAS_NONE));
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    const int rope = nano_build_rope_from_metadata(b, false);
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);
    if (c->intermediate_size < 1)
        nano_build_fail(b, NANO_ERR_FORMAT, "metadata key '%s.feed_forward_length' is missing",
                        c->architecture);

    struct nano_view x = nano_build_embed(b, embedding, 1);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, rope);
    nano_build_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_phi3 = {"phi3", build};
