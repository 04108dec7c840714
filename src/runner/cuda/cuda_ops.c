/* What each op of a program starts on the GPU. */
#include "runner/cuda/cuda_elementwise.h"
#include "runner/cuda/cuda_embed.h"
#include "runner/cuda/cuda_fuse.h"
#include "runner/cuda/cuda_heads.h"
#include "runner/cuda/cuda_norm.h"
#include "runner/cuda/cuda_recurrent.h"
#include "runner/cuda/cuda_state.h"

static const int32_t *words_at(const struct nano_cuda_pass *pass, int32_t offset)
{
    return pass->runner->batch + offset;
}

static struct nano_cuda_view view_of(const struct nano_cuda_pass *pass, struct nano_view view)
{
    return nano_cuda_view_of(pass->runner, view);
}

static void run_embed(const struct nano_cuda_pass *pass, const struct nano_op *op,
                      const struct nano_cuda_op *bound)
{
    const bool is_position = op->kind == NANO_OP_POSITION_EMBED;
    const struct nano_cuda_embed_args args = {
        .out = view_of(pass, op->out[0]),
        .ids = words_at(pass, is_position ? pass->layout->positions : pass->layout->tokens),
        .tokens = pass->runner->tokens, /* of the step before */
        .format = bound->weight[0]->format,
        .weight = bound->weight[0]->data,
        .row_bytes = bound->weight[0]->row_bytes,
        .width = op->out[0].width,
        .scale = (is_position ? 1 : op->scale) * bound->weight[0]->scale,
        .bias = is_position ? NULL : bound->bias[0],
        .accumulate = is_position,
        .rows = pass->rows};
    nano_cuda_embed(pass->runner->device, &args);
}

static struct nano_cuda_norm_args norm_args(const struct nano_cuda_pass *pass, int index)
{
    const struct nano_op *op = &pass->runner->program->ops[index];
    const struct nano_cuda_op *bound = &pass->runner->ops[index];
    const int64_t groups = op->in[0].width / op->group_width;
    const struct nano_tensor *weight = op->weight[0];
    const bool weight_per_group = weight && weight->dims[0] * weight->dims[1] != op->group_width;
    return (struct nano_cuda_norm_args){.kind = op->kind == NANO_OP_RMS_NORM ? NANO_CUDA_NORM_RMS
                                                : op->kind == NANO_OP_LAYER_NORM
                                                    ? NANO_CUDA_NORM_LAYER
                                                    : NANO_CUDA_NORM_L2,
                                        .in = view_of(pass, op->in[0]),
                                        .width = op->group_width,
                                        .group_stride = op->group_width,
                                        .out_group_stride = op->group_width,
                                        .num_groups = (int)groups,
                                        .rows = pass->rows,
                                        .weight = bound->weight[0] ? bound->weight[0]->data : NULL,
                                        .bias = bound->bias[0],
                                        .weight_stride = weight_per_group ? op->group_width : 0,
                                        .eps = op->eps,
                                        .out = view_of(pass, op->out[0])};
}

static void run_norm(const struct nano_cuda_pass *pass, int index)
{
    const struct nano_cuda_norm_args args = norm_args(pass, index);
    nano_cuda_norm(pass->runner->device, &args);
}

static struct nano_cuda_rope_args rope_args(const struct nano_cuda_pass *pass, int index)
{
    const struct nano_op *op = &pass->runner->program->ops[index];
    const struct nano_rope *rope = &pass->runner->program->ropes[op->rope];
    return (struct nano_cuda_rope_args){.x = view_of(pass, op->out[0]),
                                        .positions = words_at(pass, pass->layout->positions),
                                        .inv_freq = pass->runner->inv_freq[op->rope],
                                        .magnitude = rope->magnitude,
                                        .num_pairs = rope->num_pairs,
                                        .num_heads = op->num_heads,
                                        .head_dim = op->head_dim,
                                        .rope_offset = op->rope_offset,
                                        .adjacent = rope->adjacent,
                                        .rows = pass->rows};
}

static void run_rope(const struct nano_cuda_pass *pass, int index)
{
    const struct nano_cuda_rope_args args = rope_args(pass, index);
    nano_cuda_rope(pass->runner->device, &args);
}

static struct nano_cuda_kv_store_args kv_store_args(const struct nano_cuda_pass *pass, int index)
{
    const struct nano_cuda_runner *r = pass->runner;
    const struct nano_op *op = &r->program->ops[index];
    const struct nano_kv_layer *layer = &r->program->kv_layers[op->kv_layer];
    return (struct nano_cuda_kv_store_args){
        .format = r->config.kv_format,
        .num_kv_heads = layer->num_kv_heads,
        .head_dim = layer->head_dim,
        .v_head_dim = layer->v_head_dim,
        .block_size = r->config.block_size,
        .v_in_k = layer->v_in_k,
        .k = view_of(pass, op->in[0]),
        .v = layer->v_in_k ? (struct nano_cuda_view){0} : view_of(pass, op->in[1]),
        .slots = words_at(pass, pass->layout->slots + layer->group * pass->layout->rows),
        .k_pool = r->k_pools[layer->slot],
        .v_pool = r->v_pools[layer->slot],
        .rows = pass->rows};
}

static void run_kv_store(const struct nano_cuda_pass *pass, int index)
{
    const struct nano_cuda_kv_store_args args = kv_store_args(pass, index);
    nano_cuda_kv_store(pass->runner->device, &args);
}

static void run_attention(const struct nano_cuda_pass *pass, const struct nano_op *op,
                          const struct nano_cuda_op *bound)
{
    const struct nano_cuda_runner *r = pass->runner;
    const struct nano_kv_layer *layer = &r->program->kv_layers[op->kv_layer];
    const struct nano_cuda_attention_args args = {
        .batch = (const struct nano_cuda_batch *)(const void *)r->batch,
        .group = layer->group,
        .format = r->config.kv_format,
        .num_heads = op->num_heads,
        .num_kv_heads = layer->num_kv_heads,
        .head_dim = layer->head_dim,
        .v_head_dim = layer->v_head_dim,
        .block_size = r->config.block_size,
        .v_in_k = layer->v_in_k,
        .window = layer->window,
        .bidirectional = op->bidirectional,
        .scale = op->scale,
        .softcap = op->softcap,
        .sinks = bound->weight[0] ? bound->weight[0]->data : NULL,
        .q = view_of(pass, op->in[0]),
        .out = view_of(pass, op->out[0]),
        .k_pool = r->k_pools[layer->slot],
        .v_pool = r->v_pools[layer->slot],
        .partials = r->scratch.partials,
        .num_blocks = r->num_blocks_per_grid};
    nano_cuda_attention(r->device, &args);
}

static void run_glu(const struct nano_cuda_pass *pass, const struct nano_op *op)
{
    const struct nano_cuda_glu_args args = {.act = op->act,
                                            .out = view_of(pass, op->out[0]),
                                            .gate = view_of(pass, op->in[0]),
                                            .up = view_of(pass, op->in[1]),
                                            .width = op->out[0].width,
                                            .gate_width = op->in[0].width,
                                            .rows = pass->rows};
    nano_cuda_glu(pass->runner->device, &args);
}

static void run_map(const struct nano_cuda_pass *pass, const struct nano_op *op)
{
    const struct nano_cuda_map_args args = {.kind = op->kind,
                                            .act = op->act,
                                            .out = view_of(pass, op->out[0]),
                                            .in = view_of(pass, op->in[0]),
                                            .width = op->out[0].width,
                                            .scale = op->scale,
                                            .softcap = op->softcap,
                                            .scale_length = op->scale_length,
                                            .positions = words_at(pass, pass->layout->positions),
                                            .rows = pass->rows};
    nano_cuda_map(pass->runner->device, &args);
}

static void run_split_heads(const struct nano_cuda_pass *pass, const struct nano_op *op)
{
    struct nano_cuda_split_heads_args args = {.in = view_of(pass, op->in[0]),
                                              .num_out = op->num_out,
                                              .num_heads = op->num_heads,
                                              .rows = pass->rows};
    for (int i = 0; i < op->num_out; i++) {
        args.out[i] = view_of(pass, op->out[i]);
        args.head_width[i] = op->out[i].width / op->num_heads;
    }
    nano_cuda_split_heads(pass->runner->device, &args);
}

static void run_route(const struct nano_cuda_pass *pass, const struct nano_op *op,
                      const struct nano_cuda_op *bound)
{
    const struct nano_cuda_route_args args = {.logits = view_of(pass, op->in[0]),
                                              .out = view_of(pass, op->out[0]),
                                              .bias =
                                                  bound->weight[0] ? bound->weight[0]->data : NULL,
                                              .moe = op->moe,
                                              .rows = pass->rows};
    nano_cuda_route(pass->runner->device, &args);
}

static void run_recurrent(const struct nano_cuda_pass *pass, const struct nano_op *op,
                          const struct nano_cuda_op *bound)
{
    struct nano_cuda_runner *r = pass->runner;
    struct nano_cuda_recurrent_args args = {
        .batch = (const struct nano_cuda_batch *)(const void *)r->batch,
        .seqs = (const struct nano_cuda_seq *)(const void *)words_at(pass, pass->layout->seqs),
        .states = r->states,
        .state_floats = r->program->state_floats,
        .state_offset = op->state_offset,
        .recurrence = op->recurrence,
        .out = view_of(pass, op->out[0]),
        .bias = bound->bias[0],
        .act = op->act,
        .width = op->in[0].width,
        .eps = op->eps,
        .rows = pass->rows,
        .num_blocks = r->num_blocks_per_grid};
    for (int i = 0; i < op->num_in; i++)
        args.in[i] = view_of(pass, op->in[i]);
    for (int k = 0; k < nano_op_num_weights(op); k++)
        args.weight[k] = bound->weight[k] ? bound->weight[k]->data : NULL;
    switch (op->kind) {
    case NANO_OP_SHORT_CONV:
        nano_cuda_short_conv(r->device, &args);
        break;
    case NANO_OP_MAMBA2:
        nano_cuda_mamba2(r->device, &args);
        break;
    default:
        nano_cuda_delta_net(r->device, &args);
        break;
    }
}

static void run_gather(const struct nano_cuda_pass *pass, const struct nano_op *op)
{
    for (int i = 0; i < op->num_in; i++) {
        const struct nano_cuda_gather_args args = {
            .out = view_of(pass, op->out[i]),
            .in = view_of(pass, op->in[i]),
            .row_ids = words_at(pass, pass->layout->output_rows) + pass->first_output,
            .width = op->in[i].width,
            .rows = pass->rows};
        nano_cuda_gather(pass->runner->device, &args);
    }
}

/* ---- ops in a row ---- */

static void fuse_norm(const struct nano_cuda_pass *pass, int index,
                      struct nano_cuda_head_part *part)
{
    const struct nano_cuda_norm_args args = norm_args(pass, index);
    part->norm = args.kind;
    part->weight = args.weight;
    part->bias = args.bias;
    part->weight_stride = args.weight_stride;
    part->eps = args.eps;
}

static void fuse_rope(const struct nano_cuda_pass *pass, int index,
                      struct nano_cuda_head_part *part)
{
    const struct nano_cuda_rope_args args = rope_args(pass, index);
    part->inv_freq = args.inv_freq;
    part->magnitude = args.magnitude;
    part->num_pairs = args.num_pairs;
    part->rope_offset = args.rope_offset;
    part->adjacent = args.adjacent;
}

static void run_heads(const struct nano_cuda_pass *pass, const struct nano_cuda_head_run *run)
{
    struct nano_cuda_heads_args args = {.num_parts = run->num_parts,
                                        .positions = words_at(pass, pass->layout->positions),
                                        .rows = pass->rows};
    for (int i = 0; i < run->num_parts; i++) {
        const struct nano_cuda_head_ops *ops = &run->parts[i];
        struct nano_cuda_head_part *part = &args.parts[i];
        part->x = view_of(pass, ops->view);
        part->num_heads = ops->num_heads;
        part->head_dim = ops->head_dim;
        if (ops->norm >= 0)
            fuse_norm(pass, ops->norm, part);
        if (ops->rope >= 0)
            fuse_rope(pass, ops->rope, part);
        if (ops->store >= 0) {
            const struct nano_cuda_kv_store_args store = kv_store_args(pass, ops->store);
            part->pool = ops->is_v ? store.v_pool : store.k_pool;
            args.slots = store.slots;
            args.format = store.format;
            args.block_size = store.block_size;
        }
    }
    nano_cuda_heads(pass->runner->device, &args);
}

/* ---- one op ---- */

void nano_cuda_run_op(const struct nano_cuda_pass *pass, int index)
{
    const struct nano_op *op = &pass->runner->program->ops[index];
    const struct nano_cuda_op *bound = &pass->runner->ops[index];
    if (bound->num_fused == 0)
        return;
    if (bound->num_fused > 1) {
        const struct nano_cuda_head_run run = nano_cuda_find_head_run(pass->runner->program, index);
        run_heads(pass, &run);
        return;
    }
    switch (op->kind) {
    case NANO_OP_EMBED:
    case NANO_OP_POSITION_EMBED:
        run_embed(pass, op, bound);
        break;
    case NANO_OP_RMS_NORM:
    case NANO_OP_LAYER_NORM:
    case NANO_OP_L2_NORM:
        run_norm(pass, index);
        break;
    case NANO_OP_LINEAR:
        nano_cuda_linear_op(pass, index);
        break;
    case NANO_OP_HEAD_LINEAR:
        nano_cuda_head_linear_op(pass, index);
        break;
    case NANO_OP_ROPE:
        run_rope(pass, index);
        break;
    case NANO_OP_KV_STORE:
        run_kv_store(pass, index);
        break;
    case NANO_OP_ATTENTION:
        run_attention(pass, op, bound);
        break;
    case NANO_OP_GLU:
        run_glu(pass, op);
        break;
    case NANO_OP_ACTIVATE:
    case NANO_OP_ADD:
    case NANO_OP_SCALE:
    case NANO_OP_SOFTCAP:
    case NANO_OP_POSITION_SCALE:
        run_map(pass, op);
        break;
    case NANO_OP_SPLIT_HEADS:
        run_split_heads(pass, op);
        break;
    case NANO_OP_ROUTE:
        run_route(pass, op, bound);
        break;
    case NANO_OP_MOE:
        nano_cuda_moe_op(pass, index);
        break;
    case NANO_OP_SHORT_CONV:
    case NANO_OP_MAMBA2:
    case NANO_OP_DELTA_NET:
        run_recurrent(pass, op, bound);
        break;
    case NANO_OP_GATHER:
        run_gather(pass, op);
        break;
    case NANO_NUM_OP_KINDS:
        break;
    }
}
