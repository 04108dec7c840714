/* CPU runner: what stands behind the vtable, but for the step itself. */
#include "runner/cpu/cpu_runner.h"

#include <limits.h>
#include <string.h>

#include "base/memory.h"
#include "runner/cpu/cpu_state.h"
#include "runner/program_parts.h"

#define MAX_THREADS 1024

static void cpu_close(void *state)
{
    struct nano_cpu_runner *r = state;
    if (!r)
        return;
    for (int i = 0; r->block && i < r->program->num_kv_slots; i++) {
        const int layer = nano_program_layer_of_slot(r->program, i);
        nano_mem_free_aligned(r->k_pools[i],
                              nano_cpu_k_block_bytes(r, layer) * (size_t)r->num_blocks);
        nano_mem_free_aligned(r->v_pools[i],
                              nano_cpu_v_block_bytes(r, layer) * (size_t)r->num_blocks);
    }
    nano_mem_free_aligned(r->states, (size_t)r->num_states * (size_t)r->program->state_floats *
                                         sizeof *r->states);
    nano_mem_free_aligned(r->block, r->block_bytes);
    nano_cpu_weights_deinit(&r->weights);
    nano_cpu_lora_deinit(&r->lora);
    nano_cpu_pool_close(&r->pool);
    nano_mem_free_aligned(r, sizeof *r);
}

static enum nano_status check_config(const struct nano_runner_config *c, struct nano_error *err)
{
    if (!c->program)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "the cpu runner needs a model");
    if (c->num_threads < 1 || c->num_threads > MAX_THREADS)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "%d threads, expected 1 … %d",
                              c->num_threads, MAX_THREADS);
    if (c->max_num_batched_tokens < 1 || c->max_num_seqs < 1 || c->max_model_len < 1 ||
        c->block_size < 1 || c->kv_format < 0 || c->kv_format >= NANO_NUM_KV_FORMATS)
        return nano_error_set(
            err, NANO_ERR_INVALID_ARGUMENT,
            "max_num_batched_tokens %d, max_num_seqs %d, max_model_len %d, block_size %d: expected "
            "at least 1 each",
            c->max_num_batched_tokens, c->max_num_seqs, c->max_model_len, c->block_size);
    return NANO_OK;
}

/* Everything but the KV pool; without memory only the table of weights and the sizes. */
static enum nano_status make(struct nano_cpu_runner **out, const struct nano_runner_config *config,
                             bool memory, struct nano_error *err)
{
    *out = NULL;
    enum nano_status status = check_config(config, err);
    if (status == NANO_OK)
        status = nano_program_check_positions(config, err);
    if (status != NANO_OK)
        return status;
    struct nano_cpu_runner *r = nano_mem_alloc_aligned(sizeof *r);
    if (!r)
        return nano_error_no_memory(err, "the cpu runner", sizeof *r);
    r->config = *config;
    r->program = config->program;
    const bool makes_logits = r->program->logits_buffer >= 0;
    r->max_outputs = makes_logits && config->max_num_batched_tokens > NANO_CPU_OUTPUT_ROWS
                         ? NANO_CPU_OUTPUT_ROWS
                         : config->max_num_batched_tokens;
    r->hidden_end = nano_program_hidden_end(r->program);
    nano_kernels_init(&r->kernels, nano_cpu_detect());
    nano_kernels_init_ref(&r->file_kernels);
    NANO_TRY(nano_cpu_weights_collect(&r->weights, r->program, &r->kernels, err));
    NANO_TRY(nano_cpu_lora_collect(r, err));
    if (memory) {
        NANO_TRY(nano_cpu_pool_open(&r->pool, config->num_threads, err));
        NANO_TRY(nano_cpu_lora_pack(r, err));
        NANO_TRY(
            nano_cpu_weights_pack(&r->weights, r->program->weights, &r->kernels, &r->pool, err));
    }
    NANO_TRY(nano_cpu_lay_out(r, memory, err));
    *out = r;
    return NANO_OK;
fail:
    cpu_close(r);
    return status;
}

static uint64_t activation_bytes(const struct nano_cpu_runner *r)
{
    return sizeof *r + (uint64_t)r->weights.capacity * sizeof *r->weights.items +
           nano_cpu_lora_table_bytes(r) + r->block_bytes;
}

static enum nano_status cpu_plan(const struct nano_runner_config *config,
                                 struct nano_runner_memory *out, struct nano_error *err)
{
    *out = (struct nano_runner_memory){0};
    struct nano_cpu_runner *r;
    enum nano_status status = make(&r, config, false, err);
    if (status != NANO_OK)
        return status;
    out->weight_bytes = r->weights.packed_bytes + r->lora.packed_bytes;
    out->mapped_bytes = r->weights.mapped_bytes;
    out->packing_bytes =
        nano_cpu_weights_packing_bytes(&r->weights, &r->kernels, config->num_threads);
    out->activation_bytes = activation_bytes(r);
    for (int i = 0; i < r->program->num_kv_slots; i++)
        out->kv_block_bytes +=
            (uint64_t)nano_cpu_k_block_bytes(r, nano_program_layer_of_slot(r->program, i)) +
            nano_cpu_v_block_bytes(r, nano_program_layer_of_slot(r->program, i));
    out->state_bytes = (uint64_t)r->program->state_floats * sizeof(float);
    out->num_kv_groups = r->program->num_kv_groups;
    for (int g = 0; g < out->num_kv_groups; g++)
        out->kv_windows[g] = r->program->kv_groups[g].window;
    cpu_close(r);
    return NANO_OK;
}

static enum nano_status cpu_open(void **state, const struct nano_runner_config *config,
                                 struct nano_error *err)
{
    struct nano_cpu_runner *r;
    enum nano_status status = make(&r, config, true, err);
    *state = r;
    return status;
}

static void cpu_caps(const void *state, struct nano_runner_caps *out)
{
    const struct nano_cpu_runner *r = state;
    *out = (struct nano_runner_caps){.vocab_size = r->program->config.vocab_size,
                                     .hidden_size =
                                         r->program->buffers[r->program->hidden_buffer].width,
                                     .isa = r->kernels.name};
}

/* A pool of no bytes is NULL. */
static bool alloc_pool(struct nano_cpu_runner *r, void **pool, size_t block_bytes)
{
    size_t bytes;
    if (!nano_mem_size(block_bytes, (size_t)r->num_blocks, 0, &bytes))
        return false;
    if (bytes == 0)
        return true;
    *pool = nano_mem_alloc_aligned(bytes);
    r->kv_bytes += bytes;
    return *pool != NULL;
}

static enum nano_status cpu_kv_alloc(void *state, int num_blocks, int num_states,
                                     struct nano_error *err)
{
    struct nano_cpu_runner *r = state;
    if (r->num_blocks || num_blocks < 1 || num_blocks > INT_MAX / r->config.block_size)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "%d blocks of %d tokens, expected 1 … %d once", num_blocks,
                              r->config.block_size, INT_MAX / r->config.block_size);
    r->num_blocks = num_blocks;
    size_t state_bytes;
    if (num_states < 0 || !nano_mem_size((size_t)r->program->state_floats * sizeof(float),
                                         (size_t)num_states, 0, &state_bytes))
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "%d states do not fit in memory",
                              num_states);
    if (state_bytes) {
        r->states = nano_mem_alloc_aligned(state_bytes);
        if (!r->states)
            return nano_error_no_memory(err, "the recurrent states", state_bytes);
        r->num_states = num_states;
        r->kv_bytes += state_bytes;
    }
    for (int i = 0; i < r->program->num_kv_slots; i++) {
        const int layer = nano_program_layer_of_slot(r->program, i);
        if (!alloc_pool(r, &r->k_pools[i], nano_cpu_k_block_bytes(r, layer)) ||
            !alloc_pool(r, &r->v_pools[i], nano_cpu_v_block_bytes(r, layer)))
            return nano_error_set(err, NANO_ERR_NO_MEMORY,
                                  "%d blocks of the KV pool do not fit in memory", num_blocks);
    }
    return NANO_OK;
}

static void copy_block(void *pool, size_t block_bytes, int32_t src_block, int32_t dst_block)
{
    unsigned char *blocks = pool;
    if (blocks && src_block != dst_block)
        memcpy(blocks + block_bytes * (size_t)dst_block, blocks + block_bytes * (size_t)src_block,
               block_bytes);
}

static void cpu_kv_copy(void *state, int32_t src_block, int32_t dst_block)
{
    struct nano_cpu_runner *r = state;
    for (int i = 0; i < r->program->num_kv_slots; i++) {
        const int layer = nano_program_layer_of_slot(r->program, i);
        copy_block(r->k_pools[i], nano_cpu_k_block_bytes(r, layer), src_block, dst_block);
        copy_block(r->v_pools[i], nano_cpu_v_block_bytes(r, layer), src_block, dst_block);
    }
}

static void cpu_state_copy(void *state, int32_t src_state, int32_t dst_state)
{
    struct nano_cpu_runner *r = state;
    const int64_t floats = r->program->state_floats;
    if (floats && src_state != dst_state)
        memcpy(r->states + dst_state * floats, r->states + src_state * floats,
               (size_t)floats * sizeof *r->states);
}

static uint64_t cpu_memory_used(const void *state)
{
    const struct nano_cpu_runner *r = state;
    return activation_bytes(r) + r->weights.packed_bytes + r->lora.packed_bytes + r->kv_bytes;
}

static size_t cpu_profile(const void *state, struct nano_op_profile *out, size_t capacity)
{
    const struct nano_cpu_runner *r = state;
    for (size_t i = 0; i < capacity && i < (size_t)r->num_profile; i++)
        out[i] = r->profile[i];
    return (size_t)r->num_profile;
}

const struct nano_runner nano_runner_cpu = {
    .name = "cpu",
    .plan = cpu_plan,
    .open = cpu_open,
    .close = cpu_close,
    .caps = cpu_caps,
    .kv_alloc = cpu_kv_alloc,
    .kv_copy = cpu_kv_copy,
    .state_copy = cpu_state_copy,
    .run = nano_cpu_run,
    .memory_used = cpu_memory_used,
    .profile = cpu_profile,
};
