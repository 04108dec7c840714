/* smollm3: SmolLM 3.
 *
 *   x ─┬─ attn_norm ─ attn_q, k, v ─ rope ─ attention ─ attn_output ─ + ─▶ x
 *      └──────────────────────────────────────────────────────────────┘
 *   x ─┬─ ffn_norm ─ SwiGLU ─ + ─▶ x of the next layer
 *      └──────────────────────┘
 *
 * Differs from llama: every fourth layer has no rotary embedding. */
#include "models/builder.h"

#define NO_ROPE_STEP 4

static void build_layer(struct nano_builder *b, struct nano_view x, int rope)
{
    const struct nano_model_config *c = &b->program->config;
    struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
    struct nano_qkv qkv = nano_build_layer_qkv(b, h, NANO_BIAS_OPTIONAL);
    if ((b->layer + 1) % NO_ROPE_STEP != 0)
        nano_build_qk_rope(b, &qkv, rope);
    struct nano_view attention = nano_build_attention(b, qkv.q, qkv.k, qkv.v, 0);
    nano_build_add(
        b, x,
        nano_build_layer_linear(b, "attn_output", attention, c->hidden_size, NANO_BIAS_OPTIONAL));

    nano_build_swiglu_ffn(b, x, NANO_BIAS_OPTIONAL);
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    const int rope = nano_build_rope_from_metadata(b, true);
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, 1);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, rope);
    nano_build_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_smollm3 = {"smollm3", build};
