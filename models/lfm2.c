/* lfm2: LFM 2 (dense).
 *
 *   x ──┬─ attn_norm ─ shortconv.in_proj ─┬─ b ─ × ─ shortconv.conv ─ × ─ shortconv.out_proj ─ + ─┐
 *       │                                 ├─ c ──│────────────────────┘                        │  │
 *       │                                 └─ x ──┘                                             │  │
 *       └──────────────────────────────────────────────────────────────────────────────────────┘  │
 *   ┌─────────────────────────────────────────────────────────────────────────────────────────────┘
 *   ├─ ffn_norm ─┬─ ffn_gate ─ silu ─┐
 *   │            └─ ffn_up ───────── × ─ ffn_down ─ + ─▶ x of the next layer
 *   └──────────────────────────────────────────────┘
 *
 * Layers with kv heads (attention.head_count_kv has one number per layer) have attention instead,
 * as qwen3's. The last norm is called token_embd_norm. */
#include "models/recurrent.h"

#define MAX_KERNEL 64

struct lfm2 {
    int rope, kernel, window;
};

static struct nano_view build_conv(struct nano_builder *b, struct nano_view in, int kernel)
{
    const int64_t hidden = b->program->config.hidden_size;
    struct nano_view bcx =
        nano_build_layer_linear(b, "shortconv.in_proj", in, 3 * hidden, NANO_BIAS_NONE);
    struct nano_view gate = nano_build_slice(b, bcx, 0, hidden);
    struct nano_view out_gate = nano_build_slice(b, bcx, hidden, hidden);
    struct nano_view x = nano_build_slice(b, bcx, 2 * hidden, hidden);
    x = nano_build_glu(b, NANO_ACT_NONE, gate, x);
    x = nano_build_layer_conv(b, "shortconv.conv", x, kernel, NANO_ACT_NONE, NANO_BIAS_NONE);
    x = nano_build_glu(b, NANO_ACT_NONE, out_gate, x);
    return nano_build_layer_linear(b, "shortconv.out_proj", x, hidden, NANO_BIAS_NONE);
}

static struct nano_view build_attention(struct nano_builder *b, struct nano_view in,
                                        const struct lfm2 *m)
{
    const struct nano_model_config *c = &b->program->config;
    struct nano_qkv qkv = nano_build_layer_qkv(b, in, NANO_BIAS_OPTIONAL);
    qkv.q = nano_build_layer_norm(b, "attn_q_norm", qkv.q, c->head_dim);
    qkv.k = nano_build_layer_norm(b, "attn_k_norm", qkv.k, c->head_dim);
    nano_build_qk_rope(b, &qkv, m->rope);
    const struct nano_attention_options options = {.window = m->window};
    struct nano_view out = nano_build_attention_with(b, qkv.q, qkv.k, qkv.v, &options);
    return nano_build_layer_linear(b, "attn_output", out, c->hidden_size, NANO_BIAS_NONE);
}

static void build_layer(struct nano_builder *b, struct nano_view x, const struct lfm2 *m)
{
    const struct nano_model_config *c = &b->program->config;
    const bool attends = nano_build_layer_kv_heads(b) > 0;
    struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
    nano_build_add(b, x, attends ? build_attention(b, h, m) : build_conv(b, h, m->kernel));
    nano_build_swiglu_ffn(b, x, NANO_BIAS_NONE);
}

static void build(struct nano_builder *b)
{
    const struct nano_model_config *c = nano_build_config(b);
    const struct lfm2 m = {
        .rope = nano_build_rope_from_metadata(b, false),
        .kernel = (int)nano_build_int(b, "shortconv.l_cache", 1, MAX_KERNEL, NANO_REQUIRED),
        .window = (int)nano_build_int(b, "attention.sliding_window", 0, 1 << 30, 0),
    };
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, 1);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++)
        build_layer(b, x, &m);
    b->layer = -1;
    x = nano_build_gather(b, x);
    x = nano_build_rms_norm(b, "token_embd_norm", x,
                            nano_build_weight(b, "token_embd_norm.weight", c->hidden_size, 0),
                            c->hidden_size);
    const struct nano_tensor *output =
        nano_build_weight_optional(b, "output.weight", c->hidden_size, c->vocab_size);
    nano_build_logits(b, x, output ? output : embedding);
}

const struct nano_architecture nano_architecture_lfm2 = {"lfm2", build};
