/* qwen2moe: Qwen 1.5 and Qwen 2 with experts.
 *
 *   x ──┬─ attn_norm ─┬─ attn_q + bias ─ rope ─┐
 *       │             ├─ attn_k + bias ─ rope ─┼─ attention ─ attn_output ─ + ─┐
 *       │             └─ attn_v + bias ────────┘                            │  │
 *       └───────────────────────────────────────────────────────────────────┘  │
 *   ┌──────────────────────────────────────────────────────────────────────────┘
 *   ├─ ffn_norm ─┬─ ffn_gate_inp ─ the best experts ─ sum of theirs, weighted ─── + ─▶ x of the
 *   │            ├─ sigmoid(ffn_gate_inp_shexp) ─────────────── × ────────────────┤    next layer
 *   │            └─ ffn_gate_shexp, ffn_up_shexp, ffn_down_shexp ┘                │
 *   └─────────────────────────────────────────────────────────────────────────────┘
 *
 * Differs from qwen2: experts, whose weights (a softmax of all) are as they are, and a shared
 * expert that every token goes to. */
#include "models/builder.h"

static void build_layer(struct nano_builder *b, struct nano_view x, int rope,
                        const struct nano_moe_ffn *moe)
{
    const struct nano_model_config *c = &b->program->config;
    struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
    struct nano_qkv qkv = nano_build_layer_qkv(b, h, NANO_BIAS_REQUIRED);
    nano_build_qk_rope(b, &qkv, rope);
    struct nano_view attention = nano_build_attention(b, qkv.q, qkv.k, qkv.v, 0);
    nano_build_add(
        b, x, nano_build_layer_linear(b, "attn_output", attention, c->hidden_size, NANO_BIAS_NONE));

    nano_build_moe_ffn(b, x, moe);
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    struct nano_moe_ffn moe = nano_build_moe_config(b, NANO_GATING_SOFTMAX, false);
    if (!moe.expert_size)
        moe.expert_size = c->intermediate_size / moe.moe.num_used;
    if (!moe.shared_size)
        moe.shared_size = c->intermediate_size;
    moe.shared_gate = true;
    const int rope = nano_build_rope_from_metadata(b, false);
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, 1);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, rope, &moe);
    nano_build_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_qwen2moe = {"qwen2moe", build};
