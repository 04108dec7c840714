/* gemma3: Gemma 3, its text part.
 *
 *   token_embd × sqrt(hidden_size) ─▶ x
 *   x ─┬─ attn_norm ─┬─ attn_q ─ attn_q_norm ─ rope ─┐
 *      │             ├─ attn_k ─ attn_k_norm ─ rope ─┼─ attention ─┐
 *      │             └─ attn_v ──────────────────────┘             │
 *      │   ┌───────────────────────────────────────────────────────┘
 *      │   └─ attn_output ─ post_attention_norm ─ + ─▶ x
 *      └──────────────────────────────────────────┘
 *   x ─┬─ ffn_norm ─ GEGLU ─ post_ffw_norm ─ + ─▶ x of the next layer
 *      └─────────────────────────────────────┘
 *
 * Differs from gemma2: heads of q and k are normalised; all layers but every sixth see a window,
 * and those have a rotary embedding of their own, with a smaller base and no scaling; no caps,
 * unless the file has one for logits. */
#include <math.h>

#include "models/builder.h"

#define LAYERS_OF_27B 62

static void build_layer(struct nano_builder *b, struct nano_view x, const int ropes[2],
                        float attention_scale)
{
    const struct nano_model_config *c = &b->program->config;
    const struct nano_attention_options options = {.scale = attention_scale,
                                                   .window = nano_build_layer_window(b, 0, 6)};
    struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
    struct nano_qkv qkv = nano_build_layer_qkv(b, h, NANO_BIAS_NONE);
    qkv.q = nano_build_layer_norm(b, "attn_q_norm", qkv.q, c->head_dim);
    qkv.k = nano_build_layer_norm(b, "attn_k_norm", qkv.k, c->head_dim);
    nano_build_qk_rope(b, &qkv, ropes[options.window > 0]);
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
    const float attention_scale =
        (float)nano_build_float(b, "attention.scale", 0, 1e6, usual_scale);
    const float softcap = (float)nano_build_float(b, "final_logit_softcapping", 0, 1e6, 0);
    const struct nano_rope_options window_rope = {
        .unscaled = true,
        .freq_base = nano_build_float(b, "rope.freq_base_swa", 1.0001, 1e12, 10000)};
    const int ropes[2] = {nano_build_rope_from_metadata(b, false),
                          nano_build_rope_from_metadata_with(b, &window_rope)};
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, sqrtf((float)c->hidden_size));
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, ropes, attention_scale);
    struct nano_view logits = nano_build_head(b, x, embedding);
    if (softcap > 0)
        nano_build_softcap(b, logits, softcap);
}

const struct nano_architecture nano_architecture_gemma3 = {"gemma3", build};
