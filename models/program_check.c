/* Check: the invariant of programs, verified before anything runs one. A failure is a bug of an
 * architecture or a pass, not of a file. */
#include <stdio.h>

#include "base/memory.h"
#include "models/passes.h"

struct check {
    const struct nano_program *program;
    bool *written; /* [num_buffers] */
    int op;
    const char *fault; /* NULL: none yet */
};

static void expect(struct check *c, bool condition, const char *fault)
{
    if (!condition && !c->fault)
        c->fault = fault;
}

static bool view_is_valid(const struct nano_program *p, struct nano_view v)
{
    return v.buffer >= 0 && v.buffer < p->num_buffers && v.offset >= 0 && v.width > 0 &&
           v.offset <= p->buffers[v.buffer].width - v.width;
}

static void check_domains(struct check *c, const struct nano_op *op)
{
    const struct nano_program *p = c->program;
    const enum nano_row_domain in = c->op <= p->gather_op ? NANO_ROWS_TOKENS : NANO_ROWS_OUTPUTS;
    const enum nano_row_domain out = c->op < p->gather_op ? NANO_ROWS_TOKENS : NANO_ROWS_OUTPUTS;
    for (int i = 0; i < op->num_in; i++)
        expect(c, p->buffers[op->in[i].buffer].domain == in, "reads rows of the wrong domain");
    for (int i = 0; i < op->num_out; i++)
        expect(c, p->buffers[op->out[i].buffer].domain == out, "writes rows of the wrong domain");
}

static bool is_vector(const struct nano_tensor *tensor, int64_t count)
{
    return tensor && tensor->format == NANO_FORMAT_F32 &&
           tensor->dims[0] * tensor->dims[1] * tensor->dims[2] * tensor->dims[3] == count;
}

/* True if it is a function of one value. */
static bool has_act(enum nano_act act)
{
    return act >= 0 && act < NANO_NUM_ACTS && act != NANO_ACT_SWIGLU_CLAMPED;
}

static void check_linear(struct check *c, const struct nano_op *op)
{
    expect(c, !op->norm || is_vector(op->norm, op->in[0].width), "has a norm of another shape");
    expect(c, !op->norm_bias || (op->is_layer_norm && is_vector(op->norm_bias, op->in[0].width)),
           "has a norm of another shape");
    expect(c, op->glu || !op->act || (op->num_out == 1 && !op->accumulate && has_act(op->act)),
           "has an act that does not fit");
    expect(c, !op->glu || (op->num_out == 1 && !op->accumulate),
           "has more than one output of a gate");
    for (int i = 0; i < nano_op_num_weights(op); i++) {
        const struct nano_tensor *w = op->weight[i], *bias = op->bias[i];
        const int64_t width = op->out[op->glu ? 0 : i].width;
        expect(c, w && w->dims[0] == op->in[0].width && w->dims[1] == width,
               "has a weight of another shape");
        expect(c, !bias || (bias->dims[0] == width && bias->format == NANO_FORMAT_F32),
               "has a bias of another shape");
    }
    for (int i = 0; i < op->num_out; i++) {
        expect(c, !nano_view_overlaps(op->in[0], op->out[i]), "writes its own input");
        expect(c, !op->accumulate || c->written[op->out[i].buffer], "adds to what nothing wrote");
        for (int k = 0; k < i; k++)
            expect(c, !nano_view_overlaps(op->out[k], op->out[i]), "has overlapping segments");
    }
}

static void check_norm(struct check *c, const struct nano_op *op)
{
    expect(c,
           op->num_in == 1 && op->num_out == 1 && op->in[0].width == op->out[0].width &&
               op->group_width > 0 && op->in[0].width % op->group_width == 0,
           "has uneven groups");
    expect(c,
           op->kind == NANO_OP_L2_NORM || is_vector(op->weight[0], op->group_width) ||
               is_vector(op->weight[0], op->in[0].width),
           "has a weight of another shape");
    expect(c, !op->bias[0] || is_vector(op->bias[0], op->group_width),
           "has a bias of another shape");
}

static void check_attention(struct check *c, const struct nano_op *op)
{
    const struct nano_program *p = c->program;
    expect(c, op->kv_layer >= 0 && op->kv_layer < p->num_kv_layers, "names no kv layer");
    if (c->fault)
        return;
    const struct nano_kv_layer *kv = &p->kv_layers[op->kv_layer];
    const int64_t k_width = (int64_t)kv->num_kv_heads * kv->head_dim,
                  v_width = (int64_t)kv->num_kv_heads * kv->v_head_dim;
    expect(c,
           kv->num_kv_heads == op->num_kv_heads && kv->head_dim == op->head_dim &&
               kv->v_head_dim == op->v_head_dim,
           "does not fit its kv layer");
    expect(c, kv->num_kv_heads > 0 && kv->head_dim > 0 && kv->v_head_dim > 0, "has no heads");
    if (op->kind == NANO_OP_KV_STORE) {
        expect(c, op->num_in == (kv->v_in_k ? 1 : 2), "needs k and v");
        expect(c, op->in[0].width == k_width && (kv->v_in_k || op->in[1].width == v_width),
               "has k or v of another width");
        expect(c, !kv->v_in_k || kv->v_head_dim <= kv->head_dim, "has v wider than k");
        return;
    }
    expect(c, op->num_heads > 0 && op->num_heads % op->num_kv_heads == 0,
           "has uneven groups of heads");
    expect(c,
           op->in[0].width == (int64_t)op->num_heads * op->head_dim &&
               op->out[0].width == (int64_t)op->num_heads * op->v_head_dim,
           "has q of another width");
    expect(c, !op->weight[0] || is_vector(op->weight[0], op->num_heads),
           "has sinks of another shape");
    expect(c, !op->bidirectional || !kv->window, "has a window and looks ahead");
    for (int i = 0; i < p->num_ops; i++)
        expect(c,
               p->ops[i].kind != NANO_OP_ATTENTION || p->ops[i].bidirectional == op->bidirectional,
               "looks ahead, but not every attention does");
    expect(c, !nano_view_overlaps(op->in[0], op->out[0]), "writes its own input");
}

static void check_head_linear(struct check *c, const struct nano_op *op)
{
    const struct nano_tensor *w = op->weight[0];
    expect(c,
           op->num_in == 1 && op->num_out == 1 && w && op->num_heads > 0 &&
               w->dims[2] == op->num_heads,
           "has a weight of another shape");
    if (c->fault)
        return;
    const int64_t last = op->num_heads - 1;
    const int64_t rest = op->copies_rest ? op->in_stride - w->dims[0] : 0;
    expect(c,
           op->in_stride >= 0 && op->out_stride >= w->dims[1] + rest && rest >= 0 &&
               last * op->in_stride + w->dims[0] + rest <= op->in[0].width &&
               last * op->out_stride + w->dims[1] + rest <= op->out[0].width,
           "has heads beyond its views");
    expect(c, !nano_view_overlaps(op->in[0], op->out[0]), "writes its own input");
}

static void check_moe(struct check *c, const struct nano_op *op)
{
    const struct nano_moe *moe = &op->moe;
    const int64_t route_width =
        moe->num_used * (int64_t)(sizeof(struct nano_route) / sizeof(float));
    expect(c,
           moe->num_used > 0 && moe->num_used <= moe->num_experts && moe->num_groups > 0 &&
               moe->num_experts % moe->num_groups == 0 && moe->num_groups_used > 0 &&
               moe->num_groups_used <= moe->num_groups,
           "uses more experts than there are");
    if (op->kind == NANO_OP_ROUTE) {
        expect(c,
               op->num_in == 1 && op->in[0].width == moe->num_experts &&
                   op->out[0].width == route_width,
               "has routes of another width");
        expect(c, !op->weight[0] || is_vector(op->weight[0], moe->num_experts),
               "has a bias of another shape");
        return;
    }
    const struct nano_tensor *gate = op->weight[0], *up = op->weight[1], *down = op->weight[2];
    expect(c, op->num_in == 2 && gate && up && down, "has not all weights");
    if (c->fault)
        return;
    expect(c,
           gate->dims[0] == op->in[0].width && up->dims[0] == op->in[0].width &&
               gate->dims[1] == up->dims[1] && down->dims[0] == up->dims[1] &&
               down->dims[1] == op->out[0].width && gate->dims[2] == moe->num_experts &&
               up->dims[2] == moe->num_experts && down->dims[2] == moe->num_experts,
           "has weights of another shape");
    expect(c, op->in[1].width == route_width, "has routes of another width");
    for (int i = 0; i < 3; i++)
        expect(c, !op->bias[i] || is_vector(op->bias[i], op->weight[i]->dims[1] * moe->num_experts),
               "has a bias of another shape");
    expect(c, !nano_view_overlaps(op->in[0], op->out[0]), "writes its own input");
}

static void check_recurrent(struct check *c, const struct nano_op *op)
{
    const struct nano_recurrence *r = &op->recurrence;
    expect(c, op->state_offset >= 0 && op->state_offset <= c->program->state_floats,
           "has no state");
    expect(c, !nano_view_overlaps(op->in[0], op->out[0]), "writes its own input");
    if (op->kind == NANO_OP_SHORT_CONV) {
        expect(c,
               op->num_in == 1 && op->in[0].width == op->out[0].width && r->kernel > 0 &&
                   (op->act == NANO_ACT_NONE || op->act == NANO_ACT_SILU) &&
                   is_vector(op->weight[0], r->kernel * op->in[0].width) &&
                   (!op->bias[0] || is_vector(op->bias[0], op->in[0].width)),
               "has a weight of another shape");
        return;
    }
    expect(c,
           r->num_key_heads > 0 && r->num_heads > 0 && r->num_heads % r->num_key_heads == 0 &&
               r->head_dim > 0 && r->state_size > 0,
           "has uneven groups of heads");
    expect(c,
           op->in[0].width == (int64_t)r->num_heads * r->head_dim +
                                  2 * (int64_t)r->num_key_heads * r->state_size &&
               op->out[0].width == (int64_t)r->num_heads * r->head_dim,
           "has operands of another width");
    for (int i = 1; i < op->num_in; i++)
        expect(c, op->in[i].width == r->num_heads, "has operands of another width");
    for (int i = 0; i < nano_op_num_weights(op); i++)
        expect(c, is_vector(op->weight[i], r->num_heads), "has a weight of another shape");
}

static void check_split_heads(struct check *c, const struct nano_op *op)
{
    expect(c, op->num_in == 1 && op->num_out >= 1 && op->num_heads > 0, "has no heads");
    int64_t width = 0;
    for (int i = 0; i < op->num_out && !c->fault; i++) {
        expect(c, op->out[i].width % op->num_heads == 0, "has uneven heads");
        expect(c, !nano_view_overlaps(op->in[0], op->out[i]), "writes its own input");
        width += op->out[i].width;
    }
    expect(c, op->in[0].width == width, "has operands of another width");
}

static void check_op(struct check *c, const struct nano_op *op)
{
    const struct nano_program *p = c->program;
    switch (op->kind) {
    case NANO_OP_EMBED:
        expect(c,
               op->num_in == 0 && op->num_out == 1 && op->weight[0] &&
                   op->weight[0]->dims[0] == op->out[0].width,
               "has a matrix of another shape");
        expect(c,
               !op->bias[0] || (op->bias[0]->dims[0] == op->out[0].width &&
                                op->bias[0]->format == NANO_FORMAT_F32),
               "has a bias of another shape");
        break;
    case NANO_OP_POSITION_EMBED:
        expect(c,
               op->num_out == 1 && op->weight[0] && op->weight[0]->dims[0] == op->out[0].width &&
                   c->written[op->out[0].buffer],
               "has a matrix of another shape");
        break;
    case NANO_OP_RMS_NORM:
    case NANO_OP_LAYER_NORM:
    case NANO_OP_L2_NORM:
        check_norm(c, op);
        break;
    case NANO_OP_HEAD_LINEAR:
        check_head_linear(c, op);
        break;
    case NANO_OP_ROUTE:
    case NANO_OP_MOE:
        check_moe(c, op);
        break;
    case NANO_OP_SHORT_CONV:
    case NANO_OP_MAMBA2:
    case NANO_OP_DELTA_NET:
        check_recurrent(c, op);
        break;
    case NANO_OP_ACTIVATE:
    case NANO_OP_SCALE:
    case NANO_OP_SOFTCAP:
    case NANO_OP_POSITION_SCALE:
        expect(c, op->num_in == 1 && op->num_out == 1 && op->in[0].width == op->out[0].width,
               "has operands of different widths");
        expect(c, op->kind != NANO_OP_ACTIVATE || has_act(op->act), "has no act");
        expect(c, op->kind != NANO_OP_SOFTCAP || op->softcap > 0, "has no cap");
        expect(c, op->kind != NANO_OP_POSITION_SCALE || op->scale_length > 0, "has no length");
        break;
    case NANO_OP_SPLIT_HEADS:
        check_split_heads(c, op);
        break;
    case NANO_OP_LINEAR:
        expect(c, op->num_in == 1 && op->num_out >= 1 && op->num_out <= NANO_MAX_SEGMENTS,
               "has no segments");
        check_linear(c, op);
        break;
    case NANO_OP_ROPE:
        expect(c,
               op->rope >= 0 && op->rope < p->num_ropes && op->num_out == 1 &&
                   op->out[0].width == (int64_t)op->num_heads * op->head_dim &&
                   op->rope_offset >= 0 &&
                   op->rope_offset + 2 * p->ropes[op->rope].num_pairs <= op->head_dim,
               "does not fit its heads");
        break;
    case NANO_OP_KV_STORE:
    case NANO_OP_ATTENTION:
        check_attention(c, op);
        break;
    case NANO_OP_GLU:
        expect(c,
               op->num_in == 2 && op->num_out == 1 && op->in[1].width == op->out[0].width &&
                   (op->in[0].width == op->out[0].width || op->in[0].width == 1),
               "has operands of different widths");
        expect(c, op->in[0].width == op->out[0].width || has_act(op->act), "has no act");
        break;
    case NANO_OP_ADD:
        expect(c,
               op->num_in == 1 && op->num_out == 1 && op->in[0].width == op->out[0].width &&
                   c->written[op->out[0].buffer],
               "adds to what nothing wrote");
        break;
    case NANO_OP_GATHER:
        expect(c, op->num_in >= 1 && op->num_in == op->num_out && c->op == p->gather_op,
               "is not the one gather");
        for (int i = 0; i < op->num_in && !c->fault; i++)
            expect(c, op->in[i].width == op->out[i].width, "has operands of different widths");
        break;
    case NANO_NUM_OP_KINDS:
        expect(c, false, "is of no kind");
    }
}

enum nano_status nano_program_check(const struct nano_program *p, struct nano_error *err)
{
    struct check c = {.program = p, .op = -1};
    expect(&c,
           p->gather_op >= 0 && p->gather_op < p->num_ops &&
               p->ops[p->gather_op].kind == NANO_OP_GATHER,
           "no gather");
    expect(&c, p->hidden_buffer >= 0 && p->hidden_buffer < p->num_buffers, "no hidden rows");
    expect(&c, p->logits_buffer >= -1 && p->logits_buffer < p->num_buffers, "no logits");
    if (c.fault)
        return nano_error_set(err, NANO_ERR_INTERNAL, "program of %s: %s", p->config.architecture,
                              c.fault);
    c.written = nano_mem_calloc((size_t)p->num_buffers, sizeof *c.written);
    if (!c.written)
        return nano_error_no_memory(err, "the check of the program", (size_t)p->num_buffers);

    for (int i = 0; i < p->num_ops && !c.fault; i++) {
        const struct nano_op *op = &p->ops[i];
        c.op = i;
        for (int k = 0; k < op->num_in; k++) {
            expect(&c, view_is_valid(p, op->in[k]), "has an invalid view");
            expect(&c, c.fault || c.written[op->in[k].buffer], "reads what nothing wrote");
        }
        for (int k = 0; k < op->num_out; k++)
            expect(&c, view_is_valid(p, op->out[k]), "has an invalid view");
        if (!c.fault)
            check_domains(&c, op);
        if (!c.fault)
            check_op(&c, op);
        for (int k = 0; k < op->num_out && !c.fault; k++)
            c.written[op->out[k].buffer] = true;
    }
    if (!c.fault && !c.written[p->hidden_buffer])
        c.fault = "writes no hidden rows";
    if (!c.fault && p->logits_buffer >= 0 && !c.written[p->logits_buffer])
        c.fault = "writes no logits";
    nano_mem_free(c.written);
    if (!c.fault)
        return NANO_OK;
    return nano_error_set(err, NANO_ERR_INTERNAL, "program of %s: op %d (%s %s) %s",
                          p->config.architecture, c.op, nano_op_kind_name(p->ops[c.op].kind),
                          p->ops[c.op].label, c.fault);
}
