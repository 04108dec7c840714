/* qwen3: Qwen 3 (dense).
 *
 *   x ──┬─ attn_norm ─┬─ attn_q ─ attn_q_norm ─ rope ─┐
 *       │             ├─ attn_k ─ attn_k_norm ─ rope ─┼─ attention ─ attn_output ─ + ─┐
 *       │             └─ attn_v ──────────────────────┘                            │  │
 *       └──────────────────────────────────────────────────────────────────────────┘  │
 *   ┌─────────────────────────────────────────────────────────────────────────────────┘
 *   ├─ ffn_norm ─┬─ ffn_gate ─ silu ─┐
 *   │            └─ ffn_up ───────── × ─ ffn_down ─ + ─▶ x of the next layer
 *   └──────────────────────────────────────────────┘
 *
 * Differs from qwen2: no biases; every head of q and k is normalised on its own before it is
 * rotated; head_dim is a parameter, so that q may be wider than the hidden size. */
#include <math.h>

#include "models/builder.h"

static void build_layer(struct nano_builder *b, struct nano_view x, int rope)
{
    const struct nano_model_config *c = &b->program->config;
    const int64_t q_width = c->num_heads * c->head_dim, kv_width = c->num_kv_heads * c->head_dim;

    struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
    struct nano_view q = nano_build_layer_linear(b, "attn_q", h, q_width, NANO_BIAS_NONE);
    struct nano_view k = nano_build_layer_linear(b, "attn_k", h, kv_width, NANO_BIAS_NONE);
    struct nano_view v = nano_build_layer_linear(b, "attn_v", h, kv_width, NANO_BIAS_NONE);
    q = nano_build_layer_norm(b, "attn_q_norm", q, c->head_dim);
    k = nano_build_layer_norm(b, "attn_k_norm", k, c->head_dim);
    nano_build_rope(b, "rope_q", q, (int)c->num_heads, rope);
    nano_build_rope(b, "rope_k", k, (int)c->num_kv_heads, rope);
    struct nano_view attention = nano_build_attention(b, q, k, v, 1 / sqrtf((float)c->head_dim));
    nano_build_add(
        b, x, nano_build_layer_linear(b, "attn_output", attention, c->hidden_size, NANO_BIAS_NONE));

    nano_build_swiglu_ffn(b, x, NANO_BIAS_NONE);
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
    nano_build_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_qwen3 = {"qwen3", build};
