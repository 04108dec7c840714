/* Layout: the one block of memory of a CPU runner.
 *
 * The same code runs twice: without memory, to learn how much it takes (plan), and with it. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "runner/cpu/cpu_state.h"
#include "runner/program_parts.h"
#include "simd/kv_layout.h"

struct carver {
    unsigned char *base; /* NULL: only count */
    size_t used;
    bool overflow;
};

static void *carve(struct carver *c, size_t count, size_t size)
{
    size_t bytes, end;
    if (c->overflow || !nano_mem_size(count, size, NANO_CACHE_LINE, &bytes) ||
        !nano_mem_size(nano_mem_round_up(bytes - NANO_CACHE_LINE), 1, c->used, &end)) {
        c->overflow = true;
        return NULL;
    }
    void *piece = c->base ? c->base + c->used : NULL;
    c->used = end;
    return piece;
}

const int32_t *nano_cpu_block_table(const struct nano_cpu_runner *r,
                                    const struct nano_batch_seq *seq, int kv_layer)
{
    return seq->block_table + r->program->kv_layers[kv_layer].group * seq->table_stride;
}

struct nano_kv_layout nano_cpu_kv_layout(const struct nano_cpu_runner *r, int kv_layer)
{
    const struct nano_kv_layer *layer = &r->program->kv_layers[kv_layer];
    return (struct nano_kv_layout){.format = r->config.kv_format,
                                   .num_kv_heads = layer->num_kv_heads,
                                   .head_dim = layer->head_dim,
                                   .v_head_dim = layer->v_head_dim,
                                   .block_size = r->config.block_size,
                                   .v_in_k = layer->v_in_k};
}

size_t nano_cpu_k_block_bytes(const struct nano_cpu_runner *r, int kv_layer)
{
    const struct nano_kv_layout kv = nano_cpu_kv_layout(r, kv_layer);
    return nano_kv_block_bytes(&kv, kv.head_dim);
}

size_t nano_cpu_v_block_bytes(const struct nano_cpu_runner *r, int kv_layer)
{
    const struct nano_kv_layout kv = nano_cpu_kv_layout(r, kv_layer);
    return kv.v_in_k ? 0 : nano_kv_block_bytes(&kv, kv.v_head_dim);
}

static int64_t max_rows_of(const struct nano_cpu_runner *r, int op)
{
    return op < r->program->gather_op ? r->config.max_num_batched_tokens : r->max_outputs;
}

size_t nano_cpu_x_bytes(const struct nano_cpu_runner *r, enum nano_activation form,
                        int64_t num_tokens, int64_t cols)
{
    return nano_mem_round_up(r->kernels.activation[form].bytes(num_tokens, cols));
}

/* Floats are read where they are, unless they are normalised or go to experts. */
static void find_forms(const struct nano_cpu_runner *r, const struct nano_op *op,
                       bool makes[NANO_NUM_ACTIVATIONS])
{
    for (int a = 0; a < NANO_NUM_ACTIVATIONS; a++)
        makes[a] = false;
    const bool is_moe = op->kind == NANO_OP_MOE;
    for (int i = 0; i < (is_moe ? 2 : nano_op_num_weights(op)); i++) {
        const enum nano_activation a = nano_format_traits(op->weight[i]->format)->activation;
        makes[a] = a != NANO_ACTIVATION_F32 || op->norm || is_moe;
    }
    if (r->config.on_linear_input && op->norm)
        makes[NANO_ACTIVATION_F32] = true;
}

static size_t largest(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* What ops that share scratch need of it at most. */
struct scratch {
    size_t x_bytes, x_bytes_of_one, row_floats, attention_floats, recurrent_floats;
    size_t num_experts; /* of an op */
    struct nano_cpu_moe_size moe;
};

static void size_linear(const struct nano_cpu_runner *r, int index, struct scratch *s)
{
    const struct nano_op *op = &r->program->ops[index];
    bool makes[NANO_NUM_ACTIVATIONS];
    size_t bytes = 0, bytes_of_one = 0;
    find_forms(r, op, makes);
    for (int a = 0; a < NANO_NUM_ACTIVATIONS; a++) {
        if (!makes[a])
            continue;
        const enum nano_activation form = (enum nano_activation)a;
        bytes += nano_cpu_x_bytes(r, form, max_rows_of(r, index), op->in[0].width);
        bytes_of_one += nano_cpu_x_bytes(r, form, 1, op->in[0].width);
    }
    s->x_bytes = largest(s->x_bytes, bytes);
    s->x_bytes_of_one = largest(s->x_bytes_of_one, bytes_of_one);
    if (op->norm)
        s->row_floats = largest(s->row_floats, (size_t)op->in[0].width);
}

static void size_moe(const struct nano_cpu_runner *r, int index, struct scratch *s)
{
    const struct nano_op *op = &r->program->ops[index];
    bool makes[NANO_NUM_ACTIVATIONS];
    find_forms(r, op, makes);
    const struct nano_cpu_moe_size moe = nano_cpu_moe_size(r, op, makes, max_rows_of(r, index));
    s->x_bytes = largest(s->x_bytes, moe.x_bytes);
    s->x_bytes_of_one = largest(s->x_bytes_of_one, moe.x_bytes_of_one);
    s->moe.places = largest(s->moe.places, moe.places);
    s->moe.hidden_floats = largest(s->moe.hidden_floats, moe.hidden_floats);
    s->moe.y_floats = largest(s->moe.y_floats, moe.y_floats);
    s->num_experts = largest(s->num_experts, (size_t)op->moe.num_experts);
}

static struct scratch size_scratch(const struct nano_cpu_runner *r)
{
    struct scratch s = {0};
    for (int i = 0; i < r->program->num_ops; i++) {
        const struct nano_op *op = &r->program->ops[i];
        if (op->kind == NANO_OP_LINEAR)
            size_linear(r, i, &s);
        if (op->kind == NANO_OP_MOE)
            size_moe(r, i, &s);
        if (op->kind == NANO_OP_HEAD_LINEAR) {
            const struct nano_cpu_head_linear_size size =
                nano_cpu_head_linear_size(r, op, max_rows_of(r, i));
            s.x_bytes = largest(s.x_bytes, size.x_bytes);
            s.x_bytes_of_one = largest(s.x_bytes_of_one, size.x_bytes_of_one);
        }
        if (op->kind == NANO_OP_ROUTE)
            s.row_floats = largest(s.row_floats, nano_cpu_route_floats(&op->moe));
        if (op->kind == NANO_OP_POSITION_EMBED)
            s.row_floats = largest(s.row_floats, (size_t)op->out[0].width);
        if (op->kind == NANO_OP_ATTENTION)
            s.attention_floats =
                largest(s.attention_floats,
                        r->kernels.attention_scratch_floats(op->head_dim, op->v_head_dim));
        if (op->kind == NANO_OP_DELTA_NET)
            s.recurrent_floats =
                largest(s.recurrent_floats, NANO_DELTA_NET_SCRATCH(op->recurrence.state_size));
    }
    return s;
}

static void carve_scratch(struct nano_cpu_runner *r, struct carver *c)
{
    const struct scratch s = size_scratch(r);
    r->x = carve(c, s.x_bytes, 1);
    r->moe.places = carve(c, s.moe.places, sizeof *r->moe.places);
    r->moe.hidden = carve(c, s.moe.hidden_floats, sizeof *r->moe.hidden);
    r->moe.y = carve(c, s.moe.y_floats, sizeof *r->moe.y);
    r->threads = carve(c, (size_t)r->config.num_threads, sizeof *r->threads);
    for (int i = 0; i < r->config.num_threads && !c->overflow; i++) {
        struct nano_cpu_thread thread = {
            .x = carve(c, s.x_bytes_of_one, 1),
            .row = carve(c, s.row_floats, sizeof(float)),
            .tile = carve(c, NANO_CPU_TILE_FLOATS, sizeof(float)),
            .attention = carve(c, s.attention_floats, sizeof(float)),
            .recurrent = carve(c, s.recurrent_floats, sizeof(float)),
            .next_place = carve(c, s.num_experts, 2 * sizeof(int32_t)),
            .experts = carve(c, s.num_experts, sizeof(struct nano_cpu_expert))};
        if (r->threads)
            r->threads[i] = thread;
    }
}

static struct nano_cpu_lora_rows carve_lora_rows(const struct nano_cpu_runner *r, struct carver *c,
                                                 int num_rows)
{
    const size_t rows = (size_t)num_rows, begins = (size_t)r->lora.num_adapters + 1;
    return (struct nano_cpu_lora_rows){.adapter = carve(c, rows, sizeof(int32_t)),
                                       .slot = carve(c, rows, sizeof(int32_t)),
                                       .begin = carve(c, begins, sizeof(int32_t))};
}

static void carve_lora(struct nano_cpu_runner *r, struct carver *c)
{
    struct nano_cpu_lora *lora = &r->lora;
    const int num_tokens = r->config.max_num_batched_tokens;
    if (lora->num_adapters == 0)
        return;
    lora->tokens = carve_lora_rows(r, c, num_tokens);
    lora->x = carve(c, (size_t)lora->max_x_floats, sizeof *lora->x);
    lora->t = carve(c, (size_t)num_tokens, (size_t)lora->t_stride * sizeof *lora->t);
    for (int i = 0; i < r->config.num_threads && !c->overflow; i++) {
        const struct nano_cpu_lora_rows rows = carve_lora_rows(r, c, r->max_outputs);
        if (r->threads)
            r->threads[i].lora_outputs = rows;
    }
}

static void carve_attention(struct nano_cpu_runner *r, struct carver *c)
{
    struct nano_cpu_attention *attention = &r->attention;
    nano_cpu_attention_size(attention, r);
    const size_t chunks = (size_t)attention->max_chunks, items = (size_t)attention->max_items;
    attention->num_done = carve(c, chunks, (size_t)attention->max_kv_heads * sizeof(int));
    attention->partials =
        carve(c, (size_t)attention->max_units, attention->unit_floats * sizeof(float));
    attention->plans = carve(c, (size_t)r->program->num_kv_groups, sizeof *attention->plans);
    for (int g = 0; g < r->program->num_kv_groups; g++) {
        const struct nano_cpu_attention_plan plan = {
            .window = r->program->kv_groups[g].window,
            .chunks = carve(c, chunks, sizeof *plan.chunks),
            .items = carve(c, items, sizeof *plan.items),
            .order = carve(c, items, sizeof *plan.order),
        };
        if (attention->plans)
            attention->plans[g] = plan;
    }
}

static void carve_conv_weights(struct nano_cpu_runner *r, struct carver *c)
{
    for (int i = 0; i < r->program->num_ops; i++) {
        const struct nano_op *op = &r->program->ops[i];
        if (op->kind != NANO_OP_SHORT_CONV)
            continue;
        float *weight =
            carve(c, (size_t)op->recurrence.kernel * (size_t)op->in[0].width, sizeof *weight);
        if (r->ops)
            r->ops[i].conv_weight = weight;
    }
}

static size_t profile_name_bytes(const struct nano_program *p)
{
    size_t bytes = 0;
    for (int i = 0; i < p->num_ops; i++)
        bytes += strlen(nano_op_kind_name(p->ops[i].kind)) + 1 + strlen(p->ops[i].label) + 1;
    return bytes;
}

static void carve_all(struct nano_cpu_runner *r, struct carver *c, size_t activation_bytes)
{
    const struct nano_program *p = r->program;
    const size_t tokens = (size_t)r->config.max_num_batched_tokens;
    r->ops = carve(c, (size_t)p->num_ops, sizeof *r->ops);
    r->buffers = carve(c, (size_t)p->num_buffers, sizeof *r->buffers);
    r->offsets = carve(c, (size_t)p->num_buffers, sizeof *r->offsets);
    r->k_pools = carve(c, (size_t)p->num_kv_slots, sizeof *r->k_pools);
    r->v_pools = carve(c, (size_t)p->num_kv_slots, sizeof *r->v_pools);
    r->profile = carve(c, (size_t)p->num_ops, sizeof *r->profile);
    r->profile_names = carve(c, profile_name_bytes(p), 1);
    r->positions = carve(c, tokens, sizeof *r->positions);
    r->output_order = carve(c, tokens, sizeof *r->output_order);
    r->slots = carve(c, tokens, (size_t)p->num_kv_groups * sizeof *r->slots);
    carve_attention(r, c);
    carve_conv_weights(r, c);
    r->cos_sin = carve(c, (size_t)p->num_ropes, sizeof *r->cos_sin);
    for (int i = 0; i < p->num_ropes; i++) {
        float *table = carve(c, tokens, 2 * (size_t)p->ropes[i].num_pairs * sizeof(float));
        if (r->cos_sin)
            r->cos_sin[i] = table;
    }
    carve_scratch(r, c);
    carve_lora(r, c);
    r->activations = carve(c, activation_bytes, 1);
}

/* ---- where barriers are needed ---- */

struct range {
    size_t begin, end; /* bytes of the activations */
    int64_t first_column, end_column;
    int buffer;
};

static struct range range_of(const struct nano_cpu_runner *r, struct nano_view view)
{
    const struct nano_buffer *buffer = &r->program->buffers[view.buffer];
    const int64_t rows =
        buffer->domain == NANO_ROWS_TOKENS ? r->config.max_num_batched_tokens : r->max_outputs;
    const size_t begin = r->offsets[view.buffer];
    return (struct range){begin,
                          begin + (size_t)(nano_buffer_stride(buffer) * rows) * sizeof(float),
                          view.offset, view.offset + view.width, view.buffer};
}

/* `row_local`: in one buffer a thread touches the same rows of both. */
static bool ranges_meet(struct range a, struct range b, bool row_local)
{
    if (a.buffer == b.buffer)
        return !row_local && a.first_column < b.end_column && b.first_column < a.end_column;
    return a.begin < b.end && b.begin < a.end;
}

/* True if it uses the quantised input or the shared loop. */
static bool shares_scratch(enum nano_op_kind kind)
{
    switch (kind) {
    case NANO_OP_LINEAR:
    case NANO_OP_HEAD_LINEAR:
    case NANO_OP_ATTENTION:
    case NANO_OP_MOE:
    case NANO_OP_SHORT_CONV:
    case NANO_OP_MAMBA2:
    case NANO_OP_DELTA_NET:
        return true;
    default:
        return false;
    }
}

/* True if the ops may not run at the same time. */
static bool conflict(const struct nano_cpu_runner *r, const struct nano_op *a,
                     const struct nano_op *b)
{
    if (shares_scratch(a->kind) && shares_scratch(b->kind))
        return true;
    const bool row_local = nano_cpu_is_row_local(a->kind) && nano_cpu_is_row_local(b->kind);
    if ((a->kind == NANO_OP_KV_STORE && b->kind == NANO_OP_ATTENTION) ||
        (a->kind == NANO_OP_ATTENTION && b->kind == NANO_OP_KV_STORE))
        return a->kv_layer == b->kv_layer;
    for (int i = 0; i < a->num_out; i++) {
        const struct range written = range_of(r, a->out[i]);
        for (int k = 0; k < b->num_in; k++)
            if (ranges_meet(written, range_of(r, b->in[k]), row_local))
                return true;
        for (int k = 0; k < b->num_out; k++)
            if (ranges_meet(written, range_of(r, b->out[k]), row_local))
                return true;
    }
    for (int i = 0; i < a->num_in; i++)
        for (int k = 0; k < b->num_out; k++)
            if (ranges_meet(range_of(r, a->in[i]), range_of(r, b->out[k]), row_local))
                return true;
    return false;
}

static void find_barriers(struct nano_cpu_runner *r)
{
    const struct nano_program *p = r->program;
    int first = 0; /* since the last barrier */
    for (int i = 0; i < p->num_ops; i++) {
        bool barrier = false;
        for (int k = first; k < i && !barrier; k++)
            barrier = conflict(r, &p->ops[k], &p->ops[i]);
        r->ops[i].barrier_before = barrier;
        if (barrier)
            first = i;
    }
}

/* ---- ops ---- */

static void bind_weights(struct nano_cpu_runner *r, const struct nano_op *op,
                         struct nano_cpu_op *out)
{
    for (int k = 0; k < nano_op_num_weights(op); k++) {
        const struct nano_tensor *tensor = op->weight[k];
        if (!tensor)
            continue;
        const struct nano_cpu_weight *weight = nano_cpu_weights_find(&r->weights, tensor);
        const struct nano_kernels *kernels =
            weight->in_panels || !r->kernels.linear[tensor->format].pack ? &r->kernels
                                                                         : &r->file_kernels;
        out->weight[k] = weight->packed ? weight->packed : tensor->data;
        out->matrix_bytes[k] = weight->matrix_bytes;
        out->linear[k] = &kernels->linear[tensor->format];
        if (op->kind != NANO_OP_EMBED && op->kind != NANO_OP_POSITION_EMBED) /* a row per token */
            out->weight_bytes += tensor->num_bytes;
        if (op->kind == NANO_OP_LINEAR || op->kind == NANO_OP_HEAD_LINEAR ||
            op->kind == NANO_OP_MOE)
            out->macs_per_row +=
                (uint64_t)tensor->dims[0] * (uint64_t)tensor->dims[1] *
                (uint64_t)(op->kind == NANO_OP_MOE ? op->moe.num_used : tensor->dims[2]);
    }
}

static void transpose_conv(const struct nano_op *op, struct nano_cpu_op *bound)
{
    const int kernel = op->recurrence.kernel;
    const float *weight = bound->weight[0];
    for (int64_t c = 0; c < op->in[0].width; c++)
        for (int j = 0; j < kernel; j++)
            bound->conv_weight[j * op->in[0].width + c] = weight[c * kernel + j];
}

static uint64_t recurrent_macs(const struct nano_op *op)
{
    const struct nano_recurrence *shape = &op->recurrence;
    const uint64_t state =
        (uint64_t)shape->num_heads * (uint64_t)shape->head_dim * (uint64_t)shape->state_size;
    switch (op->kind) {
    case NANO_OP_SHORT_CONV:
        return (uint64_t)op->in[0].width * (uint64_t)shape->kernel;
    case NANO_OP_MAMBA2:
        return 2 * state;
    case NANO_OP_DELTA_NET:
        return 3 * state;
    default:
        return 0;
    }
}

enum nano_status nano_cpu_lay_out(struct nano_cpu_runner *r, bool memory, struct nano_error *err)
{
    const struct nano_program *p = r->program;
    const struct nano_runner_config *config = &r->config;
    size_t activation_bytes;
    enum nano_status status;
    NANO_TRY(nano_program_plan(p, config->max_num_batched_tokens, r->max_outputs, NULL,
                               &activation_bytes, err));
    struct carver counter = {0};
    carve_all(r, &counter, activation_bytes);
    if (counter.overflow)
        return nano_error_set(err, NANO_ERR_NO_MEMORY, "buffers for %d tokens do not fit in memory",
                              config->max_num_batched_tokens);
    r->block_bytes = counter.used;
    if (!memory)
        return NANO_OK;

    r->block = nano_mem_alloc_aligned(r->block_bytes);
    if (!r->block)
        return nano_error_no_memory(err, "activations", r->block_bytes);
    struct carver carver = {.base = r->block};
    carve_all(r, &carver, activation_bytes);
    NANO_TRY(nano_program_plan(p, config->max_num_batched_tokens, r->max_outputs, r->offsets,
                               &activation_bytes, err));
    for (int i = 0; i < p->num_buffers; i++)
        r->buffers[i] = (float *)(void *)(r->activations + r->offsets[i]);

    char *next_name = r->profile_names;
    for (int i = 0; i < p->num_ops; i++) {
        bind_weights(r, &p->ops[i], &r->ops[i]);
        if (p->ops[i].kind == NANO_OP_SHORT_CONV)
            transpose_conv(&p->ops[i], &r->ops[i]);
        r->ops[i].macs_per_row += recurrent_macs(&p->ops[i]);
        if (p->ops[i].kind == NANO_OP_LINEAR || p->ops[i].kind == NANO_OP_MOE)
            find_forms(r, &p->ops[i], r->ops[i].makes);
        r->ops[i].profile =
            nano_program_profile_entry(r->profile, &r->num_profile, &p->ops[i], &next_name);
    }
    find_barriers(r);
    return NANO_OK;
fail:
    return status;
}
