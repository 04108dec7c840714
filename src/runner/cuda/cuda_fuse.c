/* Runs of ops for one launch: norms of heads, rotary embeddings, and the KV store that they are
 * for. They may stand in any order as long as each part of the row - q, k, v - is normalised before
 * it is turned and turned before it is stored, and the parts do not overlap. */
#include "runner/cuda/cuda_fuse.h"

/* The part of a view: the run's, or a new one; NULL: there is no place for it, or it overlaps
 * another, or its heads are others. */
static struct nano_cuda_head_ops *part_of(struct nano_cuda_head_run *run, struct nano_view view,
                                          int64_t head_dim)
{
    if (head_dim < 1 || head_dim > NANO_CUDA_HEAD_COLUMNS || view.width % head_dim != 0)
        return NULL;
    for (int i = 0; i < run->num_parts; i++) {
        struct nano_cuda_head_ops *part = &run->parts[i];
        const struct nano_view *other = &part->view;
        if (other->buffer != view.buffer || view.offset >= other->offset + other->width ||
            other->offset >= view.offset + view.width)
            continue;
        const bool same = other->offset == view.offset && other->width == view.width;
        return same && part->head_dim == head_dim ? part : NULL;
    }
    if (run->num_parts == NANO_CUDA_HEAD_PARTS)
        return NULL;
    struct nano_cuda_head_ops *part = &run->parts[run->num_parts++];
    *part = (struct nano_cuda_head_ops){.view = view,
                                        .num_heads = (int)(view.width / head_dim),
                                        .head_dim = (int)head_dim,
                                        .norm = -1,
                                        .rope = -1,
                                        .store = -1};
    return part;
}

static bool is_in_place(const struct nano_op *op)
{
    return op->in[0].buffer == op->out[0].buffer && op->in[0].offset == op->out[0].offset &&
           op->in[0].width == op->out[0].width;
}

static bool add_norm(struct nano_cuda_head_run *run, const struct nano_op *op, int index)
{
    if (!is_in_place(op))
        return false;
    struct nano_cuda_head_ops *part = part_of(run, op->out[0], op->group_width);
    if (!part || part->norm >= 0 || part->rope >= 0)
        return false;
    part->norm = index;
    return true;
}

static bool add_rope(struct nano_cuda_head_run *run, const struct nano_op *op, int index)
{
    struct nano_cuda_head_ops *part = part_of(run, op->out[0], op->head_dim);
    if (!part || part->rope >= 0 || part->num_heads != op->num_heads)
        return false;
    part->rope = index;
    return true;
}

static bool add_store(struct nano_cuda_head_run *run, const struct nano_program *program,
                      const struct nano_op *op, int index)
{
    const struct nano_kv_layer *layer = &program->kv_layers[op->kv_layer];
    for (int i = 0; i < (layer->v_in_k ? 1 : 2); i++) {
        struct nano_cuda_head_ops *part =
            part_of(run, op->in[i], i ? layer->v_head_dim : layer->head_dim);
        if (!part || part->store >= 0 || part->num_heads != layer->num_kv_heads)
            return false;
        part->store = index;
        part->is_v = i == 1;
    }
    return true;
}

/* False: the run ends before the op. */
static bool add_op(struct nano_cuda_head_run *run, const struct nano_program *program, int index)
{
    const struct nano_op *op = &program->ops[index];
    switch (op->kind) {
    case NANO_OP_RMS_NORM:
    case NANO_OP_LAYER_NORM:
    case NANO_OP_L2_NORM:
        return add_norm(run, op, index);
    case NANO_OP_ROPE:
        return add_rope(run, op, index);
    case NANO_OP_KV_STORE:
        return add_store(run, program, op, index);
    default:
        return false;
    }
}

struct nano_cuda_head_run nano_cuda_find_head_run(const struct nano_program *program, int first)
{
    struct nano_cuda_head_run run = {0};
    bool is_stored = false;
    for (int i = first; i < program->gather_op && !is_stored; i++) {
        struct nano_cuda_head_run longer = run;
        if (!add_op(&longer, program, i))
            break;
        run = longer;
        run.num_ops++;
        is_stored = program->ops[i].kind == NANO_OP_KV_STORE;
    }
    return run.num_ops < 2 ? (struct nano_cuda_head_run){0} : run;
}
