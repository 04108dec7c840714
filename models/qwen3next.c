/* qwen3next: Qwen 3 Next.
 *
 *   x ─┬─ attn_norm ─┬─ attn_qkv ─ ssm_conv1d ─ silu ─┐
 *      │             ├─ ssm_ba ───────────────────────┴─ delta rule ─ ssm_norm ─ × ─ ssm_out ─ + ─┐
 *      │             └─ attn_gate ─ silu ────────────────────────────────────────┘             │  │
 *      └───────────────────────────────────────────────────────────────────────────────────────┘  │
 *   ┌─────────────────────────────────────────────────────────────────────────────────────────────┘
 *   ├─ post_attention_norm ─ the best experts and a gated shared one ─ + ─▶ x of the next layer
 *   └──────────────────────────────────────────────────────────────────┘
 *
 * Every full_attention_interval-th layer has gated attention instead. Differs from qwen35: experts;
 * beta and alpha come from one matrix, key head by key head; each key head goes with neighbouring
 * value heads. Older files have ssm_in for attn_qkv and attn_gate, again key head by key head. */
#include "models/recurrent.h"

struct qwen3next {
    struct nano_recurrent_shape shape;
    struct nano_moe_ffn moe;
    int rope;
};

/* q, k and v side by side in one buffer, and z, from the rows of ssm_in. */
static void split_qkvz(struct nano_builder *b, struct nano_view in,
                       const struct nano_recurrent_shape *shape, struct nano_delta_inputs *out)
{
    const int64_t keys = (int64_t)shape->heads.num_key_heads * shape->heads.state_size;
    const int64_t inner = shape->inner_size;
    struct nano_view qkvz =
        nano_build_layer_linear(b, "ssm_in", in, 2 * keys + 2 * inner, NANO_BIAS_NONE);
    out->qkv = nano_build_buffer(b, "qkv", 2 * keys + inner);
    out->z = nano_build_buffer(b, "z", inner);
    const struct nano_view parts[] = {nano_build_slice(b, out->qkv, 0, keys),
                                      nano_build_slice(b, out->qkv, keys, keys),
                                      nano_build_slice(b, out->qkv, 2 * keys, inner), out->z};
    nano_build_split_heads_into(b, qkvz, shape->heads.num_key_heads, parts, 4);
}

static struct nano_view build_delta_net(struct nano_builder *b, struct nano_view in,
                                        const struct nano_recurrent_shape *shape)
{
    const struct nano_recurrence *heads = &shape->heads;
    const int64_t keys = (int64_t)heads->num_key_heads * heads->state_size;
    struct nano_delta_inputs inputs;
    if (nano_build_layer_has(b, "ssm_in")) {
        split_qkvz(b, in, shape, &inputs);
    } else {
        inputs.qkv = nano_build_layer_linear(b, "attn_qkv", in, 2 * keys + shape->inner_size,
                                             NANO_BIAS_NONE);
        inputs.z = nano_build_layer_linear(b, "attn_gate", in, shape->inner_size, NANO_BIAS_NONE);
    }
    struct nano_view ba =
        nano_build_layer_linear(b, "ssm_ba", in, 2 * (int64_t)heads->num_heads, NANO_BIAS_NONE);
    nano_build_split_heads(b, ba, heads->num_key_heads, &inputs.beta, &inputs.alpha);
    return nano_build_delta_mixer(b, &inputs, shape);
}

static void build_layer(struct nano_builder *b, struct nano_view x, const struct qwen3next *m)
{
    const struct nano_model_config *c = &b->program->config;
    struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
    nano_build_add(b, x,
                   nano_build_layer_is_recurrent(b) ? build_delta_net(b, h, &m->shape)
                                                    : nano_build_gated_attention(b, h, m->rope));
    nano_build_moe_ffn(b, x, &m->moe);
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    struct qwen3next m = {.shape = nano_build_recurrent_shape(b),
                          .moe = nano_build_moe_config(b, NANO_GATING_SOFTMAX, true),
                          .rope = nano_build_rope_from_metadata(b, false)};
    m.moe.norm = "post_attention_norm";
    m.moe.shared_gate = true;
    if (!m.moe.expert_size)
        m.moe.expert_size = c->intermediate_size / m.moe.moe.num_used;
    if (!m.moe.shared_size)
        m.moe.shared_size = c->intermediate_size;
    nano_build_drop_nextn(b);
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, 1);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, &m);
    nano_build_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_qwen3next = {"qwen3next", build};
