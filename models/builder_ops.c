/* Builder, second half: buffers and ops. */
#include <stdio.h>

#include "models/builder.h"
#include "models/passes.h"

#define NAME_BYTES 96

static void no_memory(struct nano_builder *b)
{
    nano_build_fail(b, NANO_ERR_NO_MEMORY, "no memory left for the program");
}

struct nano_view nano_build_buffer(struct nano_builder *b, const char *name, int64_t width)
{
    if (b->status != NANO_OK)
        return (struct nano_view){0};
    struct nano_buffer *buffer = nano_program_add_buffer(b->program);
    if (!buffer) {
        no_memory(b);
        return (struct nano_view){0};
    }
    buffer->name = name;
    buffer->width = width;
    buffer->domain = b->program->gather_op < 0 ? NANO_ROWS_TOKENS : NANO_ROWS_OUTPUTS;
    return (struct nano_view){.buffer = b->program->num_buffers - 1, .width = width};
}

/* A new op of the current layer; a dummy that nobody reads after a failure. */
static struct nano_op *add_op(struct nano_builder *b, enum nano_op_kind kind, const char *label,
                              struct nano_op *dummy)
{
    struct nano_op *op = b->status == NANO_OK ? nano_program_add_op(b->program) : NULL;
    if (!op) {
        no_memory(b);
        *dummy = (struct nano_op){0};
        op = dummy;
    }
    op->kind = kind;
    op->label = label;
    op->layer = b->layer;
    return op;
}

struct nano_view nano_build_embed(struct nano_builder *b, const struct nano_tensor *weight)
{
    struct nano_op dummy;
    struct nano_view out = nano_build_buffer(b, "x", b->program->config.hidden_size);
    struct nano_op *op = add_op(b, NANO_OP_EMBED, "token_embd", &dummy);
    op->num_out = 1;
    op->out[0] = out;
    op->weight[0] = weight;
    return out;
}

struct nano_view nano_build_rms_norm(struct nano_builder *b, const char *label, struct nano_view in,
                                     const struct nano_tensor *weight, int64_t group_width)
{
    struct nano_op dummy;
    struct nano_view out = nano_build_buffer(b, label, in.width);
    struct nano_op *op = add_op(b, NANO_OP_RMS_NORM, label, &dummy);
    op->num_in = op->num_out = 1;
    op->in[0] = in;
    op->out[0] = out;
    op->weight[0] = weight;
    op->eps = b->program->config.rms_norm_eps;
    op->group_width = group_width;
    return out;
}

struct nano_view nano_build_linear(struct nano_builder *b, const char *label, struct nano_view in,
                                   const struct nano_tensor *weight, const struct nano_tensor *bias)
{
    struct nano_op dummy;
    struct nano_view out = nano_build_buffer(b, label, weight ? weight->dims[1] : 0);
    struct nano_op *op = add_op(b, NANO_OP_LINEAR, label, &dummy);
    op->num_in = op->num_out = 1;
    op->in[0] = in;
    op->out[0] = out;
    op->weight[0] = weight;
    op->bias[0] = bias;
    return out;
}

void nano_build_rope(struct nano_builder *b, const char *label, struct nano_view x, int num_heads,
                     int rope)
{
    struct nano_op dummy;
    struct nano_op *op = add_op(b, NANO_OP_ROPE, label, &dummy);
    op->num_in = op->num_out = 1;
    op->in[0] = op->out[0] = x;
    op->rope = rope;
    op->num_heads = num_heads;
    op->head_dim = (int)b->program->config.head_dim;
}

static int add_kv_layer(struct nano_builder *b, int num_kv_heads, int head_dim)
{
    struct nano_program *p = b->program;
    if (b->status != NANO_OK)
        return 0;
    if (!p->kv_layers)
        p->kv_layers =
            nano_arena_alloc(&p->arena, (size_t)p->config.num_layers, sizeof *p->kv_layers);
    if (!p->kv_layers) {
        no_memory(b);
        return 0;
    }
    if (p->num_kv_layers >= p->config.num_layers) {
        nano_build_fail(b, NANO_ERR_INTERNAL, "more than one attention in a layer");
        return 0;
    }
    p->kv_layers[p->num_kv_layers] =
        (struct nano_kv_layer){.num_kv_heads = num_kv_heads, .head_dim = head_dim};
    return p->num_kv_layers++;
}

struct nano_view nano_build_attention(struct nano_builder *b, struct nano_view q,
                                      struct nano_view k, struct nano_view v, float scale)
{
    const int head_dim = (int)b->program->config.head_dim;
    const int kv_layer = add_kv_layer(b, (int)(k.width / head_dim), head_dim);
    struct nano_view out = nano_build_buffer(b, "attention", q.width);
    struct nano_op dummy;

    struct nano_op *store = add_op(b, NANO_OP_KV_STORE, "kv", &dummy);
    store->num_in = 2;
    store->in[0] = k;
    store->in[1] = v;
    store->kv_layer = kv_layer;
    store->num_heads = store->num_kv_heads = (int)(k.width / head_dim);
    store->head_dim = head_dim;

    struct nano_op *op = add_op(b, NANO_OP_ATTENTION, "attention", &dummy);
    op->num_in = op->num_out = 1;
    op->in[0] = q;
    op->out[0] = out;
    op->kv_layer = kv_layer;
    op->num_heads = (int)(q.width / head_dim);
    op->num_kv_heads = (int)(k.width / head_dim);
    op->head_dim = head_dim;
    op->scale = scale;
    return out;
}

struct nano_view nano_build_silu_mul(struct nano_builder *b, struct nano_view gate,
                                     struct nano_view up)
{
    struct nano_op dummy;
    struct nano_op *op = add_op(b, NANO_OP_SILU_MUL, "ffn_act", &dummy);
    op->num_in = 2;
    op->num_out = 1;
    op->in[0] = op->out[0] = gate;
    op->in[1] = up;
    return gate;
}

void nano_build_add(struct nano_builder *b, struct nano_view x, struct nano_view y)
{
    struct nano_op dummy;
    struct nano_op *op = add_op(b, NANO_OP_ADD, "residual", &dummy);
    op->num_in = op->num_out = 1;
    op->in[0] = y;
    op->out[0] = x;
}

struct nano_view nano_build_gather(struct nano_builder *b, struct nano_view in)
{
    struct nano_op dummy;
    struct nano_op *op = add_op(b, NANO_OP_GATHER, "output_rows", &dummy);
    op->num_in = op->num_out = 1;
    op->in[0] = in;
    b->program->gather_op = b->program->num_ops - 1;
    op->out[0] = nano_build_buffer(b, "x_out", in.width);
    return op->out[0];
}

void nano_build_logits(struct nano_builder *b, struct nano_view in,
                       const struct nano_tensor *weight)
{
    b->program->logits_buffer = nano_build_linear(b, "output", in, weight, NULL).buffer;
}

struct nano_view nano_build_layer_linear(struct nano_builder *b, const char *name,
                                         struct nano_view in, int64_t rows,
                                         enum nano_bias bias_rule)
{
    char full_name[NAME_BYTES];
    snprintf(full_name, sizeof full_name, "blk.%%d.%s.weight", name);
    const struct nano_tensor *weight = nano_build_weight(b, full_name, in.width, rows);
    const struct nano_tensor *bias = NULL;
    snprintf(full_name, sizeof full_name, "blk.%%d.%s.bias", name);
    if (bias_rule == NANO_BIAS_REQUIRED)
        bias = nano_build_weight(b, full_name, rows, 0);
    else if (bias_rule == NANO_BIAS_OPTIONAL)
        bias = nano_build_weight_optional(b, full_name, rows, 0);
    return nano_build_linear(b, name, in, weight, bias);
}

struct nano_view nano_build_layer_norm(struct nano_builder *b, const char *name,
                                       struct nano_view in, int64_t group_width)
{
    char full_name[NAME_BYTES];
    snprintf(full_name, sizeof full_name, "blk.%%d.%s.weight", name);
    return nano_build_rms_norm(b, name, in, nano_build_weight(b, full_name, group_width, 0),
                               group_width);
}

void nano_build_swiglu_ffn(struct nano_builder *b, struct nano_view x, enum nano_bias bias)
{
    const struct nano_model_config *c = &b->program->config;
    struct nano_view h = nano_build_layer_norm(b, "ffn_norm", x, c->hidden_size);
    struct nano_view gate = nano_build_layer_linear(b, "ffn_gate", h, c->intermediate_size, bias);
    struct nano_view up = nano_build_layer_linear(b, "ffn_up", h, c->intermediate_size, bias);
    struct nano_view act = nano_build_silu_mul(b, gate, up);
    nano_build_add(b, x, nano_build_layer_linear(b, "ffn_down", act, c->hidden_size, bias));
}

void nano_build_head(struct nano_builder *b, struct nano_view x,
                     const struct nano_tensor *embedding)
{
    const struct nano_model_config *c = &b->program->config;
    b->layer = -1;
    x = nano_build_gather(b, x);
    const struct nano_tensor *norm = nano_build_weight(b, "output_norm.weight", c->hidden_size, 0);
    const struct nano_tensor *output =
        nano_build_weight_optional(b, "output.weight", c->hidden_size, c->vocab_size);
    x = nano_build_rms_norm(b, "output_norm", x, norm, c->hidden_size);
    nano_build_logits(b, x, output ? output : embedding);
}
