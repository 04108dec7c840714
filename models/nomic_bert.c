/* nomic-bert: nomic-embed-text v1 and v1.5. An encoder.
 *
 *   token_embd + token_types[0] ─ token_embd_norm ─▶ x
 *   x ──┬─ attn_qkv ─ rope of q and k ─ attention ─ attn_output ─ + ─ attn_output_norm ─┐
 *       └─────────────────────────────────────────────────────────┘                     │
 *   ┌───────────────────────────────────────────────────────────────────────────────────┘
 *   ├─ ffn_gate ─ silu ─┐
 *   ├─ ffn_up ───────── × ─ ffn_down ─ + ─ layer_output_norm ─▶ x of the next layer
 *   └──────────────────────────────────┘
 *
 *   x of the last layer is the output
 *
 * Differs from bert: rotary positions (pairs are the halves of a head) instead of learned ones, a
 * gated feed-forward, and linears without biases. */
#include "models/encoder_blocks.h"

static struct nano_view build_layer(struct nano_builder *b, struct nano_view x, int rope)
{
    x = nano_build_encoder_attention(b, x, rope);
    return nano_build_post_norm(b, "layer_output_norm", x,
                                nano_build_gated_mlp(b, x, NANO_ACT_SILU, NANO_BIAS_OPTIONAL));
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    nano_build_refuse_reranker(b);
    const int rope = nano_build_rope_from_metadata(b, false);

    struct nano_view x = nano_build_encoder_input(b, NULL);
    x = nano_build_encoder_input_norm(b, x);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        x = build_layer(b, x, rope);
    nano_build_hidden_rows(b, x);
}

const struct nano_architecture nano_architecture_nomic_bert = {"nomic-bert", build};
