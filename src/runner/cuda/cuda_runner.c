/* CUDA runner: what stands behind the vtable, but for the step itself. */
#include "runner/cuda/cuda_runner.h"

#include <limits.h>

#include "base/memory.h"
#include "runner/cuda/cuda_state.h"
#include "runner/program_parts.h"

static size_t k_block_bytes(const struct nano_cuda_runner *r, int slot)
{
    const struct nano_kv_layer *layer =
        &r->program->kv_layers[nano_program_layer_of_slot(r->program, slot)];
    return nano_cuda_kv_block_bytes(r->config.kv_format, layer->num_kv_heads, layer->head_dim,
                                    r->config.block_size);
}

static size_t v_block_bytes(const struct nano_cuda_runner *r, int slot)
{
    const struct nano_kv_layer *layer =
        &r->program->kv_layers[nano_program_layer_of_slot(r->program, slot)];
    return layer->v_in_k ? 0
                         : nano_cuda_kv_block_bytes(r->config.kv_format, layer->num_kv_heads,
                                                    layer->v_head_dim, r->config.block_size);
}

static void cuda_close(void *state)
{
    struct nano_cuda_runner *r = state;
    if (!r)
        return;
    for (int i = 0; i < r->num_graphs; i++)
        nano_cuda_graph_destroy(r->graphs[i].graph);
    if (r->device) {
        for (int i = 0; r->k_pools && r->v_pools && i < r->program->num_kv_slots; i++) {
            nano_cuda_device_free(r->device, r->k_pools[i]);
            nano_cuda_device_free(r->device, r->v_pools[i]);
        }
        nano_cuda_device_free(r->device, r->states);
    }
    nano_cuda_lay_out_deinit(r);
    nano_cuda_weights_deinit(&r->weights, r->device);
    nano_cuda_gemm_close(r->gemm);
    nano_cuda_device_close(r->device);
    nano_cpu_pool_close(&r->pool);
    nano_mem_free_aligned(r, sizeof *r);
}

static enum nano_status check_config(const struct nano_runner_config *c, struct nano_error *err)
{
    if (!c->program)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "the cuda runner needs a model");
    if (c->num_adapters > 0)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "the cuda runner cannot run LoRA adapters; the cpu runner can");
    if (c->on_linear_input)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "the cuda runner does not show what linears are given; the cpu "
                              "runner does");
    if (c->num_threads < 1 || c->max_num_batched_tokens < 1 || c->max_num_seqs < 1 ||
        c->max_model_len < 1 || c->block_size < 1 || c->kv_format < 0 ||
        c->kv_format >= NANO_NUM_KV_FORMATS)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "num_threads %d, max_num_batched_tokens %d, max_num_seqs %d, "
                              "max_model_len %d, block_size %d: expected at least 1 each",
                              c->num_threads, c->max_num_batched_tokens, c->max_num_seqs,
                              c->max_model_len, c->block_size);
    return nano_program_check_positions(c, err);
}

/* Everything but the KV pool; without `memory` only the sizes. */
static enum nano_status make(struct nano_cuda_runner **out, const struct nano_runner_config *config,
                             bool memory, struct nano_error *err)
{
    *out = NULL;
    enum nano_status status = check_config(config, err);
    if (status != NANO_OK)
        return status;
    struct nano_cuda_runner *r = nano_mem_alloc_aligned(sizeof *r);
    if (!r)
        return nano_error_no_memory(err, "the cuda runner", sizeof *r);
    r->config = *config;
    r->program = config->program;
    r->max_outputs = config->max_num_batched_tokens < NANO_CUDA_OUTPUT_ROWS
                         ? config->max_num_batched_tokens
                         : NANO_CUDA_OUTPUT_ROWS;
    r->hidden_end = nano_program_hidden_end(r->program);
    NANO_TRY(nano_cuda_device_query(&r->info, 0, err));
    r->num_blocks_per_grid = r->info.num_multiprocessors * NANO_CUDA_BLOCKS_PER_MULTIPROCESSOR;
    NANO_TRY(nano_cuda_weights_collect(&r->weights, r->program, err));
    if (memory) {
        NANO_TRY(nano_cpu_pool_open(&r->pool, config->num_threads, err));
        NANO_TRY(nano_cuda_device_open(&r->device, 0, err));
        if (!config->batch_invariant)
            NANO_TRY(nano_cuda_gemm_open(&r->gemm, err));
        NANO_TRY(nano_cuda_weights_load(&r->weights, r->program->weights, r->device, err));
    }
    NANO_TRY(nano_cuda_lay_out(r, err));
    *out = r;
    return NANO_OK;
fail:
    cuda_close(r);
    return status;
}

static enum nano_status cuda_plan(const struct nano_runner_config *config,
                                  struct nano_runner_memory *out, struct nano_error *err)
{
    *out = (struct nano_runner_memory){0};
    struct nano_cuda_runner *r;
    enum nano_status status = make(&r, config, false, err);
    if (status != NANO_OK)
        return status;
    out->device_bytes = r->info.total_bytes;
    out->device_free_bytes = r->info.free_bytes;
    out->weight_bytes = r->weights.num_bytes;
    out->activation_bytes = r->work_bytes;
    out->host_bytes = r->host_bytes;
    for (int i = 0; i < r->program->num_kv_slots; i++)
        out->kv_block_bytes += (uint64_t)k_block_bytes(r, i) + v_block_bytes(r, i);
    out->state_bytes = (uint64_t)r->program->state_floats * sizeof(float);
    out->num_kv_groups = r->program->num_kv_groups;
    for (int g = 0; g < out->num_kv_groups; g++)
        out->kv_windows[g] = r->program->kv_groups[g].window;
    cuda_close(r);
    return NANO_OK;
}

static enum nano_status cuda_open(void **state, const struct nano_runner_config *config,
                                  struct nano_error *err)
{
    struct nano_cuda_runner *r;
    enum nano_status status = make(&r, config, true, err);
    *state = r;
    return status;
}

static void cuda_caps(const void *state, struct nano_runner_caps *out)
{
    const struct nano_cuda_runner *r = state;
    *out = (struct nano_runner_caps){.vocab_size = r->program->config.vocab_size,
                                     .hidden_size =
                                         r->program->buffers[r->program->hidden_buffer].width,
                                     .isa = r->info.name,
                                     .draws = true,
                                     /* Ops are timed when a step is over. */
                                     .runs_ahead = !r->config.enforce_eager};
}

/* A pool of no bytes is NULL. */
static enum nano_status alloc_pool(struct nano_cuda_runner *r, void **pool, size_t block_bytes,
                                   struct nano_error *err)
{
    const uint64_t bytes = (uint64_t)block_bytes * (uint64_t)r->num_blocks;
    r->kv_bytes += bytes;
    return bytes ? nano_cuda_device_alloc(r->device, pool, bytes, "the KV pool", err) : NANO_OK;
}

static enum nano_status cuda_kv_alloc(void *state, int num_blocks, int num_states,
                                      struct nano_error *err)
{
    struct nano_cuda_runner *r = state;
    enum nano_status status;
    if (r->num_blocks || num_blocks < 1 || num_blocks > INT_MAX / r->config.block_size ||
        num_states < 0)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "%d blocks of %d tokens, expected 1 … %d once", num_blocks,
                              r->config.block_size, INT_MAX / r->config.block_size);
    r->num_blocks = num_blocks;
    const uint64_t state_bytes =
        (uint64_t)r->program->state_floats * sizeof(float) * (uint64_t)num_states;
    if (state_bytes) {
        void *states;
        NANO_TRY(
            nano_cuda_device_alloc(r->device, &states, state_bytes, "the recurrent states", err));
        r->states = states;
        r->num_states = num_states;
        r->kv_bytes += state_bytes;
    }
    for (int i = 0; i < r->program->num_kv_slots; i++) {
        NANO_TRY(alloc_pool(r, &r->k_pools[i], k_block_bytes(r, i), err));
        NANO_TRY(alloc_pool(r, &r->v_pools[i], v_block_bytes(r, i), err));
    }
    return NANO_OK;
fail:
    return status;
}

static void copy_block(struct nano_cuda_runner *r, void *pool, size_t block_bytes,
                       int32_t src_block, int32_t dst_block)
{
    unsigned char *blocks = pool;
    if (blocks && src_block != dst_block)
        nano_cuda_copy(r->device, blocks + block_bytes * (size_t)dst_block,
                       blocks + block_bytes * (size_t)src_block, block_bytes);
}

static void cuda_kv_copy(void *state, int32_t src_block, int32_t dst_block)
{
    struct nano_cuda_runner *r = state;
    for (int i = 0; i < r->program->num_kv_slots; i++) {
        copy_block(r, r->k_pools[i], k_block_bytes(r, i), src_block, dst_block);
        copy_block(r, r->v_pools[i], v_block_bytes(r, i), src_block, dst_block);
    }
}

static void cuda_state_copy(void *state, int32_t src_state, int32_t dst_state)
{
    struct nano_cuda_runner *r = state;
    copy_block(r, r->states, (size_t)r->program->state_floats * sizeof *r->states, src_state,
               dst_state);
}

static uint64_t cuda_memory_used(const void *state)
{
    const struct nano_cuda_runner *r = state;
    return r->work_bytes + r->weights.num_bytes + r->kv_bytes;
}

static size_t cuda_profile(const void *state, struct nano_op_profile *out, size_t capacity)
{
    const struct nano_cuda_runner *r = state;
    for (size_t i = 0; i < capacity && i < (size_t)r->num_profile; i++)
        out[i] = r->profile[i];
    return (size_t)r->num_profile;
}

const struct nano_runner nano_runner_cuda = {
    .name = "cuda",
    .plan = cuda_plan,
    .open = cuda_open,
    .close = cuda_close,
    .caps = cuda_caps,
    .kv_alloc = cuda_kv_alloc,
    .kv_copy = cuda_kv_copy,
    .state_copy = cuda_state_copy,
    .run = nano_cuda_run,
    .begin = nano_cuda_begin,
    .end = nano_cuda_end,
    .memory_used = cuda_memory_used,
    .profile = cuda_profile,
};
