/* gemma2: Gemma 2.
 *
 *   token_embd × sqrt(hidden_size) ─▶ x
 *   x ──┬─ attn_norm ─ attn_q, k, v ─ rope ─ attention ─ attn_output ─ post_attention_norm ─ + ─┐
 *       └────────────────────────────────────────────────────────────────────────────────────┘  │
 *   ┌───────────────────────────────────────────────────────────────────────────────────────────┘
 *   ├─ ffn_norm ─ GEGLU ─ post_ffw_norm ─ + ─▶ x of the next layer
 *   └─────────────────────────────────────┘
 *   x of the last layer ─ output_norm ─ token_embd ─ softcap ─▶ logits
 *
 * Differs from gemma: norms also stand behind attention and feed-forward; every other layer sees a
 * window, beginning with the first; scores of attention and logits are capped. */
#include <math.h>

#include "models/builder.h"

#define LAYERS_OF_27B 46

struct gemma2 {
    int ropes[2]; /* of layers that see everything, and of those with a window */
    float attention_scale, attention_softcap;
};

static void build_layer(struct nano_builder *b, struct nano_view x, const struct gemma2 *g)
{
    const struct nano_model_config *c = &b->program->config;
    const struct nano_attention_options options = {.scale = g->attention_scale,
                                                   .softcap = g->attention_softcap,
                                                   .window = nano_build_layer_window(b, 4096, 2)};
    struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
    struct nano_qkv qkv = nano_build_layer_qkv(b, h, NANO_BIAS_NONE);
    nano_build_qk_rope(b, &qkv, g->ropes[options.window > 0]);
    h = nano_build_attention_with(b, qkv.q, qkv.k, qkv.v, &options);
    h = nano_build_layer_linear(b, "attn_output", h, c->hidden_size, NANO_BIAS_NONE);
    nano_build_add(b, x, nano_build_layer_norm(b, "post_attention_norm", h, c->hidden_size));

    h = nano_build_layer_norm(b, "ffn_norm", x, c->hidden_size);
    h = nano_build_gated_mlp(b, h, NANO_ACT_GELU, NANO_BIAS_NONE);
    nano_build_add(b, x, nano_build_layer_norm(b, "post_ffw_norm", h, c->hidden_size));
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    /* The 27B model divides by the root of another size than its head's. */
    const int64_t scale_of =
        c->num_layers == LAYERS_OF_27B ? c->hidden_size / c->num_heads : c->head_dim;
    const float usual_scale = 1 / sqrtf((float)scale_of);
    struct gemma2 g = {
        .attention_scale = (float)nano_build_float(b, "attention.scale", 0, 1e6, usual_scale),
        .attention_softcap = (float)nano_build_float(b, "attn_logit_softcapping", 0, 1e6, 50),
    };
    const float softcap = (float)nano_build_float(b, "final_logit_softcapping", 0, 1e6, 30);
    const double window_base = nano_build_float(b, "rope.freq_base_swa", 0, 1e12, 0);
    g.ropes[0] = g.ropes[1] = nano_build_rope_from_metadata(b, false);
    if (window_base != 0)
        g.ropes[1] = nano_build_rope_from_metadata_with(
            b, &(struct nano_rope_options){.freq_base = window_base});
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, sqrtf((float)c->hidden_size));
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, &g);
    struct nano_view logits = nano_build_head(b, x, embedding);
    if (softcap > 0)
        nano_build_softcap(b, logits, softcap);
}

const struct nano_architecture nano_architecture_gemma2 = {"gemma2", build};
