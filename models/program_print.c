/* Printing a program: one op per line, for people.
 *
 *    3 linear    L0 attn_q+attn_k+attn_v   h.1[0:64] -> attn_q.2[0:64] = blk.0.attn_q.weight Q4_0
 * [64, 64] … */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "models/program.h"

struct text {
    char *bytes;
    size_t length, capacity;
    bool failed;
};

static void append(struct text *text, const char *fmt, ...) NANO_PRINTF(2, 3);

static void append(struct text *text, const char *fmt, ...)
{
    char piece[512];
    va_list args;
    va_start(args, fmt);
    int length = vsnprintf(piece, sizeof piece, fmt, args);
    va_end(args);
    if (length < 0 || text->failed)
        return;
    if ((size_t)length >= sizeof piece)
        length = sizeof piece - 1;
    const size_t needed = text->length + (size_t)length + 1;
    if (!nano_mem_grow((void **)&text->bytes, &text->capacity, needed, 1)) {
        text->failed = true;
        return;
    }
    memcpy(text->bytes + text->length, piece, (size_t)length + 1);
    text->length += (size_t)length;
}

static void append_view(struct text *text, const struct nano_program *p, struct nano_view view)
{
    append(text, "%s.%d[%lld:%lld]", p->buffers[view.buffer].name, view.buffer,
           (long long)view.offset, (long long)(view.offset + view.width));
}

static void append_tensor(struct text *text, const char *sign, const struct nano_tensor *tensor)
{
    if (!tensor)
        return;
    append(text, " %s %s %s [%lld", sign, tensor->name.bytes,
           nano_format_traits(tensor->format)->name, (long long)tensor->dims[0]);
    if (tensor->num_dims > 1)
        append(text, ", %lld", (long long)tensor->dims[1]);
    append(text, "]");
}

static const char *const act_names[NANO_NUM_ACTS] = {
    "none", "silu",         "gelu",    "gelu_erf",       "gelu_quick",
    "relu", "relu_squared", "sigmoid", "swiglu_clamped",
};

static void append_details(struct text *text, const struct nano_program *p,
                           const struct nano_op *op)
{
    switch (op->kind) {
    case NANO_OP_EMBED:
        if (op->scale != 1)
            append(text, "  scale %g", (double)op->scale);
        break;
    case NANO_OP_RMS_NORM:
    case NANO_OP_LAYER_NORM:
    case NANO_OP_L2_NORM:
        append(text, "  groups of %lld, eps %g", (long long)op->group_width, (double)op->eps);
        break;
    case NANO_OP_ROPE: {
        const struct nano_rope *rope = &p->ropes[op->rope];
        append(text, "  %d heads of %d, %d %s pairs from %d, magnitude %g", op->num_heads,
               op->head_dim, rope->num_pairs, rope->adjacent ? "adjacent" : "split",
               op->rope_offset, (double)rope->magnitude);
        break;
    }
    case NANO_OP_LINEAR:
    case NANO_OP_GLU:
    case NANO_OP_ACTIVATE:
        if (op->act != NANO_ACT_NONE)
            append(text, "  act %s", act_names[op->act]);
        break;
    case NANO_OP_ADD:
    case NANO_OP_SCALE:
        if (op->scale != 1)
            append(text, "  scale %g", (double)op->scale);
        break;
    case NANO_OP_SOFTCAP:
        append(text, "  cap %g", (double)op->softcap);
        break;
    case NANO_OP_POSITION_SCALE:
        append(text, "  1 + %g ln(1 + floor(position / %d))", (double)op->scale, op->scale_length);
        break;
    case NANO_OP_HEAD_LINEAR:
        append(text, "  %d heads of %lld -> %lld", op->num_heads, (long long)op->weight[0]->dims[0],
               (long long)op->weight[0]->dims[1]);
        break;
    case NANO_OP_SPLIT_HEADS:
        append(text, "  %d heads", op->num_heads);
        break;
    case NANO_OP_KV_STORE:
        append(text, "  kv layer %d, %d heads of %d", op->kv_layer, op->num_kv_heads, op->head_dim);
        break;
    case NANO_OP_ATTENTION:
        append(text, "  kv layer %d, %d heads on %d of %d, scale %g", op->kv_layer, op->num_heads,
               op->num_kv_heads, op->head_dim, (double)op->scale);
        if (op->v_head_dim != op->head_dim)
            append(text, ", v %d", op->v_head_dim);
        if (p->kv_layers[op->kv_layer].window)
            append(text, ", window %d", p->kv_layers[op->kv_layer].window);
        if (op->softcap != 0)
            append(text, ", cap %g", (double)op->softcap);
        break;
    default:
        break;
    }
}

static void append_op(struct text *text, const struct nano_program *p, int index)
{
    const struct nano_op *op = &p->ops[index];
    char layer[16] = "";
    if (op->layer >= 0)
        snprintf(layer, sizeof layer, "L%d", op->layer);
    append(text, "%5d  %-9s %-5s%-24s ", index, nano_op_kind_name(op->kind), layer, op->label);
    if (op->kind == NANO_OP_ADD) {
        append_view(text, p, op->out[0]);
        append(text, " += ");
    }
    for (int i = 0; i < op->num_in; i++) {
        append(text, "%s", i ? ", " : "");
        append_view(text, p, op->in[i]);
    }
    const bool in_place = op->kind == NANO_OP_ROPE || op->kind == NANO_OP_ADD ||
                          op->kind == NANO_OP_SCALE || op->kind == NANO_OP_SOFTCAP ||
                          op->kind == NANO_OP_POSITION_SCALE;
    append_tensor(text, "*", op->norm);
    append_tensor(text, "+", op->norm_bias);
    for (int i = 0; i < nano_op_num_weights(op) && !in_place; i++) {
        append(text, "%s", i == 0 ? " -> " : op->glu ? ", act, times" : ", ");
        if (i < op->num_out)
            append_view(text, p, op->out[i]);
        append_tensor(text,
                      op->kind == NANO_OP_RMS_NORM || op->kind == NANO_OP_LAYER_NORM ? "*"
                      : op->accumulate || op->kind == NANO_OP_POSITION_EMBED         ? "+="
                                                                                     : "=",
                      op->weight[i]);
        append_tensor(text, "+", op->bias[i]);
    }
    append_details(text, p, op);
    append(text, "\n");
}

enum nano_status nano_program_print(const struct nano_program *p, char **out,
                                    struct nano_error *err)
{
    *out = NULL;
    struct text text = {0};
    int num_buffers = 0; /* passes leave some without use */
    for (int i = 0; i < p->num_buffers; i++)
        num_buffers += p->buffers[i].first_op >= 0;
    append(&text,
           "%s: %d ops, %d buffers, %d kv layers; op %d begins the part for output rows only\n",
           p->config.architecture, p->num_ops, num_buffers, p->num_kv_layers, p->gather_op);
    for (int i = 0; i < p->num_ops; i++)
        append_op(&text, p, i);
    if (text.failed) {
        nano_mem_free(text.bytes);
        return nano_error_no_memory(err, "the printed program", text.capacity);
    }
    *out = text.bytes;
    return NANO_OK;
}
