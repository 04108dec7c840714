/* mamba2: Mamba-2.
 *
 *   x ─┬─ attn_norm ─ ssm_in ─┬─ z ─ silu ────────────────────────────┐
 *      │                      ├─ x B C ─ ssm_conv1d ─ silu ─┬─ scan ─ × ─ ssm_norm ─ ssm_out ─ + ─▶
 *      │                      └─ dt ────────────────────────┘                                │
 *      └─────────────────────────────────────────────────────────────────────────────────────┘
 *
 * Differs from llama: no attention and no feed-forward; each head has a state of [state_size,
 * head_dim] per sequence, and heads of a group share B and C. The norm is over each group. */
#include "models/recurrent.h"

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config_base(b);
    const struct nano_recurrent_shape shape = nano_build_recurrent_shape(b);
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, 1);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++) {
        struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
        nano_build_add(b, x, nano_build_mamba2_mixer(b, h, &shape, NANO_BIAS_REQUIRED));
    }
    nano_build_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_mamba2 = {"mamba2", build};
