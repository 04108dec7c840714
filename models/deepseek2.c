/* deepseek2: DeepSeek V2, V3, R1 and what has their layers (Kimi K2, GLM 4.7 Lite).
 *
 *   x ─ attn_norm ─┬─ attn_q, or attn_q_a ─ attn_q_a_norm ─ attn_q_b ─▶ q: heads of (nope | pe)
 *                  └─ attn_kv_a_mqa ─▶ (c | pe), c ─ attn_kv_a_norm             rope of each pe
 *
 *   q head  (nope | pe) ─▶ (attn_k_b[h] nope | pe) ─┐
 *   k = v   (c | pe), one for all heads ────────────┴─ attention ─▶ o ─ attn_v_b[h] ─ attn_output ─
 * +
 *
 *   x ─ ffn_norm ─ SwiGLU in the leading dense layers, then experts and a shared one ─ +
 *
 * Differs from llama: latent attention (MLA). K of head h would be (attn_k_b[h]^T c | pe) and its V
 * attn_v_b[h] c; both products are taken on the other side, so that the pool has only c and pe,
 * whose first columns are V at once. YaRN does not change the magnitude of the rotary embedding but
 * the scale of attention. Old files have the two matrices of all heads in one, attn_kv_b: k_b
 * transposed, then v_b, head by head. */
#include <math.h>

#include "models/builder.h"
#include "models/recurrent.h"

#define MAX_RANK 65536
#define MAX_EXPERTS_SHARED 64

struct deepseek {
    int64_t q_rank, kv_rank; /* q_rank 0: q comes from x directly */
    int nope_dim, rope_dim, v_dim;
    bool joined; /* k_b and v_b are one tensor, in files without key_length_mla */
    int rope;
    float scale, temperature_scale;
    int temperature_length;
    int64_t num_dense; /* layers before the first with experts */
    struct nano_moe_ffn moe;
};

static struct nano_view build_q(struct nano_builder *b, struct nano_view h,
                                const struct deepseek *d)
{
    const int64_t width = b->program->config.num_heads * (d->nope_dim + d->rope_dim);
    if (d->q_rank == 0 || nano_build_layer_has(b, "attn_q"))
        return nano_build_layer_linear(b, "attn_q", h, width, NANO_BIAS_NONE);
    struct nano_view q = nano_build_layer_linear(b, "attn_q_a", h, d->q_rank, NANO_BIAS_NONE);
    q = nano_build_layer_norm(b, "attn_q_a_norm", q, d->q_rank);
    return nano_build_layer_linear(b, "attn_q_b", q, width, NANO_BIAS_NONE);
}

/* Rows [first_row, first_row + num_rows) of each head of attn_kv_b as a weight of its own. */
static const struct nano_tensor *part_of(struct nano_builder *b, const struct nano_tensor *kv_b,
                                         const struct deepseek *d, int64_t first_row,
                                         int64_t num_rows, bool transposed)
{
    struct nano_tensor *part = NULL;
    struct nano_tensor_source *source = NULL;
    if (b->status == NANO_OK) {
        part = nano_arena_alloc(&b->program->arena, 1, sizeof *part);
        source = nano_arena_alloc(&b->program->arena, 1, sizeof *source);
    }
    if (!part || !source) {
        nano_build_fail(b, NANO_ERR_NO_MEMORY, "no memory left for the program");
        return NULL;
    }
    *source = (struct nano_tensor_source){.part_of = kv_b,
                                          .part_rows = d->nope_dim + d->v_dim,
                                          .first_row = first_row,
                                          .transposed = transposed};
    *part = *kv_b;
    part->num_dims = 3;
    part->dims[0] = transposed ? num_rows : d->kv_rank;
    part->dims[1] = transposed ? d->kv_rank : num_rows;
    part->dims[2] = b->program->config.num_heads;
    if (transposed && kv_b->format != NANO_FORMAT_F32 && kv_b->format != NANO_FORMAT_BF16)
        part->format = NANO_FORMAT_F16;
    part->num_bytes = nano_format_row_bytes(part->format, part->dims[0]) *
                      (size_t)(part->dims[1] * part->dims[2]);
    part->data = NULL;
    part->source = source;
    return part;
}

struct latent_weights {
    const struct nano_tensor *k_b, *v_b; /* [nope_dim, kv_rank, heads], [kv_rank, v_dim, heads] */
};

static struct latent_weights find_latent_weights(struct nano_builder *b, const struct deepseek *d)
{
    const int64_t num_heads = b->program->config.num_heads;
    if (d->joined) {
        const struct nano_tensor *kv_b = nano_build_weight(b, "blk.%d.attn_kv_b.weight", d->kv_rank,
                                                           num_heads * (d->nope_dim + d->v_dim));
        return (struct latent_weights){part_of(b, kv_b, d, 0, d->nope_dim, true),
                                       part_of(b, kv_b, d, d->nope_dim, d->v_dim, false)};
    }
    return (struct latent_weights){
        nano_build_weight_3d(b, "blk.%d.attn_k_b.weight", d->nope_dim, d->kv_rank, num_heads),
        nano_build_weight_3d(b, "blk.%d.attn_v_b.weight", d->kv_rank, d->v_dim, num_heads)};
}

static void build_attention(struct nano_builder *b, struct nano_view x, const struct deepseek *d)
{
    const struct nano_model_config *c = &b->program->config;
    const int num_heads = (int)c->num_heads;
    const int64_t q_dim = d->nope_dim + d->rope_dim, k_dim = d->kv_rank + d->rope_dim;
    const struct nano_tensor *kv_norm =
        nano_build_weight(b, "blk.%d.attn_kv_a_norm.weight", d->kv_rank, 0);
    const struct latent_weights weights = find_latent_weights(b, d);

    struct nano_view h = nano_build_layer_norm(b, "attn_norm", x, c->hidden_size);
    struct nano_view q = build_q(b, h, d);
    struct nano_view k = nano_build_layer_linear(b, "attn_kv_a_mqa", h, k_dim, NANO_BIAS_NONE);
    nano_build_rms_norm_in_place(b, "attn_kv_a_norm", nano_build_slice(b, k, 0, d->kv_rank),
                                 kv_norm);
    nano_build_rope_part(b, "rope_q", q, num_heads, (int)q_dim, d->nope_dim, d->rope);
    nano_build_rope_part(b, "rope_k", k, 1, (int)k_dim, (int)d->kv_rank, d->rope);

    struct nano_view absorbed = nano_build_buffer(b, "q_absorbed", num_heads * k_dim);
    nano_build_head_linear(b, "attn_k_b", q, q_dim, absorbed, k_dim, weights.k_b, true);
    if (d->temperature_scale > 0)
        nano_build_position_scale(b, absorbed, d->temperature_scale, d->temperature_length);
    const struct nano_attention_options options = {
        .scale = d->scale, .head_dim = (int)k_dim, .v_head_dim = (int)d->kv_rank, .v_in_k = true};
    struct nano_view latent =
        nano_build_attention_with(b, absorbed, k, (struct nano_view){0}, &options);
    struct nano_view out = nano_build_buffer(b, "attn_values", (int64_t)num_heads * d->v_dim);
    nano_build_head_linear(b, "attn_v_b", latent, d->kv_rank, out, d->v_dim, weights.v_b, false);
    nano_build_add(b, x,
                   nano_build_layer_linear(b, "attn_output", out, c->hidden_size, NANO_BIAS_NONE));
}

static void read_heads(struct nano_builder *b, struct deepseek *d)
{
    struct nano_model_config *c = &b->program->config;
    c->num_heads = nano_build_int(b, "attention.head_count", 1, 1024, NANO_REQUIRED);
    c->num_kv_heads = 1;
    d->q_rank = nano_build_int(b, "attention.q_lora_rank", 0, MAX_RANK, 0);
    d->kv_rank = nano_build_int(b, "attention.kv_lora_rank", 1, MAX_RANK, NANO_REQUIRED);
    c->head_dim = nano_build_int(b, "attention.key_length_mla", 0, MAX_RANK, 0);
    d->v_dim = (int)nano_build_int(b, "attention.value_length_mla", 0, MAX_RANK, 0);
    d->joined = c->head_dim == 0 || d->v_dim == 0;
    if (d->joined) {
        c->head_dim = nano_build_int(b, "attention.key_length", 1, MAX_RANK, NANO_REQUIRED);
        d->v_dim = (int)nano_build_int(b, "attention.value_length", 1, MAX_RANK, NANO_REQUIRED);
    }
    d->rope_dim = (int)nano_build_int(b, "rope.dimension_count", 2, c->head_dim - 1, NANO_REQUIRED);
    d->nope_dim = (int)c->head_dim - d->rope_dim;
}

/* YaRN as llama.cpp applies it: the file has a tenth of mscale_all_dim as its multiplier. */
static void read_scale(struct nano_builder *b, struct deepseek *d)
{
    const struct nano_rope_options options = {.adjacent = true, .magnitude = 1};
    const double factor = nano_build_float(b, "rope.scaling.factor", 0, 1e6, 1);
    const double multiplier = nano_build_float(b, "rope.scaling.yarn_log_multiplier", 0, 1e3, 0);
    double magnitude = nano_build_float(b, "rope.scaling.attn_factor", 1e-6, 1e6, 1);
    if (factor > 1)
        magnitude *= 1 + multiplier * log(factor);
    d->rope = nano_build_rope_from_metadata_with(b, &options);
    d->scale = (float)(magnitude * magnitude / sqrt((double)(d->nope_dim + d->rope_dim)));
    d->temperature_scale = (float)nano_build_float(b, "attention.temperature_scale", 0, 100, 0);
    d->temperature_length =
        (int)nano_build_int(b, "attention.temperature_length", 1, 1 << 30, 8192);
}

static void read_experts(struct nano_builder *b, struct deepseek *d)
{
    const struct nano_model_config *c = &b->program->config;
    d->num_dense = nano_build_int(b, "leading_dense_block_count", 0, c->num_layers, 0);
    if (d->num_dense == c->num_layers)
        return;
    d->moe = nano_build_moe_config(b, NANO_GATING_SOFTMAX, false);
    d->moe.shared_size = d->moe.expert_size * nano_build_int(b, "expert_shared_count", 0,
                                                             MAX_EXPERTS_SHARED, NANO_REQUIRED);
}

static void build(struct nano_builder *b)
{
    struct deepseek d = {0};
    const struct nano_model_config *c = nano_build_config_base(b);
    nano_build_drop_nextn(b);
    read_heads(b, &d);
    read_scale(b, &d);
    read_experts(b, &d);
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);

    struct nano_view x = nano_build_embed(b, embedding, 1);
    for (b->layer = 0; b->layer < c->num_layers; b->layer++) {
        build_attention(b, x, &d);
        if (b->layer < d.num_dense)
            nano_build_swiglu_ffn(b, x, NANO_BIAS_NONE);
        else
            nano_build_moe_ffn(b, x, &d.moe);
    }
    nano_build_head(b, x, embedding);
}

const struct nano_architecture nano_architecture_deepseek2 = {"deepseek2", build};
