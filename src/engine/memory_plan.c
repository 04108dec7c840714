/* Memory plan. */
#include "engine/memory_plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/os.h"
#include "engine/sampler.h"

#define DEFAULT_MAX_NUM_SEQS 256
#define DEFAULT_MAX_NUM_BATCHED_TOKENS 512
#define DEFAULT_DEVICE_MAX_NUM_BATCHED_TOKENS 4096
/* What activations of that many may take of what weights leave of a device's memory; else there are
 * fewer. */
#define DEFAULT_DEVICE_ACTIVATION_SHARE 8
#define DEFAULT_BLOCK_SIZE 32
#define DEFAULT_PROMPT_LOOKUP_MIN 2
#define DEFAULT_PROMPT_LOOKUP_MAX 4
#define DEFAULT_GPU_MEMORY_UTILIZATION 0.9f
#define MOCK_MODEL_LEN 4096
#define MAX_BLOCK_SIZE 4096
#define MAX_NUM_BLOCKS (1 << 24)
#define MAX_EMPTY_BLOCKS (1 << 18) /* they are only ids, but have entries in tables */
#define MAX_NUM_SEQS (1 << 16)
#define MAX_NUM_BATCHED_TOKENS (1 << 20)
#define MAX_NUM_THREADS 1024

/* Without a budget KV pool and recurrent states take at most this, and a quarter of the machine's
 * memory. */
#define DEFAULT_POOL_BYTES ((uint64_t)4 << 30)
/* Recurrent states that are kept for others: for each sequence that runs at once those at the end
 * of its prompt and of its newest block, and as many of earlier ones; and at least so many. */
#define KEPT_STATES_PER_SEQ 4
#define FEWEST_KEPT_STATES 2
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
        .max_num_seqs = DEFAULT_MAX_NUM_SEQS,
        .block_size = DEFAULT_BLOCK_SIZE,
        .kv_cache_dtype = NANO_KV_F16,
        .gpu_memory_utilization = DEFAULT_GPU_MEMORY_UTILIZATION,
        .batch_invariant = true,
        .async_scheduling = true,
        .enable_prefix_caching = true,
        .prompt_lookup_min = DEFAULT_PROMPT_LOOKUP_MIN,
        .prompt_lookup_max = DEFAULT_PROMPT_LOOKUP_MAX,
    };
}

const char *nano_engine_runner_name(const nano_model *model, const char *runner)
{
    if (runner)
        return runner;
    return model && model->weights.onnx ? "onnx" : "cpu";
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
    case NANO_KV_FP8:
        *out = NANO_KV_FORMAT_FP8;
        return NANO_OK;
    }
    return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "kv_cache_dtype %d is unknown",
                          (int)dtype);
}

/* Checks the ranges and fills what does not depend on memory. `tokens` are for a step, unless some
 * are asked for. */
static enum nano_status resolve(struct nano_engine_setup *s, const nano_model *model,
                                const struct nano_program *program,
                                const struct nano_engine_params *p, int tokens,
                                struct nano_error *err)
{
    enum nano_status status;
    struct nano_runner_config *rc = &s->runner_config;
    struct nano_memory_plan *plan = &s->plan;
    NANO_TRY(nano_runner_find(&s->runner, nano_engine_runner_name(model, p->runner), err));
    NANO_TRY(check_range("num_threads", p->num_threads, 0, MAX_NUM_THREADS, err));
    NANO_TRY(check_range("max_num_seqs", p->max_num_seqs, 1, MAX_NUM_SEQS, err));
    NANO_TRY(check_range("max_num_batched_tokens", p->max_num_batched_tokens, 0,
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
    if (!(p->gpu_memory_utilization >= 0 && p->gpu_memory_utilization <= 1))
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "gpu_memory_utilization is %g, expected 0 to 1",
                              (double)p->gpu_memory_utilization);
    s->gpu_memory_utilization =
        p->gpu_memory_utilization > 0 ? p->gpu_memory_utilization : DEFAULT_GPU_MEMORY_UTILIZATION;
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
    rc->onnx = model ? model->weights.onnx : NULL;
    rc->onnx_providers = p->onnx_providers;
    rc->enforce_eager = p->enforce_eager;
    rc->batch_invariant = p->batch_invariant;
    /* Threads without a processor of their own only wait for each other, and no output depends on
     * how many there are. */
    const int num_cpus = nano_os_num_cpus();
    rc->num_threads = p->num_threads && p->num_threads < num_cpus ? p->num_threads : num_cpus;
    if (p->max_num_batched_tokens)
        tokens = p->max_num_batched_tokens;
    rc->max_num_batched_tokens = tokens;
    /* Every running sequence has a token in every step's budget. */
    rc->max_num_seqs = p->max_num_seqs < tokens ? p->max_num_seqs : tokens;
    rc->max_model_len = p->max_model_len ? p->max_model_len : (int)context;
    if (program && program->bidirectional) {
        /* A step computes whole prompts: the longer of the two that were asked for counts. */
        if (p->max_model_len > rc->max_num_batched_tokens)
            rc->max_num_batched_tokens = p->max_model_len;
        if (rc->max_model_len > rc->max_num_batched_tokens)
            rc->max_model_len = rc->max_num_batched_tokens;
        s->scheduler_config.whole_prompts = true;
    }
    /* What a token proposes, or a state becomes, must be known before the next step is scheduled. A
     * sequence has the blocks of two steps' tokens, which are planned for if a step may have two.
     */
    s->scheduler_config.runs_ahead = p->async_scheduling && s->runner->begin && !p->enforce_eager &&
                                     p->num_speculative_tokens == 0 &&
                                     rc->max_num_batched_tokens > 1 &&
                                     !s->scheduler_config.whole_prompts;
    rc->block_size = p->block_size;
    plan->budget_bytes = p->mem_budget_bytes;
    s->has_budget = p->mem_budget_bytes > 0;
    plan->block_size = p->block_size;
    plan->max_num_batched_tokens = rc->max_num_batched_tokens;
    plan->num_threads = rc->num_threads;
    return NANO_OK;
fail:
    return status;
}

/* Bytes that one request of the longest kind holds. */
static uint64_t longest_request_bytes(const struct nano_engine_setup *s)
{
    int max_model_len = s->runner_config.max_model_len;
    const struct nano_kv_shape *kv = &s->scheduler_config.kv;
    uint64_t count = (uint64_t)max_model_len +
                     (uint64_t)nano_kv_entries(kv, max_model_len) * (uint64_t)kv->num_groups;
    uint64_t base_bytes = REQUEST_BASE_BYTES;
    if (s->scheduler_config.speculative.num_speculative_tokens > 0) {
        count += nano_draft_size(max_model_len);
        base_bytes += REQUEST_BASE_BYTES; /* log-probabilities behind each proposal */
    }
    if (s->runner_config.program)
        base_bytes += nano_embedding_bytes(s->runner_config.program->config.hidden_size);
    return base_bytes + sizeof(int32_t) * count;
}

static uint64_t scheduler_bytes(const struct nano_engine_setup *s, int num_blocks, int num_states)
{
    struct nano_scheduler_config c = s->scheduler_config;
    c.num_blocks = num_blocks;
    c.kv.num_states = num_states;
    return nano_scheduler_bytes(&c);
}

/* What of the stored weights is in memory beside the packed ones. Of a file: what is read in place,
 * header and metadata, and what is being packed. A model made in memory: all. And what was read
 * into memory of its own: names, metadata, vectors. */
static uint64_t stored_bytes(const nano_model *model, const struct nano_runner_memory *memory)
{
    const uint64_t own_bytes = model->weights.arena.total_bytes;
    if (model->weights.onnx)
        return own_bytes + memory->packing_bytes;
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

/* What of a GPU's memory may be taken: its share, less what others have of it. */
static uint64_t device_budget(const struct nano_engine_setup *s,
                              const struct nano_runner_memory *memory)
{
    const uint64_t share =
        (uint64_t)((double)memory->device_bytes * (double)s->gpu_memory_utilization);
    const uint64_t others = memory->device_bytes - memory->device_free_bytes;
    return share > others ? share - others : 1;
}

/* Of what the plan has, what counts against the budget, but pools. */
static uint64_t fixed_bytes(const struct nano_memory_plan *plan)
{
    const uint64_t bytes = plan->weight_bytes + plan->activation_bytes;
    return plan->device_bytes ? bytes : bytes + plan->mapped_bytes + plan->engine_bytes;
}

static void set_shape(struct nano_engine_setup *s, const struct nano_runner_memory *memory)
{
    struct nano_scheduler_config *c = &s->scheduler_config;
    c->max_num_seqs = s->runner_config.max_num_seqs;
    c->max_num_batched_tokens = s->runner_config.max_num_batched_tokens;
    c->kv = (struct nano_kv_shape){.block_size = s->runner_config.block_size,
                                   .num_groups = memory->num_kv_groups,
                                   .max_chunk = s->runner_config.max_num_batched_tokens};
    c->runs_ahead = c->runs_ahead && memory->state_bytes == 0;
    for (int g = 0; g < memory->num_kv_groups; g++) {
        c->kv.windows[g] = memory->kv_windows[g];
        c->kv.num_windowed += memory->kv_windows[g] > 0;
    }
}

/* Everything but blocks and states and what is kept for each of them. */
static enum nano_status fixed_parts(struct nano_engine_setup *s, const nano_model *model,
                                    struct nano_error *err)
{
    struct nano_memory_plan *plan = &s->plan;
    struct nano_runner_memory memory = {0};
    enum nano_status status = s->runner->plan(&s->runner_config, &memory, err);
    if (status != NANO_OK)
        return status;
    set_shape(s, &memory);
    plan->num_kv_groups = memory.num_kv_groups;
    plan->state_bytes = memory.state_bytes;
    plan->max_num_seqs = s->runner_config.max_num_seqs;
    plan->weight_bytes = memory.weight_bytes;
    plan->mapped_bytes = memory.mapped_bytes;
    plan->activation_bytes = memory.activation_bytes;
    plan->kv_block_bytes = memory.kv_block_bytes;
    plan->device_bytes = memory.device_bytes;
    if (memory.device_bytes && !s->has_budget)
        plan->budget_bytes = device_budget(s, &memory);
    uint64_t per_request = longest_request_bytes(s);
    s->request_bytes = per_request * (uint64_t)s->runner_config.max_num_seqs;
    if (s->request_bytes > MAX_REQUEST_BYTES)
        s->request_bytes = per_request > MAX_REQUEST_BYTES ? per_request : MAX_REQUEST_BYTES;
    plan->engine_bytes = PROCESS_BYTES + s->request_bytes + scheduler_bytes(s, 0, 0) +
                         (uint64_t)plan->max_num_seqs * sizeof(struct nano_step_entry) +
                         memory.host_bytes;
    if (model) {
        plan->engine_bytes +=
            nano_sampler_bytes(model->config.vocab_size, s->runner_config.num_threads);
        if (model->tokenizer)
            plan->engine_bytes += nano_tokenizer_memory_bytes(model->tokenizer);
        plan->mapped_bytes = stored_bytes(model, &memory);
    }
    return NANO_OK;
}

static void set_pools(struct nano_engine_setup *s, int num_blocks, int num_states)
{
    struct nano_memory_plan *plan = &s->plan;
    plan->num_blocks = num_blocks;
    plan->kv_bytes = (uint64_t)num_blocks * plan->kv_block_bytes;
    plan->num_states = num_states;
    plan->states_bytes = (uint64_t)num_states * plan->state_bytes;
    plan->engine_bytes += scheduler_bytes(s, num_blocks, num_states) - scheduler_bytes(s, 0, 0);
    plan->max_model_len = s->runner_config.max_model_len;
    plan->total_bytes = fixed_bytes(plan) + plan->kv_bytes + plan->states_bytes;
    s->scheduler_config.num_blocks = num_blocks;
    s->scheduler_config.kv.num_states = num_states;
}

static enum nano_status refuse(const struct nano_engine_setup *s, int num_affordable,
                               struct nano_error *err)
{
    const struct nano_memory_plan *plan = &s->plan;
    const double mib = 1024.0 * 1024.0;
    char states[96] = "";
    if (plan->num_states > 0)
        snprintf(states, sizeof states, "%d recurrent states %.1f + ", plan->num_states,
                 (double)plan->states_bytes / mib);
    if (plan->budget_bytes == 0)
        return nano_error_set(err, NANO_ERR_NO_MEMORY,
                              "one sequence of max_model_len %d needs %d blocks of %d tokens, "
                              "%.1f MiB of KV; without a memory budget or num_blocks there are %d",
                              plan->max_model_len, plan->num_blocks, plan->block_size,
                              (double)plan->kv_bytes / mib, num_affordable);
    if (plan->device_bytes)
        return nano_error_set(err, NANO_ERR_NO_MEMORY,
                              "%.1f MiB of the GPU's memory are too small: weights %.1f + "
                              "activations %.1f + %sKV %.1f (%d blocks of %d tokens, for "
                              "max_model_len %d) = %.1f MiB",
                              (double)plan->budget_bytes / mib, (double)plan->weight_bytes / mib,
                              (double)plan->activation_bytes / mib, states,
                              (double)plan->kv_bytes / mib, plan->num_blocks, plan->block_size,
                              plan->max_model_len, (double)plan->total_bytes / mib);
    return nano_error_set(err, NANO_ERR_NO_MEMORY,
                          "memory budget %.1f MiB is too small: weights %.1f + mapped file %.1f + "
                          "activations %.1f + engine %.1f + %s"
                          "KV %.1f (%d blocks of %d tokens, for max_model_len %d) = %.1f MiB",
                          (double)plan->budget_bytes / mib, (double)plan->weight_bytes / mib,
                          (double)plan->mapped_bytes / mib, (double)plan->activation_bytes / mib,
                          (double)plan->engine_bytes / mib, states, (double)plan->kv_bytes / mib,
                          plan->num_blocks, plan->block_size, plan->max_model_len,
                          (double)plan->total_bytes / mib);
}

/* A block and what is kept for it. The hash table doubles at powers of two: its largest share is
 * four buckets per block. */
static uint64_t block_bytes(const struct nano_engine_setup *s)
{
    return s->plan.kv_block_bytes + sizeof(struct nano_block) +
           (uint64_t)s->runner_config.block_size * sizeof(int32_t) + 4 * sizeof(int32_t);
}

/* How many blocks the memory that is left holds, at most `wanted`. */
static int affordable_blocks(const struct nano_engine_setup *s, uint64_t available, int64_t wanted)
{
    uint64_t count = available / block_bytes(s);
    if (wanted > MAX_NUM_BLOCKS)
        wanted = MAX_NUM_BLOCKS;
    return count < (uint64_t)wanted ? (int)count : (int)wanted;
}

/* Memory for blocks and states. */
static uint64_t available_bytes(const struct nano_memory_plan *plan)
{
    const uint64_t fixed = fixed_bytes(plan);
    if (plan->budget_bytes > 0)
        return plan->budget_bytes > fixed ? plan->budget_bytes - fixed : 0;
    const uint64_t quarter = nano_os_physical_bytes() / 4;
    return quarter && quarter < DEFAULT_POOL_BYTES ? quarter : DEFAULT_POOL_BYTES;
}

/* The shortest max_model_len that will do. */
static int shortest_model_len(const struct nano_engine_setup *s, const struct nano_engine_params *p)
{
    const int max_model_len = s->runner_config.max_model_len;
    if (p->max_model_len > 0 || max_model_len < SMALLEST_DEFAULT_MODEL_LEN)
        return max_model_len;
    return SMALLEST_DEFAULT_MODEL_LEN;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Live states have at most half of the memory that one sequence's KV leaves, kept ones a quarter.
 * max_num_seqs becomes what the live ones are enough for. */
static enum nano_status plan_states(struct nano_engine_setup *s, const nano_model *model,
                                    const struct nano_engine_params *p, int *num_states,
                                    struct nano_error *err)
{
    const struct nano_memory_plan *plan = &s->plan;
    *num_states = 0;
    if (plan->state_bytes == 0)
        return NANO_OK;
    if (p->num_speculative_tokens > 0)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "num_speculative_tokens is %d, expected 0: the recurrent state of %s "
                              "cannot go back behind a wrong proposal",
                              p->num_speculative_tokens,
                              model ? model->config.architecture : s->runner->name);
    const uint64_t slot_bytes = plan->state_bytes + sizeof(struct nano_state_slot);
    const int64_t num_blocks =
        p->num_blocks > 0
            ? p->num_blocks
            : nano_kv_sequence_blocks(&s->scheduler_config.kv, shortest_model_len(s, p));
    const uint64_t blocks = (uint64_t)num_blocks * block_bytes(s),
                   available = available_bytes(plan);
    const uint64_t most = available > blocks ? (available - blocks) / slot_bytes : 0;
    const uint64_t max_num_seqs = (uint64_t)s->runner_config.max_num_seqs;
    uint64_t num_live = smaller(max_num_seqs, most / 2);
    uint64_t num_kept = smaller(max_num_seqs * KEPT_STATES_PER_SEQ, most / 4);
    if (num_live < 1)
        num_live = 1;
    if (!p->enable_prefix_caching || num_kept < FEWEST_KEPT_STATES)
        num_kept = FEWEST_KEPT_STATES;
    *num_states = (int)(num_live + num_kept);
    if (num_live == max_num_seqs)
        return NANO_OK;
    nano_log(NANO_LOG_WARN,
             "max_num_seqs is %d instead of %d: each sequence has a recurrent state of %.1f MiB",
             (int)num_live, (int)max_num_seqs, (double)plan->state_bytes / (1024.0 * 1024.0));
    s->runner_config.max_num_seqs = (int)num_live;
    return fixed_parts(s, model, err);
}

/* Blocks beyond which no more would ever be in use. */
static int64_t useful_blocks(const struct nano_engine_setup *s, int64_t one_sequence)
{
    const struct nano_runner_config *rc = &s->runner_config;
    const int64_t all = one_sequence * rc->max_num_seqs;
    if (!s->scheduler_config.whole_prompts)
        return all;
    /* Those of one step; of each sequence one is not full, and one is left free on admission. */
    const int64_t step =
        s->scheduler_config.kv.num_groups *
        ((int64_t)rc->max_num_batched_tokens / rc->block_size + 2 * rc->max_num_seqs);
    return all < step ? all : step;
}

static enum nano_status plan_blocks(struct nano_engine_setup *s, const struct nano_engine_params *p,
                                    int num_states, struct nano_error *err)
{
    const struct nano_kv_shape *kv = &s->scheduler_config.kv;
    const int max_model_len = s->runner_config.max_model_len;
    const int64_t one_sequence = nano_kv_sequence_blocks(kv, max_model_len);
    int num_blocks = p->num_blocks;
    if (num_blocks == 0) {
        const uint64_t available = available_bytes(&s->plan),
                       states = (uint64_t)num_states *
                                (s->plan.state_bytes + sizeof(struct nano_state_slot));
        int64_t wanted = useful_blocks(s, one_sequence);
        if (s->plan.kv_block_bytes == 0 && wanted > MAX_EMPTY_BLOCKS)
            wanted = one_sequence > MAX_EMPTY_BLOCKS ? one_sequence : MAX_EMPTY_BLOCKS;
        num_blocks = affordable_blocks(s, available > states ? available - states : 0, wanted);
    }
    if (num_blocks < one_sequence) {
        const int shorter = nano_kv_longest_sequence(kv, num_blocks, max_model_len);
        const int shortest = shortest_model_len(s, p);
        if (p->max_model_len == 0 && shorter >= (p->num_blocks > 0 ? 1 : shortest)) {
            s->runner_config.max_model_len = shorter;
        } else if (p->num_blocks > 0) {
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                                  "%d blocks of %d tokens do not hold one sequence of "
                                  "max_model_len %d, which needs %lld",
                                  num_blocks, kv->block_size, max_model_len,
                                  (long long)one_sequence);
        } else {
            s->runner_config.max_model_len = shortest;
            set_pools(s, (int)smaller((uint64_t)nano_kv_sequence_blocks(kv, shortest), INT32_MAX),
                      num_states);
            return refuse(s, num_blocks, err);
        }
    }
    set_pools(s, num_blocks, num_states);
    if (s->plan.budget_bytes && s->plan.total_bytes > s->plan.budget_bytes)
        return refuse(s, num_blocks, err);
    return NANO_OK;
}

/* The plan for steps of `tokens` tokens, unless p says how many. *is_large: activations take more
 * than a device is given for them where nobody asked. */
static enum nano_status make(struct nano_engine_setup *s, const nano_model *model,
                             const struct nano_program *program,
                             const struct nano_adapters *adapters,
                             const struct nano_engine_params *p, int tokens, bool *is_large,
                             struct nano_error *err)
{
    const struct nano_memory_plan *plan = &s->plan;
    enum nano_status status;
    int num_states;
    *s = (struct nano_engine_setup){0};
    if (adapters) {
        s->runner_config.adapters = adapters->adapters;
        s->runner_config.num_adapters = adapters->count;
    }
    NANO_TRY(resolve(s, model, program, p, tokens, err));
    NANO_TRY(fixed_parts(s, model, err));
    const uint64_t rest =
        plan->budget_bytes > plan->weight_bytes ? plan->budget_bytes - plan->weight_bytes : 0;
    *is_large = plan->activation_bytes > rest / DEFAULT_DEVICE_ACTIVATION_SHARE;
    NANO_TRY(plan_states(s, model, p, &num_states, err));
    NANO_TRY(plan_blocks(s, p, num_states, err));
fail:
    return status;
}

/* A device is given more tokens in a step than a CPU where nobody says how many: half as many, and
 * so on, until what they take is little and leaves room for what was asked for. */
enum nano_status nano_engine_setup_make(struct nano_engine_setup *s, const nano_model *model,
                                        const struct nano_program *program,
                                        const struct nano_adapters *adapters,
                                        const struct nano_engine_params *p, struct nano_error *err)
{
    int tokens = DEFAULT_MAX_NUM_BATCHED_TOKENS;
    bool is_large;
    enum nano_status status = make(s, model, program, adapters, p, tokens, &is_large, err);
    if (p->max_num_batched_tokens || !s->plan.device_bytes)
        return status;
    for (tokens = DEFAULT_DEVICE_MAX_NUM_BATCHED_TOKENS; tokens >= DEFAULT_MAX_NUM_BATCHED_TOKENS;
         tokens /= 2) {
        status = make(s, model, program, adapters, p, tokens, &is_large, err);
        if (status == NANO_OK && !is_large)
            break;
    }
    return status;
}
