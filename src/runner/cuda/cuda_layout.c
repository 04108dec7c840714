/* What the CUDA runner has on the device beside weights and KV: activations, scratch and the batch,
 * in one piece of memory; and the host's ends of what is copied. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "runner/cuda/cuda_fuse.h"
#include "runner/cuda/cuda_state.h"
#include "runner/program_parts.h"

#define ALIGNMENT 256

/* Places things one behind the other; without memory it counts. */
struct carver {
    unsigned char *base;
    uint64_t used;
};

static void *carve(struct carver *c, int64_t count, size_t size)
{
    void *p = c->base ? c->base + c->used : NULL;
    c->used += ((uint64_t)count * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return p;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Counts of the largest op of each kind. */
struct needs {
    int64_t half, scales, f32, glu_up, unpacked, partials;
    int64_t expert_hidden, expert_out, slots, tiles;
};

static bool is_half(enum nano_format format)
{
    return format == NANO_FORMAT_F16 || format == NANO_FORMAT_BF16;
}

/* Of a matrix, twice for a glu, whose gate and factor are unpacked together; or a piece of it. */
static int64_t unpacked_halves(const struct nano_tensor *tensor)
{
    const int64_t all = 2 * tensor->dims[1] * nano_cuda_half_stride(tensor->dims[0]),
                  most = (int64_t)(NANO_CUDA_UNPACK_BYTES / sizeof(uint16_t));
    return all < most ? all : most;
}

static void need_input(struct needs *n, const struct nano_op *op, int64_t rows, int64_t cols,
                       int heads)
{
    for (int k = 0; k < nano_op_num_weights(op); k++) {
        if (op->weight[k]->format == NANO_FORMAT_F32 && op->kind == NANO_OP_LINEAR)
            n->f32 = larger(n->f32, rows * cols);
        if (op->weight[k]->format != NANO_FORMAT_F32) {
            n->half = larger(n->half, rows * heads * nano_cuda_half_stride(cols));
            n->scales = larger(n->scales, rows * heads);
        }
        if (op->weight[k]->format != NANO_FORMAT_F32 && !is_half(op->weight[k]->format))
            n->unpacked = larger(n->unpacked, unpacked_halves(op->weight[k]));
    }
}

static void need_experts(struct needs *n, const struct nano_op *op, int64_t rows)
{
    rows = nano_cuda_moe_rows(op, (int)rows);
    const int64_t slots = rows * op->moe.num_used, hidden = op->weight[0]->dims[1];
    need_input(n, op, rows, op->in[0].width, 1);
    need_input(n, op, slots, hidden, 1);
    n->expert_hidden = larger(n->expert_hidden, slots * hidden);
    n->expert_out = larger(n->expert_out, slots * op->out[0].width);
    n->slots = larger(n->slots, slots);
    n->tiles = larger(n->tiles,
                      nano_cuda_moe_max_tiles((int)rows, op->moe.num_used, op->moe.num_experts,
                                              NANO_CUDA_SKINNY_ROWS)); /* larger ones are fewer */
    if (nano_cuda_splits_glu(op))
        n->glu_up = larger(n->glu_up, slots * hidden);
}

int nano_cuda_max_partials(const struct nano_cuda_runner *r)
{
    const int64_t all = (int64_t)r->config.max_num_batched_tokens *
                        (r->config.max_model_len / NANO_ATTENTION_SPLIT + 2);
    return all < NANO_CUDA_MAX_PARTIALS ? (int)all : NANO_CUDA_MAX_PARTIALS;
}

static void find_attention_sizes(struct nano_cuda_runner *r)
{
    for (int g = 0; g < r->program->num_kv_groups; g++) {
        r->attention_queries[g] = r->config.max_num_batched_tokens;
        r->attention_blocks[g] = r->num_blocks_per_grid;
    }
    for (int i = 0; i < r->program->num_ops; i++) {
        const struct nano_op *op = &r->program->ops[i];
        if (op->kind != NANO_OP_ATTENTION)
            continue;
        const struct nano_kv_layer *layer = &r->program->kv_layers[op->kv_layer];
        const int queries = nano_cuda_attention_queries(op->num_heads, layer->num_kv_heads);
        const int blocks = (r->num_blocks_per_grid + layer->num_kv_heads - 1) / layer->num_kv_heads;
        if (queries < r->attention_queries[layer->group])
            r->attention_queries[layer->group] = queries;
        if (blocks < r->attention_blocks[layer->group])
            r->attention_blocks[layer->group] = blocks;
    }
}

static struct nano_cuda_attention_limits attention_limits(const struct nano_cuda_runner *r,
                                                          int group)
{
    return nano_cuda_attention_plan_limits(r->config.max_num_batched_tokens, r->config.max_num_seqs,
                                           r->attention_queries[group], nano_cuda_max_partials(r));
}

static struct needs find_needs(const struct nano_cuda_runner *r)
{
    struct needs n = {0};
    for (int i = 0; i < r->program->num_ops; i++) {
        const struct nano_op *op = &r->program->ops[i];
        const int64_t rows =
            i < r->program->gather_op ? r->config.max_num_batched_tokens : r->max_outputs;
        switch (op->kind) {
        case NANO_OP_LINEAR:
            need_input(&n, op, rows, op->in[0].width, 1);
            if (nano_cuda_splits_glu(op))
                n.glu_up = larger(n.glu_up, rows * op->out[0].width);
            break;
        case NANO_OP_HEAD_LINEAR:
            need_input(&n, op, rows, op->weight[0]->dims[0], op->num_heads);
            break;
        case NANO_OP_MOE:
            need_experts(&n, op, rows);
            break;
        case NANO_OP_ATTENTION:
            n.partials = larger(n.partials, (int64_t)nano_cuda_max_partials(r) * op->num_heads *
                                                nano_cuda_partial_floats(op->v_head_dim));
            break;
        default:
            break;
        }
    }
    return n;
}

struct nano_cuda_batch_layout nano_cuda_lay_out_batch(const struct nano_cuda_runner *r, int rows,
                                                      int outputs)
{
    struct nano_cuda_batch_layout l = {.rows = rows, .outputs = outputs};
    int32_t next = (int32_t)((sizeof(struct nano_cuda_batch) + 63) / 64 * 16);
    const int seqs = rows < r->config.max_num_seqs ? rows : r->config.max_num_seqs;
    l.tokens = next, next += rows;
    l.positions = next, next += rows;
    l.slots = next, next += rows * r->program->num_kv_groups;
    l.seqs = next, next += seqs * (int32_t)(sizeof(struct nano_cuda_seq) / sizeof(int32_t));
    l.output_rows = next, next += outputs;
    next = (next + 3) / 4 * 4; /* what has doubles in it */
    l.draws = next, next += outputs * (int32_t)(sizeof(struct nano_cuda_draw) / sizeof(int32_t));
    l.variable = (next + 15) / 16 * 16;
    return l;
}

/* Words of the largest batch. */
static int64_t largest_batch(const struct nano_cuda_runner *r)
{
    const struct nano_runner_config *c = &r->config;
    const int64_t blocks = c->max_model_len / c->block_size + 1;
    const struct nano_cuda_batch_layout l =
        nano_cuda_lay_out_batch(r, c->max_num_batched_tokens, c->max_num_batched_tokens);
    int64_t words = l.variable;
    for (int g = 0; g < r->program->num_kv_groups; g++) {
        const struct nano_cuda_attention_limits limits = attention_limits(r, g);
        words += c->max_num_seqs * blocks + (int64_t)limits.max_items * NANO_CUDA_ITEM_WORDS +
                 (int64_t)limits.max_merges * NANO_CUDA_MERGE_WORDS;
    }
    return words;
}

static void carve_all(struct nano_cuda_runner *r, struct carver *c, size_t activation_bytes)
{
    const struct needs n = find_needs(r);
    struct nano_cuda_scratch *s = &r->scratch;
    r->activations = carve(c, (int64_t)activation_bytes, 1);
    r->batch = carve(c, r->batch_words, sizeof *r->batch);
    r->tokens = carve(c, r->config.max_num_batched_tokens, sizeof *r->tokens);
    s->half = carve(c, n.half, sizeof *s->half);
    s->scales = carve(c, n.scales, sizeof *s->scales);
    s->f32 = carve(c, n.f32, sizeof *s->f32);
    s->glu_up = carve(c, n.glu_up, sizeof *s->glu_up);
    s->unpacked = carve(c, n.unpacked, sizeof *s->unpacked);
    s->sums = carve(c, r->config.batch_invariant ? 0 : (int64_t)NANO_CUDA_SUMS_BYTES, 1);
    s->gemm_workspace = carve(c, r->config.batch_invariant ? 0 : (int64_t)NANO_CUDA_GEMM_BYTES, 1);
    s->partials = carve(c, n.partials, sizeof *s->partials);
    s->expert_hidden = carve(c, n.expert_hidden, sizeof *s->expert_hidden);
    s->expert_out = carve(c, n.expert_out, sizeof *s->expert_out);
    s->tiles = carve(c, n.tiles, sizeof *s->tiles);
    s->num_tiles = carve(c, 1, sizeof *s->num_tiles);
    s->order = carve(c, n.slots, sizeof *s->order);
    s->order_row = carve(c, n.slots, sizeof *s->order_row);
    for (int i = 0; i < r->program->num_ropes; i++)
        r->inv_freq[i] = carve(c, r->program->ropes[i].num_pairs, sizeof(float));
}

static enum nano_status load_ropes(struct nano_cuda_runner *r, struct nano_error *err)
{
    /* Through the host's end of the batch, which nobody uses yet. */
    for (int i = 0; i < r->program->num_ropes; i++) {
        const struct nano_rope *rope = &r->program->ropes[i];
        const float *inv_freq =
            rope->short_inv_freq && r->config.max_model_len <= rope->short_context
                ? rope->short_inv_freq
                : rope->inv_freq;
        for (int first = 0; first < rope->num_pairs;) {
            const int64_t left = rope->num_pairs - first;
            const int64_t count = left < r->batch_words ? left : r->batch_words;
            memcpy(r->host_batch[0], inv_freq + first, (size_t)count * sizeof(float));
            nano_cuda_copy_in(r->device, (float *)(uintptr_t)r->inv_freq[i] + first,
                              r->host_batch[0], (size_t)count * sizeof(float));
            enum nano_status status = nano_cuda_device_synchronize(r->device, err);
            if (status != NANO_OK)
                return status;
            first += (int)count;
        }
    }
    return NANO_OK;
}

static const float *bind_f32(const struct nano_cuda_runner *r, const struct nano_tensor *tensor)
{
    const struct nano_cuda_weight *weight = nano_cuda_weights_find(&r->weights, tensor);
    return weight ? weight->data : NULL;
}

/* Ops that run together are one entry of the profile: the first one's, with all labels. */
static void bind_run(struct nano_cuda_runner *r, int first, int count, char **next_name)
{
    struct nano_op op = r->program->ops[first];
    char label[256] = "";
    for (int i = first; i < first + count; i++) {
        const size_t length = strlen(label);
        snprintf(label + length, sizeof label - length, "%s%s", i > first ? "+" : "",
                 r->program->ops[i].label);
        r->ops[i].num_fused = i > first ? 0 : count;
    }
    op.label = label;
    const int entry = nano_program_profile_entry(r->profile, &r->num_profile, &op, next_name);
    for (int i = first; i < first + count; i++)
        r->ops[i].profile = entry;
}

static void bind_ops(struct nano_cuda_runner *r)
{
    char *next_name = r->profile_names;
    int next = 0; /* that is not run with those before it */
    for (int i = 0; i < r->program->num_ops; i++) {
        const struct nano_op *op = &r->program->ops[i];
        struct nano_cuda_op *bound = &r->ops[i];
        for (int k = 0; k < nano_op_num_weights(op); k++) {
            const struct nano_tensor *tensor = op->weight[k];
            bound->weight[k] = nano_cuda_weights_find(&r->weights, tensor);
            bound->bias[k] = bind_f32(r, op->bias[k]);
            if (!tensor)
                continue;
            if (op->kind != NANO_OP_EMBED && op->kind != NANO_OP_POSITION_EMBED)
                bound->weight_bytes += tensor->num_bytes;
            if (op->kind == NANO_OP_LINEAR || op->kind == NANO_OP_HEAD_LINEAR ||
                op->kind == NANO_OP_MOE)
                bound->macs_per_row +=
                    (uint64_t)tensor->dims[0] * (uint64_t)tensor->dims[1] *
                    (uint64_t)(op->kind == NANO_OP_MOE ? op->moe.num_used : tensor->dims[2]);
        }
        bound->norm = bind_f32(r, op->norm);
        bound->norm_bias = bind_f32(r, op->norm_bias);
        if (i == next) {
            const int count = nano_cuda_find_head_run(r->program, i).num_ops;
            next += count ? count : 1;
            bind_run(r, i, next - i, &next_name);
        }
    }
}

static enum nano_status alloc_tables(struct nano_cuda_runner *r, struct nano_error *err)
{
    const struct nano_program *p = r->program;
    size_t name_bytes = 0;
    for (int i = 0; i < p->num_ops; i++)
        name_bytes += strlen(nano_op_kind_name(p->ops[i].kind)) + strlen(p->ops[i].label) + 2;
    const size_t num_ops = (size_t)p->num_ops, num_slots = (size_t)p->num_kv_slots;
    r->ops = nano_mem_calloc(num_ops, sizeof *r->ops);
    r->offsets = nano_mem_calloc((size_t)p->num_buffers, sizeof *r->offsets);
    r->inv_freq = nano_mem_calloc((size_t)p->num_ropes + 1, sizeof *r->inv_freq);
    r->output_order =
        nano_mem_calloc((size_t)r->config.max_num_batched_tokens, sizeof *r->output_order);
    r->attention_seqs = nano_mem_calloc((size_t)r->config.max_num_seqs, sizeof *r->attention_seqs);
    int max_merges = 1;
    for (int g = 0; g < p->num_kv_groups; g++)
        max_merges = (int)larger(max_merges, attention_limits(r, g).max_merges);
    r->attention_merges = nano_mem_calloc((size_t)max_merges, sizeof *r->attention_merges);
    r->profile = nano_mem_calloc(num_ops, sizeof *r->profile);
    r->profile_names = nano_mem_calloc(name_bytes, 1);
    r->k_pools = nano_mem_calloc(num_slots + 1, sizeof *r->k_pools);
    r->v_pools = nano_mem_calloc(num_slots + 1, sizeof *r->v_pools);
    if (!r->ops || !r->offsets || !r->inv_freq || !r->output_order || !r->attention_seqs ||
        !r->attention_merges || !r->profile || !r->profile_names || !r->k_pools || !r->v_pools)
        return nano_error_no_memory(err, "the cuda runner", num_ops * sizeof *r->ops);
    return NANO_OK;
}

enum nano_status nano_cuda_lay_out(struct nano_cuda_runner *r, struct nano_error *err)
{
    const struct nano_program *p = r->program;
    size_t activation_bytes;
    enum nano_status status;
    find_attention_sizes(r);
    NANO_TRY(alloc_tables(r, err));
    NANO_TRY(nano_program_plan(p, r->config.max_num_batched_tokens, r->max_outputs, r->offsets,
                               &activation_bytes, err));
    r->batch_words = largest_batch(r);
    if (r->batch_words > INT32_MAX)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "a batch of %d tokens and %d sequences of %d positions is too large",
                              r->config.max_num_batched_tokens, r->config.max_num_seqs,
                              r->config.max_model_len);
    struct carver counter = {0};
    carve_all(r, &counter, activation_bytes);
    r->work_bytes = counter.used;
    const int64_t logits = p->logits_buffer < 0 ? 0 : p->config.vocab_size;
    const size_t row_bytes =
        (size_t)larger(logits, p->buffers[p->hidden_buffer].width) * sizeof(float);
    const uint64_t batch_bytes = (uint64_t)r->batch_words * sizeof(int32_t),
                   token_bytes =
                       (uint64_t)r->config.max_num_batched_tokens * sizeof **r->host_tokens;
    r->host_bytes = 2 * (batch_bytes + token_bytes) + (uint64_t)r->max_outputs * row_bytes;
    if (!r->device)
        return NANO_OK;

    NANO_TRY(nano_cuda_device_alloc(r->device, &r->work, r->work_bytes, "activations", err));
    struct carver carver = {.base = r->work};
    carve_all(r, &carver, activation_bytes);
    void *memory;
    for (int i = 0; i < 2; i++) {
        NANO_TRY(nano_cuda_host_alloc(r->device, &memory, batch_bytes, "the batch", err));
        r->host_batch[i] = memory;
        NANO_TRY(nano_cuda_host_alloc(r->device, &memory, token_bytes, "tokens", err));
        r->host_tokens[i] = memory;
    }
    NANO_TRY(nano_cuda_host_alloc(r->device, &memory, (uint64_t)r->max_outputs * row_bytes,
                                  "logits", err));
    r->host_rows = memory;
    bind_ops(r);
    status = load_ropes(r, err);
fail:
    return status;
}

void nano_cuda_lay_out_deinit(struct nano_cuda_runner *r)
{
    if (r->device) {
        nano_cuda_device_free(r->device, r->work);
        for (int i = 0; i < 2; i++) {
            nano_cuda_host_free(r->device, r->host_batch[i]);
            nano_cuda_host_free(r->device, r->host_tokens[i]);
        }
        nano_cuda_host_free(r->device, r->host_rows);
    }
    nano_mem_free(r->ops);
    nano_mem_free(r->offsets);
    nano_mem_free(r->inv_freq);
    nano_mem_free(r->output_order);
    nano_mem_free(r->attention_seqs);
    nano_mem_free(r->attention_merges);
    nano_mem_free(r->profile);
    nano_mem_free(r->profile_names);
    nano_mem_free(r->k_pools);
    nano_mem_free(r->v_pools);
}
