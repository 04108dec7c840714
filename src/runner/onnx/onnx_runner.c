/* The ONNX runner. */
#include "runner/onnx/onnx_runner.h"

#include <stdio.h>

#include "base/memory.h"
#include "runner/onnx/onnx_state.h"

/* ---- plan ---- */

/* Rows of logits that a run has at most: those of the batch's tokens, or of whole sequences. */
static int64_t most_rows(const struct nano_onnx_decoder *d, const struct nano_runner_config *config)
{
    int rows = config->max_num_batched_tokens;
    if (d->num_kv == 0 && config->max_model_len > rows)
        rows = config->max_model_len;
    return rows > 2 * NANO_ONNX_PROBE_TOKENS ? rows : 2 * NANO_ONNX_PROBE_TOKENS;
}

static uint64_t logits_bytes(const struct nano_onnx_decoder *d,
                             const struct nano_runner_config *config)
{
    const int64_t rows = !d->last_logits_only ? most_rows(d, config)
                         : d->num_kv          ? config->max_num_seqs
                                              : 1;
    return (uint64_t)(rows * d->vocab_size) *
           (uint64_t)(nano_onnx_type_bits(d->graph->outputs[d->logits].type) / 8);
}

static uint64_t buffer_bytes(const struct nano_onnx_decoder *d,
                             const struct nano_runner_config *config)
{
    return logits_bytes(d, config) + (uint64_t)d->vocab_size * sizeof(float) +
           2 * (uint64_t)most_rows(d, config) * sizeof(int64_t) +
           (uint64_t)config->max_num_seqs *
               (sizeof(struct nano_onnx_member) + sizeof(void *) + 4 * sizeof(int));
}

/* The runtime's own scratch, which it does not tell. The largest tensors are those of an attention:
 * its scores, and keys and values that are laid out anew for all heads, several times. How many
 * was measured. */
static uint64_t scratch_bytes(const struct nano_onnx_decoder *d,
                              const struct nano_runner_config *config)
{
    const double num_heads = d->graph->num_heads ? (double)d->graph->num_heads : 16;
    const double columns = d->num_kv ? config->max_model_len : (double)most_rows(d, config);
    const double bytes = 2 * sizeof(float) * num_heads * config->max_num_batched_tokens * columns;
    return bytes < 0x1p60 ? (uint64_t)bytes : (uint64_t)1 << 60;
}

static uint64_t scratch_token_bytes(const struct nano_onnx_decoder *d)
{
    int64_t most = 0;
    for (int k = 0; k < d->num_kv; k++) {
        const struct nano_onnx_kv *t = &d->kv[k];
        const int64_t repeats =
            d->graph->num_heads > t->num_heads ? d->graph->num_heads / t->num_heads : 1;
        const int64_t bytes =
            t->num_planes * t->num_heads * repeats * t->head_dim * (int64_t)sizeof(float);
        most = bytes > most ? bytes : most;
    }
    return 6 * (uint64_t)most;
}

static enum nano_status onnx_plan(const struct nano_runner_config *config,
                                  struct nano_runner_memory *out, struct nano_error *err)
{
    struct nano_onnx_decoder d;
    struct nano_arena arena;
    *out = (struct nano_runner_memory){0};
    if (config->kv_format == NANO_KV_FORMAT_FP8)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "kv_cache_dtype fp8: the KV cache of an ONNX graph has the graph's "
                              "type; other runners have fp8 and q8_0");
    nano_arena_init(&arena);
    const enum nano_status status = nano_onnx_decoder_read(&d, config->onnx, &arena, err);
    if (status == NANO_OK) {
        const struct nano_onnx_graph *g = d.graph;
        /* The CPU computes halves as floats, and keeps them so. */
        const uint64_t halves =
            g->type_bytes[NANO_ONNX_FLOAT16] + g->type_bytes[NANO_ONNX_BFLOAT16];
        *out = (struct nano_runner_memory){
            .weight_bytes = g->weight_bytes + 2 * halves,
            .packing_bytes = g->weight_bytes, /* they are there twice while they are loaded */
            .activation_bytes = buffer_bytes(&d, config) + nano_onnx_kv_fixed_bytes(&d, config) +
                                scratch_bytes(&d, config),
            /* and its columns of mask and scratch, and who writes to it */
            .kv_block_bytes =
                nano_onnx_kv_block_bytes(&d, config->block_size) + sizeof(int32_t) +
                (uint64_t)config->block_size * (sizeof(int64_t) + scratch_token_bytes(&d)),
            .num_kv_groups = 1};
    }
    nano_arena_deinit(&arena);
    return status;
}

/* ---- lifecycle ---- */

static void onnx_close(void *state)
{
    struct nano_onnx_runner *r = state;
    if (!r)
        return;
    nano_onnx_session_close(&r->session);
    nano_onnx_kv_free(&r->kv);
    nano_mem_free(r->ids);
    nano_mem_free(r->positions);
    nano_mem_free(r->mask);
    if (r->logits)
        nano_mem_free_aligned(r->logits, (size_t)logits_bytes(&r->decoder, &r->config));
    nano_mem_free(r->row);
    nano_mem_free(r->first_output);
    nano_mem_free(r->level);
    nano_mem_free(r->writer);
    nano_mem_free(r->members);
    nano_mem_free(r->seqs);
    nano_mem_free(r->indices);
    nano_mem_free(r->found);
    nano_arena_deinit(&r->arena);
    nano_mem_free(r);
}

static bool alloc_buffers(struct nano_onnx_runner *r)
{
    const size_t rows = (size_t)r->max_rows, seqs = (size_t)r->config.max_num_seqs;
    return (r->ids = nano_mem_calloc(rows, sizeof(int64_t))) &&
           (r->positions = nano_mem_calloc(rows, sizeof(int64_t))) &&
           (r->logits = nano_mem_alloc_aligned((size_t)logits_bytes(&r->decoder, &r->config))) &&
           (r->row = nano_mem_calloc((size_t)r->decoder.vocab_size, sizeof *r->row)) &&
           (r->first_output = nano_mem_calloc(seqs + 1, sizeof *r->first_output)) &&
           (r->level = nano_mem_calloc(seqs, sizeof *r->level)) &&
           (r->members = nano_mem_calloc(seqs, sizeof *r->members)) &&
           (r->seqs = nano_mem_calloc(seqs, sizeof *r->seqs)) &&
           (r->indices = nano_mem_calloc(seqs, sizeof *r->indices)) &&
           (r->found = nano_mem_calloc(seqs, sizeof *r->found));
}

static enum nano_status onnx_open(void **state, const struct nano_runner_config *config,
                                  struct nano_error *err)
{
    enum nano_status status;
    struct nano_onnx_runner *r = nano_mem_calloc(1, sizeof *r);
    *state = NULL;
    if (!r)
        return nano_error_no_memory(err, "the ONNX runner", sizeof *r);
    nano_arena_init(&r->arena);
    r->config = *config;
    r->profile[NANO_ONNX_PHASE_GATHER].name = "gather past";
    r->profile[NANO_ONNX_PHASE_GRAPH].name = "graph";
    r->profile[NANO_ONNX_PHASE_STORE].name = "store present";
    NANO_TRY(nano_onnx_decoder_read(&r->decoder, config->onnx, &r->arena, err));
    r->max_rows = most_rows(&r->decoder, config);
    nano_kernels_init(&r->kernels, nano_cpu_detect());
    if (!alloc_buffers(r)) {
        status = nano_error_no_memory(err, "logits", (size_t)buffer_bytes(&r->decoder, config));
        goto fail;
    }
    NANO_TRY(nano_onnx_session_open(&r->session, &r->decoder, config->onnx_providers,
                                    config->num_threads, &r->arena, err));
    *state = r;
    return NANO_OK;
fail:
    onnx_close(r);
    return status;
}

static enum nano_status onnx_kv_alloc(void *state, int num_blocks, int num_states,
                                      struct nano_error *err)
{
    enum nano_status status;
    struct nano_onnx_runner *r = state;
    (void)num_states; /* there are none */
    NANO_TRY(nano_onnx_kv_alloc(&r->kv, &r->decoder, &r->config, num_blocks, err));
    const size_t num_columns = r->decoder.num_kv ? (size_t)r->kv.lane_columns : (size_t)r->max_rows;
    r->mask = nano_mem_calloc(num_columns, sizeof(int64_t));
    r->writer = nano_mem_alloc((size_t)num_blocks, sizeof *r->writer);
    if (!r->mask || !r->writer)
        return nano_error_no_memory(err, "the attention mask", num_columns * sizeof(int64_t));
    for (int b = 0; b < num_blocks; b++)
        r->writer[b] = -1;
    NANO_TRY(nano_onnx_probe(r, err));
    for (int i = 0; i < NANO_ONNX_NUM_PHASES; i++)
        r->profile[i] = (struct nano_op_profile){.name = r->profile[i].name};
fail:
    return status;
}

static void onnx_caps(const void *state, struct nano_runner_caps *out)
{
    const struct nano_onnx_runner *r = state;
    *out = (struct nano_runner_caps){.vocab_size = r->decoder.vocab_size, .isa = r->session.label};
}

static void onnx_kv_copy(void *state, int32_t src_block, int32_t dst_block)
{
    struct nano_onnx_runner *r = state;
    nano_onnx_kv_copy_block(&r->kv, src_block, dst_block);
}

static void onnx_state_copy(void *state, int32_t src_state, int32_t dst_state)
{
    (void)state, (void)src_state, (void)dst_state;
}

static enum nano_status onnx_run(void *state, struct nano_batch *batch, struct nano_error *err)
{
    return nano_onnx_run_batch(state, batch, err);
}

static uint64_t onnx_memory_used(const void *state)
{
    const struct nano_onnx_runner *r = state;
    struct nano_runner_memory memory;
    if (onnx_plan(&r->config, &memory, NULL) != NANO_OK)
        return r->kv.bytes;
    return memory.weight_bytes + memory.activation_bytes + r->kv.bytes;
}

static size_t onnx_profile(const void *state, struct nano_op_profile *out, size_t capacity)
{
    const struct nano_onnx_runner *r = state;
    for (size_t i = 0; i < NANO_ONNX_NUM_PHASES && i < capacity; i++)
        out[i] = r->profile[i];
    return NANO_ONNX_NUM_PHASES;
}

const struct nano_runner nano_runner_onnx = {.name = "onnx",
                                             .plan = onnx_plan,
                                             .open = onnx_open,
                                             .close = onnx_close,
                                             .caps = onnx_caps,
                                             .kv_alloc = onnx_kv_alloc,
                                             .kv_copy = onnx_kv_copy,
                                             .state_copy = onnx_state_copy,
                                             .run = onnx_run,
                                             .memory_used = onnx_memory_used,
                                             .profile = onnx_profile};
