/* Memory plan. */
#include "engine/memory_plan.h"

#include <math.h>
#include <string.h>

#include "base/os.h"
#include "engine/sampler.h"

#define DEFAULT_MAX_NUM_SEQS 256
#define DEFAULT_MAX_NUM_BATCHED_TOKENS 512
#define DEFAULT_BLOCK_SIZE 32
#define DEFAULT_PROMPT_LOOKUP_MIN 2
#define DEFAULT_PROMPT_LOOKUP_MAX 4
#define MOCK_MODEL_LEN 4096
#define MAX_BLOCK_SIZE 4096
#define MAX_NUM_BLOCKS (1 << 24)
#define MAX_NUM_SEQS (1 << 16)
#define MAX_NUM_BATCHED_TOKENS (1 << 20)
#define MAX_NUM_THREADS 1024

/* Without a budget the KV pool takes at most this, and a quarter of the machine's memory. */
#define DEFAULT_KV_BYTES ((uint64_t)4 << 30)
/* A context that shrinks below this to fit is refused unless it was asked for. */
#define SMALLEST_DEFAULT_MODEL_LEN 512
/* Program code, libraries, thread stacks, the allocator's slack. */
#define PROCESS_BYTES ((uint64_t)24 << 20)
#define MAX_REQUEST_BYTES ((uint64_t)32 << 20)
/* What a request holds beside its tokens and block table. */
#define REQUEST_BASE_BYTES 8192

struct nano_engine_params nano_engine_params_default(void)
{
    return (struct nano_engine_params){
        .runner = "cpu",
        .max_num_seqs = DEFAULT_MAX_NUM_SEQS,
        .max_num_batched_tokens = DEFAULT_MAX_NUM_BATCHED_TOKENS,
        .block_size = DEFAULT_BLOCK_SIZE,
        .kv_cache_dtype = NANO_KV_F16,
        .enable_prefix_caching = true,
        .prompt_lookup_min = DEFAULT_PROMPT_LOOKUP_MIN,
        .prompt_lookup_max = DEFAULT_PROMPT_LOOKUP_MAX,
    };
}

static enum nano_status check_range(const char *name, long long value, long long min, long long max,
                                    struct nano_error *err)
{
    if (value < min || value > max)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "%s is %lld, expected %lld to %lld",
                              name, value, min, max);
    return NANO_OK;
}

static enum nano_status kv_format(enum nano_kv_dtype dtype, enum nano_kv_format *out,
                                  struct nano_error *err)
{
    switch (dtype) {
    case NANO_KV_F16:
        *out = NANO_KV_FORMAT_F16;
        return NANO_OK;
    case NANO_KV_BF16:
        *out = NANO_KV_FORMAT_BF16;
        return NANO_OK;
    case NANO_KV_F32:
        *out = NANO_KV_FORMAT_F32;
        return NANO_OK;
    case NANO_KV_Q8_0:
        *out = NANO_KV_FORMAT_Q8_0;
        return NANO_OK;
    }
    return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "kv_cache_dtype %d is unknown",
                          (int)dtype);
}

/* Checks the ranges and fills what does not depend on memory. */
static enum nano_status resolve(struct nano_engine_setup *s, const nano_model *model,
                                const struct nano_program *program,
                                const struct nano_engine_params *p, struct nano_error *err)
{
    enum nano_status status;
    struct nano_runner_config *rc = &s->runner_config;
    struct nano_memory_plan *plan = &s->plan;
    NANO_TRY(nano_runner_find(&s->runner, p->runner ? p->runner : "cpu", err));
    NANO_TRY(check_range("num_threads", p->num_threads, 0, MAX_NUM_THREADS, err));
    NANO_TRY(check_range("max_num_seqs", p->max_num_seqs, 1, MAX_NUM_SEQS, err));
    NANO_TRY(check_range("max_num_batched_tokens", p->max_num_batched_tokens, 1,
                         MAX_NUM_BATCHED_TOKENS, err));
    NANO_TRY(check_range("block_size", p->block_size, 1, MAX_BLOCK_SIZE, err));
    NANO_TRY(check_range("num_blocks", p->num_blocks, 0, MAX_NUM_BLOCKS, err));
    NANO_TRY(check_range("max_num_queued_reqs", p->max_num_queued_reqs, 0, INT32_MAX, err));
    NANO_TRY(check_range("num_speculative_tokens", p->num_speculative_tokens, 0,
                         NANO_MAX_SPECULATIVE_TOKENS, err));
    NANO_TRY(check_range("prompt_lookup_min", p->prompt_lookup_min, 1, NANO_MAX_NGRAM, err));
    NANO_TRY(check_range("prompt_lookup_max", p->prompt_lookup_max, p->prompt_lookup_min,
                         NANO_MAX_NGRAM, err));
    if (!(p->itl_target_ms >= 0) || !isfinite(p->itl_target_ms))
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "itl_target_ms is %g, expected 0 or more", (double)p->itl_target_ms);
    s->scheduler_config.speculative =
        (struct nano_speculative_config){.num_speculative_tokens = p->num_speculative_tokens,
                                         .prompt_lookup_min = p->prompt_lookup_min,
                                         .prompt_lookup_max = p->prompt_lookup_max};
    int64_t context = model ? model->config.max_position_embeddings : MOCK_MODEL_LEN;
    if (context > (1 << 30))
        context = 1 << 30;
    NANO_TRY(check_range("max_model_len", p->max_model_len, 0, model ? context : 1 << 30, err));
    NANO_TRY(kv_format(p->kv_cache_dtype, &rc->kv_format, err));
    rc->program = program;
    /* Threads without a processor of their own only wait for each other, and no output depends on
     * how many there are. */
    const int num_cpus = nano_os_num_cpus();
    rc->num_threads = p->num_threads && p->num_threads < num_cpus ? p->num_threads : num_cpus;
    rc->max_num_batched_tokens = p->max_num_batched_tokens;
    /* Every running sequence has a token in every step's budget. */
    rc->max_num_seqs =
        p->max_num_seqs < p->max_num_batched_tokens ? p->max_num_seqs : p->max_num_batched_tokens;
    rc->max_model_len = p->max_model_len ? p->max_model_len : (int)context;
    rc->block_size = p->block_size;
    plan->budget_bytes = p->mem_budget_bytes;
    plan->block_size = p->block_size;
    plan->max_num_seqs = rc->max_num_seqs;
    plan->max_num_batched_tokens = rc->max_num_batched_tokens;
    plan->num_threads = rc->num_threads;
    return NANO_OK;
fail:
    return status;
}

static int blocks_for(int num_tokens, int block_size)
{
    return (int)(((int64_t)num_tokens + block_size - 1) / block_size);
}

/* Bytes that one request of the longest kind holds. */
static uint64_t longest_request_bytes(const struct nano_engine_setup *s)
{
    int max_model_len = s->runner_config.max_model_len;
    uint64_t count =
        (uint64_t)max_model_len + (uint64_t)blocks_for(max_model_len, s->runner_config.block_size);
    uint64_t base_bytes = REQUEST_BASE_BYTES;
    if (s->scheduler_config.speculative.num_speculative_tokens > 0) {
        count += nano_draft_size(max_model_len);
        base_bytes += REQUEST_BASE_BYTES; /* log-probabilities behind each proposal */
    }
    return base_bytes + sizeof(int32_t) * count;
}

static uint64_t scheduler_bytes(const struct nano_engine_setup *s, int num_blocks)
{
    struct nano_scheduler_config c = {.max_num_seqs = s->runner_config.max_num_seqs,
                                      .max_num_batched_tokens =
                                          s->runner_config.max_num_batched_tokens,
                                      .num_blocks = num_blocks,
                                      .block_size = s->runner_config.block_size};
    return nano_scheduler_bytes(&c);
}

/* What of the stored weights is in memory beside the packed ones. Of a file: what is read in place,
 * header and metadata, and what is being packed. A model made in memory: all. And what was read
 * into memory of its own: names, metadata, vectors. */
static uint64_t stored_bytes(const nano_model *model, const struct nano_runner_memory *memory)
{
    const uint64_t own_bytes = model->weights.arena.total_bytes;
    uint64_t file_bytes = 0, tensor_bytes = 0;
    for (size_t i = 0; i < model->weights.num_files; i++)
        file_bytes += model->weights.files[i].num_bytes;
    for (size_t i = 0; i < model->weights.num_tensors; i++)
        tensor_bytes += nano_tensor_stored_bytes(&model->weights.tensors[i]);
    if (file_bytes == 0)
        return own_bytes + tensor_bytes;
    const uint64_t rest = file_bytes > tensor_bytes ? file_bytes - tensor_bytes : 0;
    const uint64_t bytes = memory->mapped_bytes + memory->packing_bytes + rest;
    return own_bytes + (bytes < file_bytes ? bytes : file_bytes);
}

/* Everything but the blocks and what is kept for each of them. */
static enum nano_status fixed_parts(struct nano_engine_setup *s, const nano_model *model,
                                    struct nano_error *err)
{
    struct nano_memory_plan *plan = &s->plan;
    struct nano_runner_memory memory;
    enum nano_status status = s->runner->plan(&s->runner_config, &memory, err);
    if (status != NANO_OK)
        return status;
    plan->weight_bytes = memory.weight_bytes;
    plan->mapped_bytes = memory.mapped_bytes;
    plan->activation_bytes = memory.activation_bytes;
    plan->kv_block_bytes = memory.kv_block_bytes;
    uint64_t per_request = longest_request_bytes(s);
    s->request_bytes = per_request * (uint64_t)s->runner_config.max_num_seqs;
    if (s->request_bytes > MAX_REQUEST_BYTES)
        s->request_bytes = per_request > MAX_REQUEST_BYTES ? per_request : MAX_REQUEST_BYTES;
    plan->engine_bytes = PROCESS_BYTES + s->request_bytes + scheduler_bytes(s, 0) +
                         (uint64_t)plan->max_num_seqs * sizeof(struct nano_step_entry);
    if (model) {
        plan->engine_bytes +=
            nano_sampler_bytes(model->config.vocab_size, s->runner_config.num_threads);
        if (model->tokenizer)
            plan->engine_bytes += nano_tokenizer_memory_bytes(model->tokenizer);
        plan->mapped_bytes = stored_bytes(model, &memory);
    }
    return NANO_OK;
}

static void set_blocks(struct nano_engine_setup *s, int num_blocks)
{
    struct nano_memory_plan *plan = &s->plan;
    plan->num_blocks = num_blocks;
    plan->kv_bytes = (uint64_t)num_blocks * plan->kv_block_bytes;
    plan->engine_bytes += scheduler_bytes(s, num_blocks) - scheduler_bytes(s, 0);
    plan->max_model_len = s->runner_config.max_model_len;
    plan->total_bytes = plan->weight_bytes + plan->mapped_bytes + plan->kv_bytes +
                        plan->activation_bytes + plan->engine_bytes;
    s->scheduler_config.max_num_seqs = s->runner_config.max_num_seqs;
    s->scheduler_config.max_num_batched_tokens = s->runner_config.max_num_batched_tokens;
    s->scheduler_config.num_blocks = num_blocks;
    s->scheduler_config.block_size = s->runner_config.block_size;
}

static enum nano_status refuse(const struct nano_engine_setup *s, int num_affordable,
                               struct nano_error *err)
{
    const struct nano_memory_plan *plan = &s->plan;
    const double mib = 1024.0 * 1024.0;
    if (plan->budget_bytes == 0)
        return nano_error_set(err, NANO_ERR_NO_MEMORY,
                              "one sequence of max_model_len %d needs %d blocks of %d tokens, "
                              "%.1f MiB of KV; without a memory budget or num_blocks there are %d",
                              plan->max_model_len, plan->num_blocks, plan->block_size,
                              (double)plan->kv_bytes / mib, num_affordable);
    return nano_error_set(err, NANO_ERR_NO_MEMORY,
                          "memory budget %.1f MiB is too small: weights %.1f + mapped file %.1f + "
                          "activations %.1f + engine %.1f + "
                          "KV %.1f (%d blocks of %d tokens, for max_model_len %d) = %.1f MiB",
                          (double)plan->budget_bytes / mib, (double)plan->weight_bytes / mib,
                          (double)plan->mapped_bytes / mib, (double)plan->activation_bytes / mib,
                          (double)plan->engine_bytes / mib, (double)plan->kv_bytes / mib,
                          plan->num_blocks, plan->block_size, plan->max_model_len,
                          (double)plan->total_bytes / mib);
}

/* How many blocks the memory that is left holds, at most `wanted`. */
static int affordable_blocks(const struct nano_engine_setup *s, uint64_t available, int64_t wanted)
{
    /* The hash table doubles at powers of two: take its largest share per block, four buckets. */
    uint64_t per_block = s->plan.kv_block_bytes + sizeof(struct nano_block) +
                         (uint64_t)s->runner_config.block_size * sizeof(int32_t) +
                         4 * sizeof(int32_t);
    uint64_t count = available / per_block;
    if (wanted > MAX_NUM_BLOCKS)
        wanted = MAX_NUM_BLOCKS;
    return count < (uint64_t)wanted ? (int)count : (int)wanted;
}

enum nano_status nano_engine_setup_make(struct nano_engine_setup *s, const nano_model *model,
                                        const struct nano_program *program,
                                        const struct nano_adapters *adapters,
                                        const struct nano_engine_params *p, struct nano_error *err)
{
    *s = (struct nano_engine_setup){0};
    if (adapters) {
        s->runner_config.adapters = adapters->adapters;
        s->runner_config.num_adapters = adapters->count;
    }
    enum nano_status status;
    NANO_TRY(resolve(s, model, program, p, err));
    NANO_TRY(fixed_parts(s, model, err));
    struct nano_memory_plan *plan = &s->plan;
    uint64_t fixed =
        plan->weight_bytes + plan->mapped_bytes + plan->activation_bytes + plan->engine_bytes;
    int block_size = s->runner_config.block_size;
    int one_sequence = blocks_for(s->runner_config.max_model_len, block_size);
    int num_blocks = p->num_blocks;
    if (num_blocks == 0) {
        uint64_t available = plan->budget_bytes > fixed ? plan->budget_bytes - fixed : 0;
        if (plan->budget_bytes == 0) {
            uint64_t quarter = nano_os_physical_bytes() / 4;
            available = quarter && quarter < DEFAULT_KV_BYTES ? quarter : DEFAULT_KV_BYTES;
        }
        num_blocks =
            affordable_blocks(s, available, (int64_t)one_sequence * s->runner_config.max_num_seqs);
    }
    if (num_blocks < one_sequence) {
        int shorter = num_blocks * block_size;
        int smallest = s->runner_config.max_model_len < SMALLEST_DEFAULT_MODEL_LEN
                           ? s->runner_config.max_model_len
                           : SMALLEST_DEFAULT_MODEL_LEN;
        bool may_shrink = p->max_model_len == 0 && (p->num_blocks > 0 || shorter >= smallest);
        if (may_shrink) {
            s->runner_config.max_model_len = shorter;
        } else if (p->num_blocks > 0) {
            return nano_error_set(
                err, NANO_ERR_INVALID_ARGUMENT,
                "%d blocks of %d tokens do not hold one sequence of max_model_len %d", num_blocks,
                block_size, s->runner_config.max_model_len);
        } else {
            if (p->max_model_len == 0)
                s->runner_config.max_model_len = smallest;
            set_blocks(s, blocks_for(s->runner_config.max_model_len, block_size));
            return refuse(s, num_blocks, err);
        }
    }
    set_blocks(s, num_blocks);
    if (plan->budget_bytes && plan->total_bytes > plan->budget_bytes)
        return refuse(s, num_blocks, err);
    return NANO_OK;
fail:
    return status;
}
