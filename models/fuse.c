/* Fusion: rewrites that make a program cheaper and change none of its values.
 *
 * A linear with several segments quantises its input once and gives the threads more rows to share;
 * accumulating saves a pass over the residual; a linear that normalises its input, and multiplies
 * its gate or applies its act while they are in the cache, saves passes and barriers; rows that
 * nobody samples need no last feed-forward.
 */
#include <stdio.h>
#include <string.h>

#include "models/passes.h"

static bool same_view(struct nano_view a, struct nano_view b)
{
    return a.buffer == b.buffer && a.offset == b.offset && a.width == b.width;
}

static void remove_op(struct nano_program *p, int index)
{
    memmove(&p->ops[index], &p->ops[index + 1], (size_t)(p->num_ops - index - 1) * sizeof *p->ops);
    p->num_ops--;
    if (p->gather_op > index)
        p->gather_op--;
}

static bool op_uses(const struct nano_op *op, int buffer)
{
    for (int i = 0; i < op->num_in; i++)
        if (op->in[i].buffer == buffer)
            return true;
    for (int i = 0; i < op->num_out; i++)
        if (op->out[i].buffer == buffer)
            return true;
    return false;
}

static void replace_buffer(struct nano_op *op, int from, int to)
{
    for (int i = 0; i < op->num_in; i++)
        if (op->in[i].buffer == from)
            op->in[i].buffer = to;
    for (int i = 0; i < op->num_out; i++)
        if (op->out[i].buffer == from)
            op->out[i].buffer = to;
}

/* ---- linears of one input ---- */

static bool can_join(const struct nano_op *first, const struct nano_op *next)
{
    if (next->kind != NANO_OP_LINEAR || next->accumulate || next->layer != first->layer ||
        first->num_out + next->num_out > NANO_MAX_SEGMENTS || !same_view(first->in[0], next->in[0]))
        return false;
    for (int i = 0; i < first->num_out; i++)
        for (int k = 0; k < next->num_out; k++)
            if (nano_view_overlaps(first->out[i], next->out[k]))
                return false;
    return true;
}

static const char *join_labels(struct nano_program *p, const char *a, const char *b)
{
    char label[128];
    int length = snprintf(label, sizeof label, "%s+%s", a, b);
    if (length < 0 || (size_t)length >= sizeof label)
        return a;
    return nano_arena_strdup(&p->arena, label, (size_t)length);
}

static enum nano_status join_linears(struct nano_program *p, struct nano_error *err)
{
    for (int i = 0; i < p->num_ops; i++) {
        struct nano_op *op = &p->ops[i];
        if (op->kind != NANO_OP_LINEAR || op->accumulate)
            continue;
        while (i + 1 < p->num_ops && can_join(op, &p->ops[i + 1])) {
            const struct nano_op *next = &p->ops[i + 1];
            const char *label = join_labels(p, op->label, next->label);
            if (!label)
                return nano_error_no_memory(err, "the program", 128);
            op->label = label;
            for (int k = 0; k < next->num_out; k++) {
                op->out[op->num_out] = next->out[k];
                op->weight[op->num_out] = next->weight[k];
                op->bias[op->num_out] = next->bias[k];
                op->num_out++;
            }
            remove_op(p, i + 1);
        }
    }
    return NANO_OK;
}

/* ---- linear, then add ---- */

static bool is_result(const struct nano_program *p, int buffer)
{
    return buffer == p->hidden_buffer || buffer == p->logits_buffer;
}

static bool used_only_by(const struct nano_program *p, int buffer, int op_a, int op_b)
{
    if (is_result(p, buffer))
        return false;
    for (int i = 0; i < p->num_ops; i++)
        if (i != op_a && i != op_b && op_uses(&p->ops[i], buffer))
            return false;
    return true;
}

static void accumulate_residuals(struct nano_program *p)
{
    for (int i = 0; i + 1 < p->num_ops; i++) {
        struct nano_op *op = &p->ops[i];
        const struct nano_op *add = &p->ops[i + 1];
        if (op->kind != NANO_OP_LINEAR || op->accumulate || op->num_out != 1 ||
            add->kind != NANO_OP_ADD || add->scale != 1 || !same_view(add->in[0], op->out[0]) ||
            op->in[0].buffer == add->out[0].buffer || !used_only_by(p, op->out[0].buffer, i, i + 1))
            continue;
        op->out[0] = add->out[0];
        op->accumulate = true;
        remove_op(p, i + 1);
    }
}

/* ---- norm, then linear; linear of gate and up, then their product ---- */

static bool is_dead_after(const struct nano_program *p, int buffer, int op)
{
    return used_only_by(p, buffer, op, op + 1);
}

static enum nano_status absorb_norms(struct nano_program *p, struct nano_error *err)
{
    for (int i = 0; i + 1 < p->num_ops; i++) {
        const struct nano_op *norm = &p->ops[i];
        struct nano_op *linear = &p->ops[i + 1];
        if ((norm->kind != NANO_OP_RMS_NORM && norm->kind != NANO_OP_LAYER_NORM) ||
            linear->kind != NANO_OP_LINEAR || linear->norm ||
            norm->group_width != norm->in[0].width || !same_view(norm->out[0], linear->in[0]) ||
            norm->out[0].buffer == norm->in[0].buffer || !is_dead_after(p, norm->out[0].buffer, i))
            continue;
        bool overwrites = false;
        for (int k = 0; k < linear->num_out; k++)
            overwrites |= linear->out[k].buffer == norm->in[0].buffer;
        if (overwrites)
            continue;
        const char *label = join_labels(p, norm->label, linear->label);
        if (!label)
            return nano_error_no_memory(err, "the program", 128);
        linear->label = label;
        linear->norm = norm->weight[0];
        linear->norm_bias = norm->bias[0];
        linear->is_layer_norm = norm->kind == NANO_OP_LAYER_NORM;
        linear->eps = norm->eps;
        linear->in[0] = norm->in[0];
        remove_op(p, i);
    }
    return NANO_OK;
}

static void absorb_glu(struct nano_program *p)
{
    for (int i = 0; i + 1 < p->num_ops; i++) {
        struct nano_op *linear = &p->ops[i];
        const struct nano_op *mul = &p->ops[i + 1];
        if (linear->kind != NANO_OP_LINEAR || mul->kind != NANO_OP_GLU || linear->accumulate ||
            linear->num_out != 2 || !same_view(mul->in[0], linear->out[0]) ||
            !same_view(mul->in[1], linear->out[1]) || mul->out[0].buffer == linear->in[0].buffer ||
            !is_dead_after(p, linear->out[0].buffer, i))
            continue;
        linear->glu = true;
        linear->act = mul->act;
        linear->out[0] = mul->out[0];
        linear->num_out = 1;
        remove_op(p, i + 1);
    }
}

static void absorb_acts(struct nano_program *p)
{
    for (int i = 0; i + 1 < p->num_ops; i++) {
        struct nano_op *linear = &p->ops[i];
        const struct nano_op *act = &p->ops[i + 1];
        if (linear->kind != NANO_OP_LINEAR || act->kind != NANO_OP_ACTIVATE || linear->accumulate ||
            linear->num_out != 1 || linear->glu || linear->act ||
            !same_view(act->in[0], linear->out[0]) || !same_view(act->out[0], linear->out[0]))
            continue;
        linear->act = act->act;
        remove_op(p, i + 1);
    }
}

enum nano_status nano_program_fuse(struct nano_program *p, struct nano_error *err)
{
    enum nano_status status = join_linears(p, err);
    if (status == NANO_OK)
        accumulate_residuals(p);
    if (status == NANO_OK)
        status = absorb_norms(p, err);
    if (status == NANO_OK) {
        absorb_glu(p);
        absorb_acts(p);
    }
    return status;
}

/* ---- gather after the last attention ---- */

/* True if the buffer is used in ops [0, split] and in (split, gather]. */
static bool crosses(const struct nano_program *p, int buffer, int split)
{
    bool before = false, after = false;
    for (int i = 0; i <= p->gather_op; i++) {
        if (i <= split)
            before |= op_uses(&p->ops[i], buffer);
        else
            after |= op_uses(&p->ops[i], buffer);
    }
    return before && after;
}

/* True if the op sees other rows of its sequence, or the rows' tokens or positions. */
static bool needs_all_rows(enum nano_op_kind kind)
{
    switch (kind) {
    case NANO_OP_EMBED:
    case NANO_OP_POSITION_EMBED:
    case NANO_OP_POSITION_SCALE:
    case NANO_OP_ROPE:
    case NANO_OP_KV_STORE:
    case NANO_OP_ATTENTION:
    case NANO_OP_SHORT_CONV:
    case NANO_OP_MAMBA2:
    case NANO_OP_DELTA_NET:
        return true;
    default:
        return false;
    }
}

enum nano_status nano_program_hoist_gather(struct nano_program *p, struct nano_error *err)
{
    int split = -1; /* the last op that needs all token rows */
    for (int i = 0; i < p->gather_op; i++)
        if (needs_all_rows(p->ops[i].kind))
            split = i;
    struct nano_op gather = p->ops[p->gather_op];
    const struct nano_view all_of_in = {.buffer = gather.in[0].buffer,
                                        .width = p->buffers[gather.in[0].buffer].width};
    if (split < 0 || split + 1 >= p->gather_op || gather.num_in != 1 ||
        !same_view(gather.in[0], all_of_in))
        return NANO_OK;

    int crossing[NANO_MAX_INPUTS], num_crossing = 0;
    for (int buffer = 0; buffer < p->num_buffers; buffer++) {
        if (!crosses(p, buffer, split))
            continue;
        if (num_crossing == NANO_MAX_INPUTS)
            return NANO_OK;
        crossing[num_crossing++] = buffer;
    }

    /* What lies between the new and the old place computes output rows now. */
    const int old_in = gather.in[0].buffer, old_out = gather.out[0].buffer;
    for (int i = split + 1; i < p->gather_op; i++)
        for (int k = 0; k < p->ops[i].num_out; k++)
            p->buffers[p->ops[i].out[k].buffer].domain = NANO_ROWS_OUTPUTS;
    int replaced = old_in;
    gather.num_in = gather.num_out = num_crossing;
    for (int c = 0; c < num_crossing; c++) {
        struct nano_buffer *rows = nano_program_add_buffer(p);
        if (!rows)
            return nano_error_no_memory(err, "the program", sizeof *rows);
        const int from = crossing[c], to = p->num_buffers - 1;
        *rows = p->buffers[from];
        rows->domain = NANO_ROWS_OUTPUTS;
        p->buffers[from].domain = NANO_ROWS_TOKENS;
        for (int i = split + 1; i < p->gather_op; i++)
            replace_buffer(&p->ops[i], from, to);
        if (from == old_in)
            replaced = to;
        gather.in[c] = (struct nano_view){.buffer = from, .width = rows->width};
        gather.out[c] = (struct nano_view){.buffer = to, .width = rows->width};
    }
    for (int i = p->gather_op + 1; i < p->num_ops; i++)
        replace_buffer(&p->ops[i], old_out, replaced);
    if (p->hidden_buffer == old_out)
        p->hidden_buffer = replaced;

    memmove(&p->ops[split + 2], &p->ops[split + 1],
            (size_t)(p->gather_op - split - 1) * sizeof *p->ops);
    p->ops[split + 1] = gather;
    p->gather_op = split + 1;
    return NANO_OK;
}

/* ---- norms in place ---- */

static bool used_after(const struct nano_program *p, int op, int buffer)
{
    for (int i = op + 1; i < p->num_ops; i++)
        if (op_uses(&p->ops[i], buffer))
            return true;
    return false;
}

void nano_program_reuse_dead_inputs(struct nano_program *p)
{
    for (int i = 0; i < p->num_ops; i++) {
        const struct nano_op *op = &p->ops[i];
        if (op->kind != NANO_OP_RMS_NORM && op->kind != NANO_OP_LAYER_NORM &&
            op->kind != NANO_OP_L2_NORM)
            continue;
        const int in = op->in[0].buffer, out = op->out[0].buffer;
        if (in == out || !same_view(op->in[0], (struct nano_view){in, 0, p->buffers[in].width}) ||
            !same_view(op->out[0], (struct nano_view){out, 0, p->buffers[in].width}) ||
            p->buffers[in].domain != p->buffers[out].domain || out == p->logits_buffer ||
            used_after(p, i, in))
            continue;
        for (int k = i; k < p->num_ops; k++)
            replace_buffer(&p->ops[k], out, in);
        if (p->hidden_buffer == out)
            p->hidden_buffer = in;
    }
}
