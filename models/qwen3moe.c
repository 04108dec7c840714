/* qwen3moe: Qwen 3 with experts.
 *
 *   x ──┬─ attn_norm ─┬─ attn_q ─ attn_q_norm ─ rope ─┐
 *       │             ├─ attn_k ─ attn_k_norm ─ rope ─┼─ attention ─ attn_output ─ + ─┐
 *       │             └─ attn_v ──────────────────────┘                            │  │
 *       └──────────────────────────────────────────────────────────────────────────┘  │
 *   ┌─────────────────────────────────────────────────────────────────────────────────┘
 *   ├─ ffn_norm ─ ffn_gate_inp ─ the best experts ─ sum of theirs, weighted ─ + ─▶ x of the next
 *   └─────────────────────────────────────────────────────────────────────────┘    layer
 *
 * Differs from qwen3: experts for the feed-forward; the weights of the chosen ones (a softmax of
 * all) are made to sum up to 1. */
#include "models/builder.h"

static void build_layer(struct nano_builder *b, struct nano_view x, int rope,
                        const struct nano_moe_ffn *moe)
{
    const struct nano_model_config *c = &b->program->config;
    struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
    struct nano_qkv qkv = nano_build_layer_qkv(b, h, NANO_BIAS_NONE);
    qkv.q = nano_build_layer_norm(b, "attn_q_norm", qkv.q, c->head_dim);
    qkv.k = nano_build_layer_norm(b, "attn_k_norm", qkv.k, c->head_dim);
    nano_build_qk_rope(b, &qkv, rope);
    struct nano_view attention = nano_build_attention(b, qkv.q, qkv.k, qkv.v, 0);
    nano_build_add(
        b, x, nano_build_layer_linear(b, "attn_output", attention, c->hidden_size, NANO_BIAS_NONE));

    nano_build_moe_ffn(b, x, moe);
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    struct nano_moe_ffn moe = nano_build_moe_config(b, NANO_GATING_SOFTMAX, true);
    moe.shared_size = 0;
    if (!moe.expert_size)
        moe.expert_size = c->intermediate_size / moe.moe.num_used;
    const int rope = nano_build_rope_from_metadata(b, false);
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, 1);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, rope, &moe);
    nano_build_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_qwen3moe = {"qwen3moe", build};
