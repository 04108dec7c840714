/* nano_imatrix: the public handle, and the run of a text through a model.
 *
 * It drives a runner itself: there is one sequence at a time and nothing to schedule, and every row
 * must go through all ops, which an engine does only for rows whose logits somebody wants. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "engine/imatrix_collect.h"
#include "engine/memory_plan.h"
#include "engine/sampler.h"

#define DEFAULT_CHUNK_SIZE 512
#define DEFAULT_MAX_NUM_BATCHED_TOKENS 512
#define MIN_CHUNK_SIZE 4 /* fewer have no second half to score */

struct nano_imatrix {
    struct nano_imatrix_params params;
    struct nano_importance importance;
};

/* A text on its way through a model. */
struct run {
    nano_imatrix *imatrix;
    struct nano_program *program;
    struct nano_imatrix_collector collector;
    struct nano_engine_setup setup;
    void *runner_state;
    struct nano_kernels kernels;
    struct nano_sampler sampler;
    int32_t *block_table; /* [num_kv_groups, table_stride] */
    int64_t table_stride;
    int32_t *tokens;                   /* [chunk_size]: of the chunk */
    struct nano_batch_output *outputs; /* [max_num_batched_tokens] */
    float *logprobs;                   /* [chunk_size]: of each token after those before it */
    int first_position;                /* of the step */
    double sum, sum_squares;           /* of the negative log-probabilities that count */
    int64_t num_scored;
};

struct nano_imatrix_params nano_imatrix_params_default(void)
{
    const struct nano_engine_params engine = nano_engine_params_default();
    return (struct nano_imatrix_params){.chunk_size = DEFAULT_CHUNK_SIZE,
                                        .max_num_batched_tokens = DEFAULT_MAX_NUM_BATCHED_TOKENS,
                                        .kv_cache_dtype = engine.kv_cache_dtype,
                                        .compute_perplexity = true};
}

enum nano_status nano_imatrix_create(nano_imatrix **out, const struct nano_imatrix_params *params,
                                     struct nano_error *err)
{
    *out = NULL;
    const struct nano_imatrix_params p = params ? *params : nano_imatrix_params_default();
    if (p.chunk_size < MIN_CHUNK_SIZE)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "chunk_size is %d, expected at least %d", p.chunk_size,
                              MIN_CHUNK_SIZE);
    if (p.max_num_batched_tokens < 1)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "max_num_batched_tokens is %d, expected at least 1",
                              p.max_num_batched_tokens);
    nano_imatrix *imatrix = nano_mem_calloc(1, sizeof *imatrix);
    if (!imatrix)
        return nano_error_no_memory(err, "an importance matrix", sizeof *imatrix);
    imatrix->params = p;
    if (p.max_num_batched_tokens > p.chunk_size)
        imatrix->params.max_num_batched_tokens = p.chunk_size;
    enum nano_status status = nano_importance_init(&imatrix->importance, p.chunk_size, err);
    if (status != NANO_OK) {
        nano_imatrix_destroy(imatrix);
        return status;
    }
    *out = imatrix;
    return NANO_OK;
}

void nano_imatrix_destroy(nano_imatrix *imatrix)
{
    if (!imatrix)
        return;
    nano_importance_close(&imatrix->importance);
    nano_mem_free(imatrix);
}

enum nano_status nano_imatrix_add_file(nano_imatrix *imatrix, const char *path,
                                       struct nano_error *err)
{
    struct nano_importance file;
    enum nano_status status = nano_importance_open(&file, path, err);
    if (status != NANO_OK)
        return status;
    status = nano_importance_merge(&imatrix->importance, &file, err);
    nano_importance_close(&file);
    return status;
}

enum nano_status nano_imatrix_save(const nano_imatrix *imatrix, const char *path,
                                   struct nano_error *err)
{
    return nano_importance_save(&imatrix->importance, path, err);
}

/* ---- a chunk ---- */

static void on_logits(void *context, int output, float *logits)
{
    struct run *run = context;
    const int next = run->first_position + output + 1;
    struct nano_token_logprobs logprobs;
    nano_sampler_logprobs(&run->sampler, logits, run->tokens[next], 0, &logprobs, NULL);
    run->logprobs[next] = logprobs.logprob;
}

static enum nano_status run_step(struct run *run, int num_tokens, struct nano_error *err)
{
    const struct nano_imatrix_params *params = &run->imatrix->params;
    const struct nano_batch_seq seq = {.num_tokens = num_tokens,
                                       .first_position = run->first_position,
                                       .block_table = run->block_table,
                                       .table_stride = run->table_stride};
    struct nano_batch batch = {.num_tokens = num_tokens,
                               .tokens = run->tokens + run->first_position,
                               .num_seqs = 1,
                               .seqs = &seq,
                               .num_outputs = num_tokens,
                               .outputs = run->outputs,
                               .on_logits = on_logits,
                               .context = run};
    for (int i = 0; i < num_tokens; i++) {
        const int position = run->first_position + i;
        const bool scored = params->compute_perplexity && position >= params->chunk_size / 2 &&
                            position + 1 < params->chunk_size;
        run->outputs[i] = (struct nano_batch_output){.row = i, .greedy = !scored};
    }
    return run->setup.runner->run(run->runner_state, &batch, err);
}

static enum nano_status run_chunk(struct run *run, struct nano_error *err)
{
    const struct nano_imatrix_params *params = &run->imatrix->params;
    enum nano_status status = NANO_OK;
    for (int begin = 0; begin < params->chunk_size; begin += params->max_num_batched_tokens) {
        const int left = params->chunk_size - begin;
        run->first_position = begin;
        NANO_TRY(run_step(
            run, left < params->max_num_batched_tokens ? left : params->max_num_batched_tokens,
            err));
    }
    for (int i = params->chunk_size / 2 + 1; params->compute_perplexity && i < params->chunk_size;
         i++) {
        const double nll = -(double)run->logprobs[i];
        run->sum += nll;
        run->sum_squares += nll * nll;
        run->num_scored++;
    }
    NANO_TRY(nano_imatrix_collector_give(&run->collector, &run->imatrix->importance, err));
fail:
    return status;
}

/* ---- a text ---- */

static void set_perplexity(const struct run *run, struct nano_imatrix_progress *progress)
{
    if (run->num_scored == 0)
        return;
    const double n = (double)run->num_scored, mean = run->sum / n,
                 variance = run->sum_squares / n - mean * mean;
    progress->perplexity = exp(mean);
    if (n > 1 && variance > 0)
        progress->perplexity_error = sqrt(variance / (n - 1)) * progress->perplexity;
}

static enum nano_status run_chunks(struct run *run, const struct nano_imatrix_text *text,
                                   const int32_t *tokens, int num_chunks, int32_t bos,
                                   struct nano_error *err)
{
    const size_t chunk_size = (size_t)run->imatrix->params.chunk_size;
    enum nano_status status = NANO_OK;
    for (int i = 0; i < num_chunks; i++) {
        memcpy(run->tokens, tokens + (size_t)i * chunk_size, chunk_size * sizeof *tokens);
        if (bos >= 0)
            run->tokens[0] = bos;
        NANO_TRY(run_chunk(run, err));
        struct nano_imatrix_progress progress = {.num_chunks_done = i + 1,
                                                 .num_chunks = num_chunks};
        set_perplexity(run, &progress);
        if (text->on_progress && !text->on_progress(&progress, text->user_data))
            break;
    }
fail:
    return status;
}

/* Groups one after the other; in those with a window blocks take turns. */
static bool make_tables(struct run *run)
{
    const struct nano_kv_shape *kv = &run->setup.scheduler_config.kv;
    const int num_entries = nano_kv_entries(kv, run->imatrix->params.chunk_size);
    run->table_stride = num_entries;
    run->block_table =
        nano_mem_alloc((size_t)kv->num_groups * (size_t)num_entries, sizeof *run->block_table);
    if (!run->block_table)
        return false;
    int32_t *entry = run->block_table, first_block = 0;
    for (int g = 0; g < kv->num_groups; g++) {
        const int num_held = nano_kv_most_held(kv, g, num_entries);
        for (int i = 0; i < num_entries; i++)
            *entry++ = first_block + i % num_held;
        first_block += num_held;
    }
    return true;
}

static enum nano_status open_run(struct run *run, nano_model *model, struct nano_error *err)
{
    enum nano_status status;
    const struct nano_imatrix_params *params = &run->imatrix->params;
    struct nano_engine_params engine = nano_engine_params_default();
    engine.num_threads = params->num_threads;
    engine.max_model_len = params->chunk_size;
    engine.max_num_seqs = 1;
    engine.max_num_batched_tokens = params->max_num_batched_tokens;
    engine.kv_cache_dtype = params->kv_cache_dtype;
    NANO_TRY(nano_program_create(&run->program, &model->weights, err));
    if (run->program->bidirectional)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "%s: is an encoder, expected a model that predicts text",
                              nano_weights_label(&model->weights));
    NANO_TRY(nano_engine_setup_make(&run->setup, model, run->program, NULL, &engine, err));
    NANO_TRY(
        nano_imatrix_collector_init(&run->collector, run->program, params->process_output, err));
    run->setup.runner_config.on_linear_input = nano_imatrix_on_linear_input;
    run->setup.runner_config.on_linear_input_context = &run->collector;
    NANO_TRY(run->setup.runner->open(&run->runner_state, &run->setup.runner_config, err));
    NANO_TRY(run->setup.runner->kv_alloc(run->runner_state, run->setup.plan.num_blocks,
                                         run->setup.plan.num_states, err));
    nano_kernels_init(&run->kernels, nano_cpu_detect());
    NANO_TRY(nano_sampler_init(&run->sampler, &run->kernels, run->program->config.vocab_size,
                               run->setup.plan.num_threads, err));
    const size_t chunk_size = (size_t)params->chunk_size;
    run->tokens = nano_mem_alloc(chunk_size, sizeof *run->tokens);
    run->logprobs = nano_mem_alloc(chunk_size, sizeof *run->logprobs);
    run->outputs = nano_mem_alloc((size_t)params->max_num_batched_tokens, sizeof *run->outputs);
    if (!make_tables(run) || !run->tokens || !run->logprobs || !run->outputs)
        return nano_error_no_memory(err, "a chunk", chunk_size * sizeof *run->tokens);
fail:
    return status;
}

static void close_run(struct run *run)
{
    if (run->setup.runner)
        run->setup.runner->close(run->runner_state);
    nano_mem_free(run->outputs);
    nano_mem_free(run->logprobs);
    nano_mem_free(run->tokens);
    nano_mem_free(run->block_table);
    nano_sampler_deinit(&run->sampler);
    nano_imatrix_collector_deinit(&run->collector);
    nano_program_destroy(run->program);
}

enum nano_status nano_imatrix_add_text(nano_imatrix *imatrix, nano_model *model,
                                       const struct nano_imatrix_text *text, struct nano_error *err)
{
    enum nano_status status;
    struct run run = {.imatrix = imatrix};
    const size_t chunk_size = (size_t)imatrix->params.chunk_size;
    int32_t *tokens = NULL;
    size_t num_tokens;
    struct nano_tokenizer_info info;
    const unsigned flags =
        NANO_ENCODE_ADD_SPECIAL | (imatrix->params.parse_special ? NANO_ENCODE_PARSE_SPECIAL : 0);
    const nano_tokenizer *tokenizer = nano_model_get_tokenizer(model, err);
    if (!tokenizer)
        return model->tokenizer_error.status;
    nano_tokenizer_get_info(tokenizer, &info);
    NANO_TRY(nano_tokenizer_encode(tokenizer, text->text, text->num_bytes, flags, &tokens,
                                   &num_tokens, err));
    size_t num_chunks = num_tokens / chunk_size;
    if (text->max_chunks > 0 && num_chunks > (size_t)text->max_chunks)
        num_chunks = (size_t)text->max_chunks;
    if (num_chunks == 0 || num_chunks > INT32_MAX) {
        status = nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                                "%s: %zu tokens, expected at least a chunk of %zu",
                                text->name ? text->name : "the text", num_tokens, chunk_size);
        goto fail;
    }
    NANO_TRY(open_run(&run, model, err));
    if (text->name)
        NANO_TRY(
            nano_importance_add_dataset(&imatrix->importance, text->name, strlen(text->name), err));
    NANO_TRY(run_chunks(&run, text, tokens, (int)num_chunks, info.add_bos ? info.bos_token_id : -1,
                        err));
fail:
    close_run(&run);
    nano_mem_free(tokens);
    return status;
}
