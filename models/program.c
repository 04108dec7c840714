/* Program: creation, growth and the questions everybody asks of one. */
#include "models/program.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "format/lora_file.h"
#include "models/builder.h"
#include "models/passes.h"

const char *nano_op_kind_name(enum nano_op_kind kind)
{
    static const char *const names[NANO_NUM_OP_KINDS] = {
        [NANO_OP_EMBED] = "embed",
        [NANO_OP_POSITION_EMBED] = "position_embed",
        [NANO_OP_RMS_NORM] = "rms_norm",
        [NANO_OP_LAYER_NORM] = "layer_norm",
        [NANO_OP_L2_NORM] = "l2_norm",
        [NANO_OP_LINEAR] = "linear",
        [NANO_OP_HEAD_LINEAR] = "head_linear",
        [NANO_OP_ROPE] = "rope",
        [NANO_OP_KV_STORE] = "kv_store",
        [NANO_OP_ATTENTION] = "attention",
        [NANO_OP_GLU] = "glu",
        [NANO_OP_ACTIVATE] = "activate",
        [NANO_OP_ADD] = "add",
        [NANO_OP_SCALE] = "scale",
        [NANO_OP_SOFTCAP] = "softcap",
        [NANO_OP_POSITION_SCALE] = "position_scale",
        [NANO_OP_SPLIT_HEADS] = "split_heads",
        [NANO_OP_ROUTE] = "route",
        [NANO_OP_MOE] = "moe",
        [NANO_OP_SHORT_CONV] = "short_conv",
        [NANO_OP_MAMBA2] = "mamba2",
        [NANO_OP_DELTA_NET] = "delta_net",
        [NANO_OP_GATHER] = "gather",
    };
    return (unsigned)kind < NANO_NUM_OP_KINDS ? names[kind] : "?";
}

int64_t nano_buffer_stride(const struct nano_buffer *buffer)
{
    const int64_t line = NANO_CACHE_LINE / sizeof(float);
    return (buffer->width + line - 1) / line * line;
}

int nano_program_hidden_end(const struct nano_program *p)
{
    for (int i = p->num_ops - 1; i > p->gather_op; i--)
        for (int k = 0; k < p->ops[i].num_out; k++)
            if (p->ops[i].out[k].buffer == p->hidden_buffer)
                return i + 1;
    return p->gather_op + 1;
}

bool nano_view_overlaps(struct nano_view a, struct nano_view b)
{
    return a.buffer == b.buffer && a.offset < b.offset + b.width && b.offset < a.offset + a.width;
}

/* Room for element `count` of an array in the arena; the old array stays behind in it. */
static bool grow(struct nano_arena *arena, void **array, int count, int *capacity, size_t size)
{
    if (count < *capacity)
        return true;
    const int larger = *capacity ? *capacity * 2 : 64;
    void *moved = nano_arena_alloc(arena, (size_t)larger, size);
    if (!moved)
        return false;
    if (count)
        memcpy(moved, *array, (size_t)count * size);
    *array = moved;
    *capacity = larger;
    return true;
}

struct nano_op *nano_program_add_op(struct nano_program *p)
{
    if (!grow(&p->arena, (void **)&p->ops, p->num_ops, &p->ops_capacity, sizeof *p->ops))
        return NULL;
    return &p->ops[p->num_ops++];
}

struct nano_buffer *nano_program_add_buffer(struct nano_program *p)
{
    if (!grow(&p->arena, (void **)&p->buffers, p->num_buffers, &p->buffers_capacity,
              sizeof *p->buffers))
        return NULL;
    return &p->buffers[p->num_buffers++];
}

/* Tensors that the architecture did not ask for change the model's meaning: refuse them, but for
 * tables that some converters leave and that nobody needs. */
static enum nano_status check_all_used(const struct nano_builder *b)
{
    static const char *const harmless[] = {"rope_freqs", "rotary_emb", "attn_rot_embd"};
    for (size_t i = 0; i < b->weights->num_tensors; i++) {
        const char *name = b->weights->tensors[i].name.bytes;
        bool fine = b->used[i];
        for (size_t k = 0; k < sizeof harmless / sizeof *harmless; k++)
            fine |= strstr(name, harmless[k]) != NULL;
        if (!fine)
            return nano_error_set(
                b->err, NANO_ERR_UNSUPPORTED,
                "%s: tensor '%s' is no part of architecture %s as this build knows it",
                nano_weights_label(b->weights), name, b->program->config.architecture);
    }
    return NANO_OK;
}

enum nano_status nano_program_build(struct nano_program **out, const struct nano_weights *weights,
                                    struct nano_error *err)
{
    *out = NULL;
    enum nano_status status = NANO_ERR_NO_MEMORY;
    struct nano_program *p = nano_mem_calloc(1, sizeof *p);
    if (!p)
        return nano_error_no_memory(err, "the program", sizeof *p);
    nano_arena_init(&p->arena);
    p->weights = weights;
    p->gather_op = p->hidden_buffer = p->logits_buffer = -1;
    struct nano_builder b = {.program = p, .weights = weights, .layer = -1, .err = err};
    b.used = nano_arena_alloc(&p->arena, weights->num_tensors + 1, sizeof *b.used);
    if (!b.used) {
        nano_error_no_memory(err, "the program", weights->num_tensors);
        goto fail;
    }

    NANO_TRY(nano_model_config_read(&p->config, weights, err));
    const struct nano_architecture *architecture =
        nano_architecture_find(p->config.architecture, err);
    if (!architecture) {
        nano_error_prefix(err, "%s", nano_weights_label(weights));
        status = NANO_ERR_UNSUPPORTED;
        goto fail;
    }
    architecture->build(&b);
    NANO_TRY(b.status);
    NANO_TRY(check_all_used(&b));
    NANO_TRY(nano_program_group_kv(p, err));
    NANO_TRY(nano_program_check(p, err));
    nano_program_find_live_ranges(p);
    *out = p;
    return NANO_OK;
fail:
    nano_program_destroy(p);
    return status;
}

enum nano_status nano_program_create(struct nano_program **out, const struct nano_weights *weights,
                                     struct nano_error *err)
{
    *out = NULL;
    struct nano_program *p = NULL;
    enum nano_status status;
    if (weights->onnx)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "%s is an ONNX graph, which has no program of ours",
                              nano_weights_label(weights));
    if (weights->num_tensors == 0 && nano_weights_meta(weights, "tokenizer.ggml.tokens"))
        return nano_error_set(err, NANO_ERR_UNSUPPORTED, "%s: is a tokenizer without weights",
                              nano_weights_label(weights));
    NANO_TRY(nano_lora_refuse(weights, err));
    NANO_TRY(nano_program_build(&p, weights, err));
    NANO_TRY(nano_program_fuse(p, err));
    NANO_TRY(nano_program_hoist_gather(p, err));
    nano_program_reuse_dead_inputs(p);
    NANO_TRY(nano_program_check(p, err));
    nano_program_find_live_ranges(p);
    *out = p;
    return NANO_OK;
fail:
    nano_program_destroy(p);
    return status;
}

void nano_program_destroy(struct nano_program *program)
{
    if (!program)
        return;
    nano_arena_deinit(&program->arena);
    nano_mem_free(program);
}

/* An integer that may be missing (0) or an array with a value per layer (its largest). */
static enum nano_status read_size(const struct nano_weights *weights, const char *architecture,
                                  const char *key, int64_t *out, struct nano_error *err)
{
    const int64_t max = (int64_t)1 << 40;
    char name[128];
    snprintf(name, sizeof name, "%s.%s", architecture, key);
    const struct nano_meta *meta = nano_weights_meta(weights, name);
    *out = 0;
    if (!meta || meta->type != NANO_META_ARRAY)
        return nano_meta_get_int(weights, name, 0, max, out, err);
    if (meta->element_type == NANO_META_STRING)
        return NANO_OK;
    for (size_t i = 0; i < meta->num_elements; i++) {
        const int64_t value = nano_meta_array_int(meta, i);
        if (value > *out && value <= max)
            *out = value;
    }
    return NANO_OK;
}

enum nano_status nano_model_config_read(struct nano_model_config *out,
                                        const struct nano_weights *weights, struct nano_error *err)
{
    *out = (struct nano_model_config){0};
    struct nano_string name = {0};
    enum nano_status status;
    NANO_TRY(nano_meta_get_string(weights, "general.architecture", &name, err));
    if (name.num_bytes == 0 || name.num_bytes >= sizeof out->architecture ||
        memchr(name.bytes, '\0', name.num_bytes))
        return nano_error_set(
            err, NANO_ERR_FORMAT,
            "%s: metadata key 'general.architecture': %s, expected a name of 1 to %zu bytes",
            nano_weights_label(weights), name.bytes ? "bad length" : "missing",
            sizeof out->architecture - 1);
    memcpy(out->architecture, name.bytes, name.num_bytes);

    NANO_TRY(read_size(weights, out->architecture, "block_count", &out->num_layers, err));
    NANO_TRY(read_size(weights, out->architecture, "embedding_length", &out->hidden_size, err));
    NANO_TRY(
        read_size(weights, out->architecture, "feed_forward_length", &out->intermediate_size, err));
    NANO_TRY(read_size(weights, out->architecture, "context_length", &out->max_position_embeddings,
                       err));
    NANO_TRY(read_size(weights, out->architecture, "attention.head_count", &out->num_heads, err));
    NANO_TRY(
        read_size(weights, out->architecture, "attention.head_count_kv", &out->num_kv_heads, err));
    NANO_TRY(read_size(weights, out->architecture, "attention.key_length", &out->head_dim, err));
    NANO_TRY(read_size(weights, out->architecture, "vocab_size", &out->vocab_size, err));
    if (!out->num_kv_heads)
        out->num_kv_heads = out->num_heads;
    if (!out->head_dim && out->num_heads)
        out->head_dim = out->hidden_size / out->num_heads;
    const struct nano_tensor *embedding = nano_weights_find(weights, "token_embd.weight");
    const struct nano_meta *tokens = nano_weights_meta(weights, "tokenizer.ggml.tokens");
    if (embedding && embedding->num_dims >= 2)
        out->vocab_size = embedding->dims[1];
    else if (!out->vocab_size && tokens && tokens->type == NANO_META_ARRAY)
        out->vocab_size = (int64_t)tokens->num_elements;
    return NANO_OK;
fail:
    return status;
}
