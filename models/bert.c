/* bert: BERT and what converters call "bert": MiniLM, BGE, E5, XLM-RoBERTa. An encoder.
 *
 *   token_embd + token_types[0] + position_embd ─ token_embd_norm ─▶ x
 *   x ──┬─ attn_q, attn_k, attn_v ─ attention ─ attn_output ─ + ─ attn_output_norm ─┐
 *       └─────────────────────────────────────────────────────┘                     │
 *   ┌───────────────────────────────────────────────────────────────────────────────┘
 *   ├─ ffn_up ─ gelu ─ ffn_down ─ + ─ layer_output_norm ─▶ x of the next layer
 *   └─────────────────────────────┘
 *
 *   x of the last layer is the output: rows that a text's embedding is pooled from
 *
 * Differs from llama: every token sees the whole text; LayerNorm, behind the sums rather than
 * before the halves; learned positions, so no text is longer than their table; biases; no logits.
 * GELU is the tanh form, as in other engines that read these files, although most of the models
 * were trained with erf. */
#include "models/encoder_blocks.h"

static struct nano_view build_layer(struct nano_builder *b, struct nano_view x)
{
    x = nano_build_encoder_attention(b, x, -1);
    return nano_build_post_norm(b, "layer_output_norm", x,
                                nano_build_mlp(b, x, NANO_ACT_GELU, NANO_BIAS_OPTIONAL));
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    nano_build_refuse_reranker(b);
    const struct nano_tensor *positions =
        nano_build_weight(b, "position_embd.weight", c->hidden_size, c->max_position_embeddings);

    struct nano_view x = nano_build_encoder_input(b, positions);
    x = nano_build_encoder_input_norm(b, x);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        x = build_layer(b, x);
    nano_build_hidden_rows(b, x);
}

const struct nano_architecture nano_architecture_bert = {"bert", build};
