/* stablelm: StableLM 3B, StableLM 2 1.6B and 12B.
 *
 *   x ─┬─ attn_norm ─ attn_q, k, v ─ rope ─ attention ─ attn_output ─ + ─▶ x
 *      └──────────────────────────────────────────────────────────────┘
 *   x ─┬─ ffn_norm ─ SwiGLU ─ + ─▶ x of the next layer
 *      └──────────────────────┘
 *
 * Differs from llama: LayerNorm with biases; q, k and v may have biases. In the 12B form each head
 * of q and k has a LayerNorm with weights of its own, and there is no ffn_norm: both halves of a
 * layer read attn_norm. */
#include "models/builder.h"

static struct nano_view head_norm(struct nano_builder *b, const char *name, const char *weight_name,
                                  struct nano_view x)
{
    const int64_t head_dim = b->program->config.head_dim;
    const struct nano_tensor *weight =
        nano_build_weight_optional(b, weight_name, head_dim, x.width / head_dim);
    if (!weight)
        return x;
    if (weight->format != NANO_FORMAT_F32)
        nano_build_fail(b, NANO_ERR_UNSUPPORTED, "tensor '%s': format %s, expected F32",
                        weight->name.bytes, nano_format_traits(weight->format)->name);
    return nano_build_mean_norm(b, name, x, weight, NULL, head_dim);
}

static void build_layer(struct nano_builder *b, struct nano_view x, int rope)
{
    const struct nano_model_config *c = &b->program->config;
    const bool parallel = !nano_build_layer_has(b, "ffn_norm");
    struct nano_view h = nano_build_layer_mean_norm(b, "attn_norm", x, NANO_BIAS_REQUIRED);
    struct nano_qkv qkv = nano_build_layer_qkv(b, h, NANO_BIAS_OPTIONAL);
    qkv.q = head_norm(b, "attn_q_norm", "blk.%d.attn_q_norm.weight", qkv.q);
    qkv.k = head_norm(b, "attn_k_norm", "blk.%d.attn_k_norm.weight", qkv.k);
    nano_build_qk_rope(b, &qkv, rope);
    struct nano_view attention = nano_build_attention(b, qkv.q, qkv.k, qkv.v, 0);
    if (parallel)
        nano_build_add(b, x, nano_build_gated_mlp(b, h, NANO_ACT_SILU, NANO_BIAS_NONE));
    nano_build_add(
        b, x, nano_build_layer_linear(b, "attn_output", attention, c->hidden_size, NANO_BIAS_NONE));
    if (!parallel) {
        h = nano_build_layer_mean_norm(b, "ffn_norm", x, NANO_BIAS_OPTIONAL);
        nano_build_add(b, x, nano_build_gated_mlp(b, h, NANO_ACT_SILU, NANO_BIAS_NONE));
    }
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

const struct nano_architecture nano_architecture_stablelm = {"stablelm", build};
