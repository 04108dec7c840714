/* Builder, second part: buffers and ops. */
#include <math.h>
#include <stdio.h>

#include "base/memory.h"
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

struct nano_view nano_build_slice(struct nano_builder *b, struct nano_view view, int64_t offset,
                                  int64_t width)
{
    if (b->status == NANO_OK && (offset < 0 || width < 1 || offset > view.width - width))
        nano_build_fail(b, NANO_ERR_INTERNAL, "columns %lld to %lld of a view of %lld",
                        (long long)offset, (long long)(offset + width), (long long)view.width);
    return b->status == NANO_OK ? (struct nano_view){view.buffer, view.offset + offset, width}
                                : (struct nano_view){0};
}

struct nano_view nano_build_embed_with(struct nano_builder *b, const struct nano_tensor *weight,
                                       float scale, const struct nano_tensor *bias)
{
    struct nano_op dummy;
    struct nano_view out = nano_build_buffer(b, "x", b->program->config.hidden_size);
    struct nano_op *op = add_op(b, NANO_OP_EMBED, "token_embd", &dummy);
    op->num_out = 1;
    op->out[0] = out;
    op->weight[0] = weight;
    op->bias[0] = bias;
    op->scale = scale;
    return out;
}

struct nano_view nano_build_embed(struct nano_builder *b, const struct nano_tensor *weight,
                                  float scale)
{
    return nano_build_embed_with(b, weight, scale, NULL);
}

void nano_build_position_embed(struct nano_builder *b, struct nano_view x,
                               const struct nano_tensor *weight)
{
    struct nano_op dummy;
    struct nano_op *op = add_op(b, NANO_OP_POSITION_EMBED, "position_embd", &dummy);
    op->num_out = 1;
    op->out[0] = x;
    op->weight[0] = weight;
}

static struct nano_op *add_norm(struct nano_builder *b, enum nano_op_kind kind, const char *label,
                                struct nano_view in, int64_t group_width, float eps,
                                struct nano_op *dummy)
{
    struct nano_view out = nano_build_buffer(b, label, in.width);
    struct nano_op *op = add_op(b, kind, label, dummy);
    op->num_in = op->num_out = 1;
    op->in[0] = in;
    op->out[0] = out;
    op->eps = eps;
    op->group_width = group_width;
    return op;
}

struct nano_view nano_build_rms_norm(struct nano_builder *b, const char *label, struct nano_view in,
                                     const struct nano_tensor *weight, int64_t group_width)
{
    struct nano_op dummy;
    struct nano_op *op = add_norm(b, NANO_OP_RMS_NORM, label, in, group_width,
                                  b->program->config.rms_norm_eps, &dummy);
    op->weight[0] = weight;
    return op->out[0];
}

void nano_build_rms_norm_in_place(struct nano_builder *b, const char *label, struct nano_view x,
                                  const struct nano_tensor *weight)
{
    struct nano_op dummy;
    struct nano_op *op = add_op(b, NANO_OP_RMS_NORM, label, &dummy);
    op->num_in = op->num_out = 1;
    op->in[0] = op->out[0] = x;
    op->weight[0] = weight;
    op->group_width = x.width;
    op->eps = b->program->config.rms_norm_eps;
}

struct nano_view nano_build_mean_norm(struct nano_builder *b, const char *label,
                                      struct nano_view in, const struct nano_tensor *weight,
                                      const struct nano_tensor *bias, int64_t group_width)
{
    struct nano_op dummy;
    struct nano_op *op = add_norm(b, NANO_OP_LAYER_NORM, label, in, group_width,
                                  b->program->config.rms_norm_eps, &dummy);
    op->weight[0] = weight;
    op->bias[0] = bias;
    return op->out[0];
}

struct nano_view nano_build_l2_norm(struct nano_builder *b, const char *label, struct nano_view in,
                                    int64_t group_width, float eps)
{
    struct nano_op dummy;
    return add_norm(b, NANO_OP_L2_NORM, label, in, group_width, eps, &dummy)->out[0];
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

struct nano_view nano_build_head_linear(struct nano_builder *b, const char *label,
                                        struct nano_view in, int64_t in_stride,
                                        struct nano_view out, int64_t out_stride,
                                        const struct nano_tensor *weight, bool copies_rest)
{
    struct nano_op dummy;
    struct nano_op *op = add_op(b, NANO_OP_HEAD_LINEAR, label, &dummy);
    op->num_in = op->num_out = 1;
    op->in[0] = in;
    op->out[0] = out;
    op->in_stride = in_stride;
    op->out_stride = out_stride;
    op->weight[0] = weight;
    op->num_heads = weight ? (int)weight->dims[2] : 0;
    op->copies_rest = copies_rest;
    return out;
}

void nano_build_rope(struct nano_builder *b, const char *label, struct nano_view x, int num_heads,
                     int rope)
{
    nano_build_rope_part(b, label, x, num_heads, (int)b->program->config.head_dim, 0, rope);
}

void nano_build_rope_part(struct nano_builder *b, const char *label, struct nano_view x,
                          int num_heads, int head_dim, int offset, int rope)
{
    struct nano_op dummy;
    struct nano_op *op = add_op(b, NANO_OP_ROPE, label, &dummy);
    op->num_in = op->num_out = 1;
    op->in[0] = op->out[0] = x;
    op->rope = rope;
    op->rope_offset = offset;
    op->num_heads = num_heads;
    op->head_dim = head_dim;
}

static int add_kv_layer(struct nano_builder *b, const struct nano_kv_layer *layer)
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
    p->kv_layers[p->num_kv_layers] = *layer;
    return p->num_kv_layers++;
}

struct nano_view nano_build_attention_with(struct nano_builder *b, struct nano_view q,
                                           struct nano_view k, struct nano_view v,
                                           const struct nano_attention_options *options)
{
    const int head_dim = options->head_dim ? options->head_dim : (int)b->program->config.head_dim;
    const int v_head_dim = options->v_head_dim ? options->v_head_dim : head_dim;
    const int num_heads = (int)(q.width / head_dim), num_kv_heads = (int)(k.width / head_dim);
    const struct nano_kv_layer layer = {.num_kv_heads = num_kv_heads,
                                        .head_dim = head_dim,
                                        .v_head_dim = v_head_dim,
                                        .window = options->window,
                                        .v_in_k = options->v_in_k};
    const int kv_layer = add_kv_layer(b, &layer);
    const bool bidirectional =
        options->bidirectional || !nano_build_bool(b, "attention.causal", true);
    b->program->bidirectional |= bidirectional;
    struct nano_view out = nano_build_buffer(b, "attention", (int64_t)num_heads * v_head_dim);
    struct nano_op dummy;

    struct nano_op *store = add_op(b, NANO_OP_KV_STORE, "kv", &dummy);
    store->num_in = options->v_in_k ? 1 : 2;
    store->in[0] = k;
    store->in[1] = v;
    store->kv_layer = kv_layer;
    store->num_heads = store->num_kv_heads = num_kv_heads;
    store->head_dim = head_dim;
    store->v_head_dim = v_head_dim;

    struct nano_op *op = add_op(b, NANO_OP_ATTENTION, "attention", &dummy);
    op->num_in = op->num_out = 1;
    op->in[0] = q;
    op->out[0] = out;
    op->kv_layer = kv_layer;
    op->num_heads = num_heads;
    op->num_kv_heads = num_kv_heads;
    op->head_dim = head_dim;
    op->v_head_dim = v_head_dim;
    op->scale = options->scale != 0 ? options->scale : 1 / sqrtf((float)head_dim);
    op->softcap = options->softcap;
    op->bidirectional = bidirectional;
    op->weight[0] = options->sinks;
    return out;
}

struct nano_view nano_build_attention(struct nano_builder *b, struct nano_view q,
                                      struct nano_view k, struct nano_view v, float scale)
{
    const struct nano_attention_options options = {.scale = scale};
    return nano_build_attention_with(b, q, k, v, &options);
}

struct nano_view nano_build_glu(struct nano_builder *b, enum nano_act act, struct nano_view gate,
                                struct nano_view up)
{
    struct nano_op dummy;
    struct nano_op *op = add_op(b, NANO_OP_GLU, "ffn_act", &dummy);
    op->num_in = 2;
    op->num_out = 1;
    op->in[0] = gate;
    op->in[1] = op->out[0] = up;
    op->act = act;
    return up;
}

/* An op that changes x where it is. */
static struct nano_op *add_in_place(struct nano_builder *b, enum nano_op_kind kind,
                                    const char *label, struct nano_view x, struct nano_op *dummy)
{
    struct nano_op *op = add_op(b, kind, label, dummy);
    op->num_in = op->num_out = 1;
    op->in[0] = op->out[0] = x;
    return op;
}

void nano_build_activate(struct nano_builder *b, enum nano_act act, struct nano_view x)
{
    struct nano_op dummy;
    add_in_place(b, NANO_OP_ACTIVATE, "act", x, &dummy)->act = act;
}

void nano_build_scale(struct nano_builder *b, struct nano_view x, float scale)
{
    struct nano_op dummy;
    add_in_place(b, NANO_OP_SCALE, "scale", x, &dummy)->scale = scale;
}

void nano_build_softcap(struct nano_builder *b, struct nano_view x, float softcap)
{
    struct nano_op dummy;
    add_in_place(b, NANO_OP_SOFTCAP, "softcap", x, &dummy)->softcap = softcap;
}

void nano_build_position_scale(struct nano_builder *b, struct nano_view x, float scale,
                               int scale_length)
{
    struct nano_op dummy;
    struct nano_op *op = add_in_place(b, NANO_OP_POSITION_SCALE, "temperature", x, &dummy);
    op->scale = scale;
    op->scale_length = scale_length;
}

void nano_build_split_heads_into(struct nano_builder *b, struct nano_view in, int num_heads,
                                 const struct nano_view *out, int num_out)
{
    struct nano_op dummy;
    struct nano_op *op = add_op(b, NANO_OP_SPLIT_HEADS, "split", &dummy);
    op->num_in = 1;
    op->num_out = num_out;
    op->in[0] = in;
    for (int i = 0; i < num_out; i++)
        op->out[i] = out[i];
    op->num_heads = num_heads;
}

void nano_build_split_heads(struct nano_builder *b, struct nano_view in, int num_heads,
                            struct nano_view *first, struct nano_view *second)
{
    *first = nano_build_buffer(b, "first", in.width / 2);
    *second = nano_build_buffer(b, "second", in.width / 2);
    nano_build_split_heads_into(b, in, num_heads, (const struct nano_view[]){*first, *second}, 2);
}

void nano_build_add(struct nano_builder *b, struct nano_view x, struct nano_view y)
{
    nano_build_add_scaled(b, x, y, 1);
}

void nano_build_add_scaled(struct nano_builder *b, struct nano_view x, struct nano_view y,
                           float scale)
{
    struct nano_op dummy;
    struct nano_op *op = add_op(b, NANO_OP_ADD, "residual", &dummy);
    op->num_in = op->num_out = 1;
    op->in[0] = y;
    op->out[0] = x;
    op->scale = scale;
}

struct nano_view nano_build_route(struct nano_builder *b, struct nano_view logits,
                                  const struct nano_tensor *choice_bias, const struct nano_moe *moe)
{
    struct nano_op dummy;
    const int64_t width = moe->num_used * (int64_t)(sizeof(struct nano_route) / sizeof(float));
    struct nano_view out = nano_build_buffer(b, "routes", width);
    struct nano_op *op = add_op(b, NANO_OP_ROUTE, "route", &dummy);
    op->num_in = op->num_out = 1;
    op->in[0] = logits;
    op->out[0] = out;
    op->weight[0] = choice_bias;
    op->moe = *moe;
    return out;
}

struct nano_view nano_build_moe(struct nano_builder *b, struct nano_view in,
                                struct nano_view routes, enum nano_act act,
                                const struct nano_moe *moe,
                                const struct nano_tensor *const weight[3],
                                const struct nano_tensor *const bias[3])
{
    struct nano_op dummy;
    struct nano_view out = nano_build_buffer(b, "experts", weight[2] ? weight[2]->dims[1] : 1);
    struct nano_op *op = add_op(b, NANO_OP_MOE, "ffn_experts", &dummy);
    op->num_in = 2;
    op->num_out = 1;
    op->in[0] = in;
    op->in[1] = routes;
    op->out[0] = out;
    op->act = act;
    op->moe = *moe;
    for (int i = 0; i < 3; i++) {
        op->weight[i] = weight[i];
        op->bias[i] = bias[i];
    }
    return out;
}

/* Adds an op with that many floats of state. */
static struct nano_op *add_recurrent(struct nano_builder *b, enum nano_op_kind kind,
                                     const char *label, int64_t state_floats, struct nano_op *dummy)
{
    const int64_t line = NANO_CACHE_LINE / sizeof(float);
    struct nano_op *op = add_op(b, kind, label, dummy);
    op->state_offset = b->program->state_floats;
    b->program->state_floats += (state_floats + line - 1) / line * line;
    return op;
}

struct nano_view nano_build_short_conv(struct nano_builder *b, const char *label,
                                       struct nano_view in, enum nano_act act,
                                       const struct nano_tensor *weight,
                                       const struct nano_tensor *bias)
{
    struct nano_op dummy;
    struct nano_view out = nano_build_buffer(b, label, in.width);
    const int kernel = weight ? (int)weight->dims[0] : 1;
    struct nano_op *op =
        add_recurrent(b, NANO_OP_SHORT_CONV, label, (kernel - 1) * in.width, &dummy);
    op->num_in = op->num_out = 1;
    op->in[0] = in;
    op->out[0] = out;
    op->act = act;
    op->weight[0] = weight;
    op->bias[0] = bias;
    op->recurrence.kernel = kernel;
    return out;
}

static int64_t recurrence_floats(const struct nano_recurrence *shape)
{
    return (int64_t)shape->num_heads * shape->head_dim * shape->state_size;
}

struct nano_view nano_build_mamba2(struct nano_builder *b, struct nano_view xbc,
                                   struct nano_view dt, const struct nano_recurrence *shape,
                                   const struct nano_tensor *a, const struct nano_tensor *d,
                                   const struct nano_tensor *dt_bias)
{
    struct nano_op dummy;
    struct nano_view out = nano_build_buffer(b, "ssm", (int64_t)shape->num_heads * shape->head_dim);
    struct nano_op *op = add_recurrent(b, NANO_OP_MAMBA2, "ssm", recurrence_floats(shape), &dummy);
    op->num_in = 2;
    op->num_out = 1;
    op->in[0] = xbc;
    op->in[1] = dt;
    op->out[0] = out;
    op->weight[0] = a;
    op->weight[1] = d;
    op->weight[2] = dt_bias;
    op->recurrence = *shape;
    return out;
}

struct nano_view nano_build_delta_net(struct nano_builder *b, struct nano_view qkv,
                                      struct nano_view alpha, struct nano_view beta,
                                      const struct nano_recurrence *shape,
                                      const struct nano_tensor *a,
                                      const struct nano_tensor *alpha_bias)
{
    struct nano_op dummy;
    struct nano_view out =
        nano_build_buffer(b, "delta_net", (int64_t)shape->num_heads * shape->head_dim);
    struct nano_op *op =
        add_recurrent(b, NANO_OP_DELTA_NET, "delta_net", recurrence_floats(shape), &dummy);
    op->num_in = 3;
    op->num_out = 1;
    op->in[0] = qkv;
    op->in[1] = alpha;
    op->in[2] = beta;
    op->out[0] = out;
    op->weight[0] = a;
    op->weight[1] = alpha_bias;
    op->eps = b->program->config.rms_norm_eps;
    op->recurrence = *shape;
    return out;
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

struct nano_view nano_build_logits(struct nano_builder *b, struct nano_view in,
                                   const struct nano_tensor *weight)
{
    struct nano_view logits = nano_build_linear(b, "output", in, weight, NULL);
    b->program->hidden_buffer = in.buffer;
    b->program->logits_buffer = logits.buffer;
    return logits;
}

void nano_build_hidden_rows(struct nano_builder *b, struct nano_view in)
{
    b->layer = -1;
    b->program->hidden_buffer = nano_build_gather(b, in).buffer;
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
    if (c->intermediate_size < 1)
        nano_build_fail(b, NANO_ERR_FORMAT, "metadata key '%s.feed_forward_length' is missing",
                        c->architecture);
    struct nano_view h = nano_build_layer_norm(b, "ffn_norm", x, c->hidden_size);
    struct nano_view gate = nano_build_layer_linear(b, "ffn_gate", h, c->intermediate_size, bias);
    struct nano_view up = nano_build_layer_linear(b, "ffn_up", h, c->intermediate_size, bias);
    struct nano_view act = nano_build_glu(b, NANO_ACT_SILU, gate, up);
    nano_build_add(b, x, nano_build_layer_linear(b, "ffn_down", act, c->hidden_size, bias));
}

struct nano_view nano_build_head(struct nano_builder *b, struct nano_view x,
                                 const struct nano_tensor *embedding)
{
    const struct nano_model_config *c = &b->program->config;
    b->layer = -1;
    x = nano_build_gather(b, x);
    const struct nano_tensor *norm = nano_build_weight(b, "output_norm.weight", c->hidden_size, 0);
    const struct nano_tensor *output =
        nano_build_weight_optional(b, "output.weight", c->hidden_size, c->vocab_size);
    x = nano_build_rms_norm(b, "output_norm", x, norm, c->hidden_size);
    return nano_build_logits(b, x, output ? output : embedding);
}
