/* Engine: lifecycle, and what clients call from their threads. */
#include "nanovllm.h"

#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/memory.h"
#include "engine/engine_state.h"

#define FIRST_TABLE_SIZE 256

/* ---- Requests by id -------------------------------------------------------------------------- */

/* Ids are consecutive, so the low bits spread them evenly. */
static struct nano_request_state **table_slot(struct nano_engine *engine, uint64_t id)
{
    return &engine->table[id & engine->table_mask];
}

static bool table_grow(struct nano_engine *engine)
{
    size_t old_size = engine->table ? engine->table_mask + 1 : 0;
    size_t size = old_size ? old_size * 2 : FIRST_TABLE_SIZE;
    struct nano_request_state **table = nano_mem_calloc(size, sizeof *table);
    if (!table)
        return false;
    for (size_t i = 0; i < old_size; i++) {
        for (struct nano_request_state *r = engine->table[i], *next; r; r = next) {
            next = r->next_in_table;
            r->next_in_table = table[r->id & (size - 1)];
            table[r->id & (size - 1)] = r;
        }
    }
    nano_mem_free(engine->table);
    engine->table = table;
    engine->table_mask = size - 1;
    return true;
}

void nano_engine_forget_request(struct nano_engine *engine, struct nano_request_state *request)
{
    pthread_mutex_lock(&engine->lock);
    struct nano_request_state **link = table_slot(engine, request->id);
    while (*link != request)
        link = &(*link)->next_in_table;
    *link = request->next_in_table;
    if (request->cancel_requested) { /* a cancellation that came after the step had begun */
        for (link = &engine->cancelled; *link; link = &(*link)->next_cancelled) {
            if (*link == request) {
                *link = request->next_cancelled;
                break;
            }
        }
    }
    engine->request_bytes -= nano_request_bytes(request);
    engine->num_queued -= !request->admitted;
    engine->num_live--;
    pthread_mutex_unlock(&engine->lock);
}

/* ---- Lifecycle ------------------------------------------------------------------------------- */

static void *engine_thread(void *argument)
{
    struct nano_engine *engine = argument;
    for (;;) {
        while (nano_engine_run_step(engine, NULL)) {
            pthread_mutex_lock(&engine->lock);
            bool stopping = engine->stopping;
            pthread_mutex_unlock(&engine->lock);
            if (stopping)
                return NULL;
        }
        pthread_mutex_lock(&engine->lock);
        while (!engine->inbox && !engine->cancelled && !engine->stopping)
            pthread_cond_wait(&engine->wake, &engine->lock);
        bool stopping = engine->stopping;
        pthread_mutex_unlock(&engine->lock);
        if (stopping)
            return NULL;
    }
}

static enum nano_status make_program(struct nano_program **out, const nano_model *model,
                                     const char *runner, struct nano_error *err)
{
    const bool is_graph = model && model->weights.onnx;
    const char *name = nano_engine_runner_name(model, runner);
    const struct nano_runner *known;
    *out = NULL;
    const enum nano_status status = nano_runner_find(&known, name, err);
    if (status != NANO_OK)
        return status;
    if (model && is_graph != (strcmp(name, "onnx") == 0))
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "%s is %s ONNX graph, the runner is %s",
                              nano_weights_label(&model->weights), is_graph ? "an" : "no", name);
    if (model && !is_graph)
        return nano_program_create(out, &model->weights, err);
    if (is_graph || strncmp(name, "mock", 4) == 0)
        return NANO_OK;
    return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "runner %s needs a model", name);
}

enum nano_status nano_engine_plan(const nano_model *model, const struct nano_engine_params *params,
                                  struct nano_memory_plan *out, struct nano_error *err)
{
    struct nano_engine_params defaults = nano_engine_params_default();
    struct nano_engine_setup setup = {0};
    struct nano_program *program;
    struct nano_adapters adapters = {0};
    params = params ? params : &defaults;
    *out = (struct nano_memory_plan){0};
    enum nano_status status = make_program(&program, model, params->runner, err);
    if (status == NANO_OK)
        status =
            nano_adapters_open(&adapters, params, model ? &model->weights : NULL, program, err);
    if (status == NANO_OK)
        status = nano_engine_setup_make(&setup, model, program, &adapters, params, err);
    nano_adapters_deinit(&adapters);
    nano_program_destroy(program);
    *out = setup.plan;
    return status;
}

static bool is_encoder(const struct nano_engine *engine)
{
    return engine->program && engine->program->bidirectional;
}

/* What the model's file says, where it says it. */
static enum nano_pooling find_pooling(const struct nano_engine *engine)
{
    char key[sizeof engine->program->config.architecture + 32];
    int64_t value = 0;
    if (engine->program) {
        snprintf(key, sizeof key, "%s.pooling_type", engine->program->config.architecture);
        nano_meta_get_int(engine->program->weights, key, 0, INT32_MAX, &value, NULL);
    }
    if (value >= NANO_POOLING_MEAN && value <= NANO_POOLING_LAST)
        return (enum nano_pooling)value;
    return is_encoder(engine) ? NANO_POOLING_MEAN : NANO_POOLING_LAST;
}

static enum nano_status open_parts(struct nano_engine *engine, struct nano_error *err)
{
    enum nano_status status;
    struct nano_engine_setup *setup = &engine->setup;
    NANO_TRY(make_program(&engine->program, engine->model, engine->params.runner, err));
    NANO_TRY(nano_adapters_open(&engine->adapters, &engine->params,
                                engine->model ? &engine->model->weights : NULL, engine->program,
                                err));
    NANO_TRY(nano_engine_setup_make(setup, engine->model, engine->program, &engine->adapters,
                                    &engine->params, err));
    nano_kernels_init(&engine->kernels, nano_cpu_detect());
    NANO_TRY(setup->runner->open(&engine->runner_state, &setup->runner_config, err));
    nano_adapters_close_files(&engine->adapters);
    NANO_TRY(setup->runner->kv_alloc(engine->runner_state, setup->plan.num_blocks,
                                     setup->plan.num_states, err));
    setup->runner->caps(engine->runner_state, &engine->caps);
    engine->pooling = find_pooling(engine);
    engine->runs_ahead = engine->caps.runs_ahead && setup->scheduler_config.runs_ahead;
    NANO_TRY(nano_sampler_init(&engine->sampler, &engine->kernels, engine->caps.vocab_size,
                               setup->plan.num_threads, err));
    NANO_TRY(nano_scheduler_init(&engine->scheduler, &setup->scheduler_config, err));
    engine->scheduler.copy_state = setup->runner->state_copy;
    engine->scheduler.runner_state = engine->runner_state;
    if (engine->params.on_step) {
        engine->step_entries =
            nano_mem_calloc((size_t)setup->plan.max_num_seqs, sizeof *engine->step_entries);
        if (!engine->step_entries)
            return nano_error_no_memory(err, "step entries", sizeof *engine->step_entries);
    }
    if (!table_grow(engine))
        return nano_error_no_memory(err, "the request table", FIRST_TABLE_SIZE * sizeof(void *));
    engine->totals.num_blocks = setup->plan.num_blocks;
    engine->totals.memory_used_bytes =
        setup->runner->memory_used(engine->runner_state) +
        nano_scheduler_bytes(&setup->scheduler_config) +
        nano_sampler_bytes(engine->caps.vocab_size, setup->plan.num_threads);
    engine->snapshot = engine->totals;
    return NANO_OK;
fail:
    return status;
}

enum nano_status nano_engine_create(nano_engine **out, nano_model *model,
                                    const struct nano_engine_params *params, struct nano_error *err)
{
    *out = NULL;
    struct nano_engine *engine = nano_mem_calloc(1, sizeof *engine);
    if (!engine)
        return nano_error_no_memory(err, "the engine", sizeof *engine);
    engine->params = params ? *params : nano_engine_params_default();
    engine->model = model;
    engine->tokenizer = model ? model->tokenizer : NULL;
    engine->inbox_end = &engine->inbox;
    engine->is_idle = true;
    engine->salt = nano_os_random_seed();
    engine->token_output = (struct nano_output){.num_tokens = 1, .text = "", .stop_token_id = -1};
    pthread_mutex_init(&engine->lock, NULL);
    pthread_mutex_init(&engine->runner_lock, NULL);
    pthread_cond_init(&engine->wake, NULL);
    pthread_cond_init(&engine->idle, NULL);
    enum nano_status status = open_parts(engine, err);
    if (status == NANO_OK && !engine->params.manual_step) {
        if (pthread_create(&engine->thread, NULL, engine_thread, engine) == 0)
            engine->thread_started = true;
        else
            status =
                nano_error_set(err, NANO_ERR_NO_MEMORY, "the engine's thread cannot be started");
    }
    if (status != NANO_OK) {
        nano_engine_destroy(engine);
        return status;
    }
    *out = engine;
    return NANO_OK;
}

void nano_engine_destroy(nano_engine *engine)
{
    if (!engine)
        return;
    pthread_mutex_lock(&engine->lock);
    engine->stopping = true; /* nothing is submitted any more, not even from callbacks */
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->lock);
    if (engine->thread_started)
        pthread_join(engine->thread, NULL);
    nano_engine_cancel_all(engine);
    if (engine->setup.runner)
        engine->setup.runner->close(engine->runner_state);
    nano_scheduler_deinit(&engine->scheduler);
    nano_sampler_deinit(&engine->sampler);
    nano_adapters_deinit(&engine->adapters);
    nano_program_destroy(engine->program);
    nano_mem_free(engine->step_entries);
    nano_mem_free(engine->table);
    pthread_cond_destroy(&engine->idle);
    pthread_cond_destroy(&engine->wake);
    pthread_mutex_destroy(&engine->runner_lock);
    pthread_mutex_destroy(&engine->lock);
    nano_mem_free(engine);
}

enum nano_status nano_engine_step(nano_engine *engine, bool *has_work, struct nano_error *err)
{
    *has_work = false;
    if (!engine->params.manual_step)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "nano_engine_step needs an engine with manual_step");
    struct nano_error error = {0};
    *has_work = nano_engine_run_step(engine, &error);
    if (error.status != NANO_OK && err)
        *err = error;
    return error.status;
}

/* ---- Requests -------------------------------------------------------------------------------- */

/* What the block hashes of a request begin with. The engine's own salt is in it, so nobody can
 * choose a cache_salt that meets another one's; and so is the adapter, with which the same tokens
 * have other K and V. */
static uint64_t salt_for(const struct nano_engine *engine, uint64_t id, int32_t adapter,
                         const char *cache_salt)
{
    if (!engine->params.enable_prefix_caching)
        return engine->salt + id; /* its blocks are for its own completions */
    uint64_t salt = engine->salt;
    if (adapter > 0)
        salt = XXH3_64bits_withSeed(&adapter, sizeof adapter, salt);
    if (!cache_salt || !*cache_salt)
        return salt;
    return XXH3_64bits_withSeed(cache_salt, strlen(cache_salt), salt);
}

/* Refuses what the limits of the queue do not allow; under the lock. */
static enum nano_status enqueue(struct nano_engine *engine, struct nano_request_state *request,
                                const char *cache_salt, struct nano_error *err)
{
    size_t limit = (size_t)engine->params.max_num_queued_reqs;
    uint64_t bytes = nano_request_bytes(request);
    if (engine->stopping)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "the engine is being destroyed");
    if (limit > 0 && engine->num_queued >= limit)
        return nano_error_set(err, NANO_ERR_QUEUE_FULL,
                              "%zu requests are waiting, the limit is %zu", engine->num_queued,
                              limit);
    uint64_t most_bytes =
        engine->params.mem_budget_bytes ? engine->setup.request_bytes : UINT64_MAX;
    if (bytes > most_bytes)
        return nano_error_set(
            err, NANO_ERR_INVALID_ARGUMENT,
            "this request needs %llu bytes, the memory budget has %llu for all requests",
            (unsigned long long)bytes, (unsigned long long)most_bytes);
    if (bytes > most_bytes - engine->request_bytes)
        return nano_error_set(
            err, NANO_ERR_QUEUE_FULL,
            "requests hold %llu bytes and this one needs %llu; the memory budget has %llu for them",
            (unsigned long long)engine->request_bytes, (unsigned long long)bytes,
            (unsigned long long)most_bytes);
    if (engine->num_live > engine->table_mask && !table_grow(engine))
        return nano_error_no_memory(err, "the request table",
                                    2 * engine->table_mask * sizeof(void *));
    request->id = request->arrival = ++engine->last_id;
    request->salt = salt_for(engine, request->id, request->adapter, cache_salt);
    for (int i = 0; i < request->params.n; i++)
        request->sequences[i].shares_blocks =
            !is_encoder(engine) && (engine->params.enable_prefix_caching || request->params.n > 1);
    request->submitted_ns = nano_os_clock_ns();
    struct nano_request_state **slot = table_slot(engine, request->id);
    request->next_in_table = *slot;
    *slot = request;
    *engine->inbox_end = request;
    engine->inbox_end = &request->next;
    engine->is_idle = false;
    engine->num_live++;
    engine->num_queued++;
    engine->request_bytes += bytes;
    engine->snapshot.num_requests_submitted = engine->last_id;
    pthread_cond_signal(&engine->wake);
    return NANO_OK;
}

enum nano_status nano_engine_submit(nano_engine *engine, const struct nano_request *request,
                                    uint64_t *request_id, struct nano_error *err)
{
    enum nano_status status;
    int32_t *encoded = NULL, adapter;
    const int32_t *prompt = request->prompt_token_ids;
    size_t num_prompt_tokens = prompt ? request->num_prompt_token_ids : 0;
    struct nano_request_state *state = NULL;
    if (!prompt && request->prompt) {
        if (!engine->tokenizer)
            return nano_error_set(
                err, NANO_ERR_INVALID_ARGUMENT, "a text prompt needs a tokenizer: %s",
                engine->model ? engine->model->tokenizer_error.message : "there is no model");
        NANO_TRY(nano_tokenizer_encode(engine->tokenizer, request->prompt, request->prompt_bytes,
                                       request->encode_flags, &encoded, &num_prompt_tokens, err));
        prompt = encoded;
    }
    struct nano_request_limits limits = {
        .tokenizer = engine->tokenizer,
        .vocab_size = engine->caps.vocab_size,
        .max_model_len = engine->setup.plan.max_model_len,
        .block_size = engine->setup.plan.block_size,
        .num_kv_groups = engine->setup.scheduler_config.kv.num_groups,
        .hidden_size = engine->caps.hidden_size,
        .runner_draws = engine->caps.draws,
        .pooling = engine->pooling,
        .encoder_name = is_encoder(engine) ? engine->program->config.architecture : NULL,
        .speculative = &engine->scheduler.config.speculative};
    NANO_TRY(nano_adapters_find(&engine->adapters, request->lora, &adapter, err));
    NANO_TRY(nano_request_create(&state, request, prompt, num_prompt_tokens, &limits, err));
    state->adapter = adapter;
    pthread_mutex_lock(&engine->lock);
    status = enqueue(engine, state, request->cache_salt, err);
    if (status == NANO_OK && request_id)
        *request_id = state->id;
    pthread_mutex_unlock(&engine->lock);
    if (status != NANO_OK)
        nano_request_destroy(state);
fail:
    nano_mem_free(encoded);
    return status;
}

void nano_engine_cancel(nano_engine *engine, uint64_t request_id)
{
    pthread_mutex_lock(&engine->lock);
    struct nano_request_state *request = *table_slot(engine, request_id);
    while (request && request->id != request_id)
        request = request->next_in_table;
    if (request && !request->cancel_requested) {
        request->cancel_requested = true;
        request->next_cancelled = engine->cancelled;
        engine->cancelled = request;
        pthread_cond_signal(&engine->wake);
    }
    pthread_mutex_unlock(&engine->lock);
}

void nano_engine_wait_idle(nano_engine *engine)
{
    if (engine->params.manual_step) {
        while (nano_engine_run_step(engine, NULL))
            continue;
        return;
    }
    pthread_mutex_lock(&engine->lock);
    while (!engine->is_idle)
        pthread_cond_wait(&engine->idle, &engine->lock);
    pthread_mutex_unlock(&engine->lock);
}

/* ---- Looking at it --------------------------------------------------------------------------- */

void nano_engine_get_plan(const nano_engine *engine, struct nano_memory_plan *out)
{
    *out = engine->setup.plan;
}

void nano_engine_get_stats(const nano_engine *engine, struct nano_stats *out)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&engine->lock;
    pthread_mutex_lock(lock);
    *out = engine->snapshot;
    pthread_mutex_unlock(lock);
}

size_t nano_engine_get_profile(const nano_engine *engine, struct nano_op_profile *out,
                               size_t capacity)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&engine->runner_lock;
    pthread_mutex_lock(lock);
    size_t count = engine->setup.runner->profile(engine->runner_state, out, capacity);
    pthread_mutex_unlock(lock);
    return count;
}

const char *nano_engine_get_isa(const nano_engine *engine)
{
    return engine->caps.isa;
}
