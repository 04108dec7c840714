/* gemma: Gemma 1.
 *
 *   token_embd × sqrt(hidden_size) ─▶ x
 *   x ─┬─ attn_norm ─ attn_q, k, v ─ rope ─ attention ─ attn_output ─ + ─▶ x
 *      └──────────────────────────────────────────────────────────────┘
 *   x ─┬─ ffn_norm ─ GEGLU ─ + ─▶ x of the next layer
 *      └─────────────────────┘
 *
 * Differs from llama: the embedding is multiplied, the gate is a GELU, rotary pairs are halves.
 * (Files have norms' weights with the 1 that the models add to them.) */
#include <math.h>

#include "models/builder.h"

static void build_layer(struct nano_builder *b, struct nano_view x, int rope)
{
    const struct nano_model_config *c = &b->program->config;
    struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
    struct nano_qkv qkv = nano_build_layer_qkv(b, h, NANO_BIAS_NONE);
    nano_build_qk_rope(b, &qkv, rope);
    struct nano_view attention = nano_build_attention(b, qkv.q, qkv.k, qkv.v, 0);
    nano_build_add(
        b, x, nano_build_layer_linear(b, "attn_output", attention, c->hidden_size, NANO_BIAS_NONE));

    h = nano_build_layer_norm(b, "ffn_norm", x, c->hidden_size);
    nano_build_add(b, x, nano_build_gated_mlp(b, h, NANO_ACT_GELU, NANO_BIAS_NONE));
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    const int rope = nano_build_rope_from_metadata(b, false);
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, sqrtf((float)c->hidden_size));
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, rope);
    nano_build_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_gemma = {"gemma", build};
