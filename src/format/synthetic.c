/* Synthetic weights: lists the tensors of a shape, lays them out in one block of memory and fills
 * them. */
#include "format/synthetic.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "format/little_endian.h"
#include "format/synthetic_fill.h"
#include "format/synthetic_meta.h"
#include "format/synthetic_shape.h"

#define MAX_LAYER_TENSORS 14
#define MAX_OTHER_TENSORS 4
#define NORM_RADIUS 0.1f
#define BIAS_RADIUS 0.1f
#define DECAY_RADIUS 0.9f

/* What a tensor is filled with. */
enum content {
    CONTENT_MATRIX,
    CONTENT_NORM,
    CONTENT_BIAS,
    CONTENT_ROPE_FACTORS,
    CONTENT_CONVOLUTION,
    CONTENT_DECAY /* negative */
};

struct plan {
    struct nano_weights *weights;
    const struct nano_synthetic_shape *shape;
    enum content *contents; /* one per tensor */
    size_t capacity;
    bool failed; /* there was no memory */
};

/* Layer -1: the name is not of a layer. */
static struct nano_tensor *add(struct plan *plan, int layer, const char *name, enum content content,
                               enum nano_format format)
{
    struct nano_weights *weights = plan->weights;
    char full[64];
    assert(weights->num_tensors < plan->capacity);
    plan->contents[weights->num_tensors] = content;
    struct nano_tensor *tensor = &weights->tensors[weights->num_tensors++];
    if (layer >= 0)
        snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    else
        snprintf(full, sizeof full, "%s", name);
    tensor->name.num_bytes = strlen(full);
    tensor->name.bytes = nano_arena_strdup(&weights->arena, full, tensor->name.num_bytes);
    plan->failed |= !tensor->name.bytes;
    tensor->format = format;
    for (int i = 0; i < NANO_MAX_DIMS; i++)
        tensor->dims[i] = 1;
    return tensor;
}

static void add_vector(struct plan *plan, int layer, const char *name, enum content content, int n)
{
    struct nano_tensor *tensor = add(plan, layer, name, content, NANO_FORMAT_F32);
    tensor->num_dims = 1;
    tensor->dims[0] = n;
    tensor->num_bytes = nano_format_row_bytes(tensor->format, n);
}

/* Its format is chosen when all tensors are known. */
static struct nano_tensor *add_matrix(struct plan *plan, int layer, const char *name, int rows,
                                      int cols)
{
    struct nano_tensor *tensor = add(plan, layer, name, CONTENT_MATRIX, NANO_FORMAT_F32);
    tensor->num_dims = 2;
    tensor->dims[0] = cols;
    tensor->dims[1] = rows;
    return tensor;
}

/* A matrix for every expert. */
static void add_stacked(struct plan *plan, int layer, const char *name, int rows, int cols)
{
    struct nano_tensor *tensor = add_matrix(plan, layer, name, rows, cols);
    tensor->num_dims = 3;
    tensor->dims[2] = plan->shape->num_experts;
}

/* A matrix that stays as it is, whatever the others' format. */
static void add_small_matrix(struct plan *plan, int layer, const char *name, enum content content,
                             int rows, int cols)
{
    struct nano_tensor *tensor = add(plan, layer, name, content, NANO_FORMAT_F32);
    tensor->num_dims = 2;
    tensor->dims[0] = cols;
    tensor->dims[1] = rows;
    tensor->num_bytes = (size_t)rows * nano_format_row_bytes(tensor->format, cols);
}

static void choose_formats(struct plan *plan, enum nano_mix_id mix)
{
    struct nano_weights *weights = plan->weights;
    struct nano_quant_chooser chooser;
    nano_quant_begin(&chooser, mix, weights, false);
    for (size_t i = 0; i < weights->num_tensors; i++) {
        struct nano_tensor *tensor = &weights->tensors[i];
        if (plan->contents[i] != CONTENT_MATRIX)
            continue;
        if (nano_quant_allows(tensor))
            tensor->format = nano_quant_fit(nano_quant_choose(&chooser, tensor), tensor->dims[0]);
        tensor->num_bytes = (size_t)(tensor->dims[1] * tensor->dims[2]) *
                            nano_format_row_bytes(tensor->format, tensor->dims[0]);
    }
}

static void add_mamba2_layer(struct plan *plan, int layer)
{
    const struct nano_synthetic_shape *shape = plan->shape;
    const int hidden = shape->hidden_size, inner = shape->inner_size,
              heads = shape->num_state_heads, groups = shape->num_state_groups;
    const int conv = inner + 2 * groups * shape->state_size;
    add_vector(plan, layer, "attn_norm.weight", CONTENT_NORM, hidden);
    add_matrix(plan, layer, "ssm_in.weight", inner + conv + heads, hidden);
    add_small_matrix(plan, layer, "ssm_conv1d.weight", CONTENT_CONVOLUTION, conv,
                     shape->conv_kernel);
    add_vector(plan, layer, "ssm_conv1d.bias", CONTENT_BIAS, conv);
    add_vector(plan, layer, "ssm_dt.bias", CONTENT_BIAS, heads);
    add_small_matrix(plan, layer, "ssm_a", CONTENT_DECAY, heads, 1);
    add_small_matrix(plan, layer, "ssm_d", CONTENT_NORM, heads, 1);
    add_small_matrix(plan, layer, "ssm_norm.weight", CONTENT_NORM, groups, inner / groups);
    add_matrix(plan, layer, "ssm_out.weight", hidden, inner);
}

static void add_ffn(struct plan *plan, int layer, const char *norm)
{
    const int hidden = plan->shape->hidden_size, ffn = plan->shape->intermediate_size;
    add_vector(plan, layer, norm, CONTENT_NORM, hidden);
    if (plan->shape->num_experts) {
        add_matrix(plan, layer, "ffn_gate_inp.weight", plan->shape->num_experts, hidden);
        add_stacked(plan, layer, "ffn_gate_exps.weight", ffn, hidden);
        add_stacked(plan, layer, "ffn_up_exps.weight", ffn, hidden);
        add_stacked(plan, layer, "ffn_down_exps.weight", hidden, ffn);
        return;
    }
    add_matrix(plan, layer, "ffn_gate.weight", ffn, hidden);
    add_matrix(plan, layer, "ffn_up.weight", ffn, hidden);
    add_matrix(plan, layer, "ffn_down.weight", hidden, ffn);
}

static void add_delta_net(struct plan *plan, int layer)
{
    const struct nano_synthetic_shape *shape = plan->shape;
    const int hidden = shape->hidden_size, inner = shape->inner_size,
              heads = shape->num_state_heads;
    const int qkv = inner + 2 * shape->num_state_groups * shape->state_size;
    add_matrix(plan, layer, "attn_qkv.weight", qkv, hidden);
    add_matrix(plan, layer, "attn_gate.weight", inner, hidden);
    add_matrix(plan, layer, "ssm_alpha.weight", heads, hidden);
    add_matrix(plan, layer, "ssm_beta.weight", heads, hidden);
    add_small_matrix(plan, layer, "ssm_conv1d.weight", CONTENT_CONVOLUTION, qkv,
                     shape->conv_kernel);
    add_vector(plan, layer, "ssm_dt.bias", CONTENT_BIAS, heads);
    add_vector(plan, layer, "ssm_a", CONTENT_DECAY, heads);
    add_vector(plan, layer, "ssm_norm.weight", CONTENT_NORM, inner / heads);
    add_matrix(plan, layer, "ssm_out.weight", hidden, inner);
}

static void add_gated_attention(struct plan *plan, int layer)
{
    const struct nano_synthetic_shape *shape = plan->shape;
    const int hidden = shape->hidden_size, q = shape->num_heads * shape->head_dim,
              kv = shape->num_kv_heads * shape->head_dim;
    add_matrix(plan, layer, "attn_q.weight", 2 * q, hidden);
    add_matrix(plan, layer, "attn_k.weight", kv, hidden);
    add_matrix(plan, layer, "attn_v.weight", kv, hidden);
    add_vector(plan, layer, "attn_q_norm.weight", CONTENT_NORM, shape->head_dim);
    add_vector(plan, layer, "attn_k_norm.weight", CONTENT_NORM, shape->head_dim);
    add_matrix(plan, layer, "attn_output.weight", hidden, q);
}

static void add_delta_layer(struct plan *plan, int layer)
{
    add_vector(plan, layer, "attn_norm.weight", CONTENT_NORM, plan->shape->hidden_size);
    if ((layer + 1) % plan->shape->full_attention_interval == 0)
        add_gated_attention(plan, layer);
    else
        add_delta_net(plan, layer);
    add_ffn(plan, layer, "post_attention_norm.weight");
}

static void add_layer(struct plan *plan, int layer)
{
    const struct nano_synthetic_shape *shape = plan->shape;
    int hidden = shape->hidden_size;
    int q = shape->num_heads * shape->head_dim, kv = shape->num_kv_heads * shape->head_dim;
    add_vector(plan, layer, "attn_norm.weight", CONTENT_NORM, hidden);
    add_matrix(plan, layer, "attn_q.weight", q, hidden);
    add_matrix(plan, layer, "attn_k.weight", kv, hidden);
    add_matrix(plan, layer, "attn_v.weight", kv, hidden);
    if (shape->qkv_bias) {
        add_vector(plan, layer, "attn_q.bias", CONTENT_BIAS, q);
        add_vector(plan, layer, "attn_k.bias", CONTENT_BIAS, kv);
        add_vector(plan, layer, "attn_v.bias", CONTENT_BIAS, kv);
    }
    if (shape->qk_norm) {
        add_vector(plan, layer, "attn_q_norm.weight", CONTENT_NORM, shape->head_dim);
        add_vector(plan, layer, "attn_k_norm.weight", CONTENT_NORM, shape->head_dim);
    }
    add_matrix(plan, layer, "attn_output.weight", hidden, q);
    add_ffn(plan, layer, "ffn_norm.weight");
}

static void add_all(struct plan *plan)
{
    const struct nano_synthetic_shape *shape = plan->shape;
    add_matrix(plan, -1, "token_embd.weight", shape->vocab_size, shape->hidden_size);
    if (shape->rope_factor > 0)
        add_vector(plan, -1, "rope_freqs.weight", CONTENT_ROPE_FACTORS, shape->head_dim / 2);
    for (int layer = 0; layer < shape->num_layers; layer++)
        (!shape->inner_size  ? add_layer
         : !shape->num_heads ? add_mamba2_layer
                             : add_delta_layer)(plan, layer);
    add_vector(plan, -1, "output_norm.weight", CONTENT_NORM, shape->hidden_size);
    if (!shape->tied)
        add_matrix(plan, -1, "output.weight", shape->vocab_size, shape->hidden_size);
}

/* Llama 3's scaling: what the frequency of pair i is divided by. Pairs that turn often within the
 * original context keep theirs, slow ones are slowed by the whole factor, between them it goes over
 * smoothly. */
static void fill_rope_factors(uint8_t *dst, const struct nano_synthetic_shape *shape)
{
    const double original_context = 8192, low_freq_factor = 1, high_freq_factor = 4;
    const double pi = 3.14159265358979323846;
    for (int i = 0; i < shape->head_dim / 2; i++) {
        double freq = pow((double)shape->rope_theta, -2.0 * i / shape->head_dim);
        double turns = original_context * freq / (2 * pi);
        double factor = (double)shape->rope_factor;
        double smooth = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
        if (smooth > 0)
            factor = smooth >= 1 ? 1 : 1 / ((1 - smooth) / factor + smooth);
        nano_le_store(dst + 4 * i, nano_le_bits_f32((float)factor), 4);
    }
}

static void fill(const struct plan *plan, size_t i, uint8_t *dst, uint64_t key)
{
    const struct nano_tensor *tensor = &plan->weights->tensors[i];
    const int64_t count = tensor->dims[0] * tensor->dims[1];
    switch (plan->contents[i]) {
    case CONTENT_MATRIX:
        nano_synthetic_fill(dst, tensor->format, tensor->dims[1] * tensor->dims[2], tensor->dims[0],
                            1.0f / sqrtf((float)tensor->dims[0]), key);
        break;
    case CONTENT_NORM:
        nano_synthetic_fill_f32(dst, count, 1, NORM_RADIUS, key);
        break;
    case CONTENT_CONVOLUTION:
        nano_synthetic_fill_f32(dst, count, 0, 1, key);
        break;
    case CONTENT_DECAY:
        nano_synthetic_fill_f32(dst, count, -1, DECAY_RADIUS, key);
        break;
    case CONTENT_BIAS:
        nano_synthetic_fill_f32(dst, tensor->dims[0], 0, BIAS_RADIUS, key);
        break;
    case CONTENT_ROPE_FACTORS:
        fill_rope_factors(dst, plan->shape);
        break;
    }
}

enum nano_status nano_synthetic_open(struct nano_weights *out, const char *spec, uint64_t seed,
                                     struct nano_error *err)
{
    enum nano_status status;
    const struct nano_synthetic_shape *shape;
    enum nano_mix_id mix;
    struct plan plan = {.weights = out};
    size_t offset = 0;
    *out = (struct nano_weights){0};
    nano_arena_init(&out->arena);
    NANO_TRY(nano_synthetic_parse(spec, &shape, &mix, err));

    plan.shape = shape;
    plan.capacity = MAX_OTHER_TENSORS + (size_t)shape->num_layers * MAX_LAYER_TENSORS;
    plan.contents = nano_mem_alloc(plan.capacity, sizeof *plan.contents);
    out->path = nano_arena_strdup(&out->arena, "", 0);
    out->tensors = nano_arena_alloc(&out->arena, plan.capacity, sizeof *out->tensors);
    if (!plan.contents || !out->path || !out->tensors ||
        !nano_synthetic_metadata(out, shape, mix)) {
        status = nano_error_no_memory(err, "a synthetic model's metadata", out->arena.total_bytes);
        goto fail;
    }
    add_all(&plan);
    if (!plan.failed)
        choose_formats(&plan, mix);
    for (size_t i = 0; i < out->num_tensors; i++)
        offset += nano_mem_round_up(out->tensors[i].num_bytes);
    out->owned_data = plan.failed ? NULL : nano_mem_alloc_aligned(offset);
    if (!out->owned_data) {
        status = nano_error_no_memory(err, "a synthetic model's weights", offset);
        goto fail;
    }
    out->owned_bytes = offset;
    offset = 0;
    for (size_t i = 0; i < out->num_tensors; i++) {
        uint8_t *data = (uint8_t *)out->owned_data + offset;
        out->tensors[i].data = data;
        fill(&plan, i, data, (seed + 1) * 0xD1342543DE82EF95u + ((uint64_t)i << 32));
        offset += nano_mem_round_up(out->tensors[i].num_bytes);
    }
    NANO_TRY(nano_weights_finish(out, err));
    nano_mem_free(plan.contents);
    return NANO_OK;
fail:
    nano_mem_free(plan.contents);
    nano_weights_close(out);
    return status;
}
