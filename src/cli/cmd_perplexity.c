/* nanovllm perplexity: how well a model predicts a text.
 *
 * As llama.cpp's tool counts: the text is tokenised once and cut into chunks of the context size
 * (what is left over is not used); the first token of each chunk is replaced by BOS where the model
 * wants one; the second half of each chunk is scored, given all before it in the chunk. */
#include "cli/commands.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/os.h"
#include "cli/cli_engine.h"
#include "cli/cli_json.h"
#include "cli/cli_output.h"

#define DEFAULT_CONTEXT 512
#define MIN_CONTEXT 4 /* fewer have no second half to score */
#define DEFAULT_CHUNKS_AT_ONCE 4

struct perplexity_options {
    struct nano_cli_engine_options engine;
    const char *file;
    int num_chunks;
    bool json;
};

#define PERPLEXITY(field) offsetof(struct perplexity_options, field)
static const struct nano_cli_option perplexity_table[] = {
    {"-f --file", "FILE", nano_cli_parse_string, PERPLEXITY(file), 0, 0,
     "the text; \"-\" or nothing is standard input"},
    {"--chunks", "N", nano_cli_parse_int, PERPLEXITY(num_chunks), 0, NANO_CLI_NO_MAX,
     "score only the first N chunks; 0: all (default {})"},
    {"--json", NULL, nano_cli_parse_true, PERPLEXITY(json), 0, 0,
     "print {\"perplexity\",\"num_tokens\",...}"},
};

struct chunk {
    struct score *score;
    double sum, sum_squares; /* of the negative log-probabilities */
    int num_scored;
    bool done;
};

struct score {
    struct chunk *chunks;
    size_t num_chunks, num_printed;
    int context;
    const char *lora;
    bool print_running;
    double sum, sum_squares; /* of the chunks that are printed */
    uint64_t num_tokens;
    struct nano_error error;
};

static void on_output(const struct nano_output *output, void *user_data)
{
    struct chunk *chunk = user_data;
    struct score *score = chunk->score;
    for (int i = score->context / 2 + 1; i < output->num_prompt_logprobs; i++) {
        double nll = -(double)output->prompt_logprobs[i].logprob;
        chunk->sum += nll;
        chunk->sum_squares += nll * nll;
        chunk->num_scored++;
    }
    if (output->finish_reason == NANO_FINISH_ERROR)
        score->error = *output->error;
    if (output->finish_reason == NANO_FINISH_NONE || output->finish_reason == NANO_FINISH_CANCELLED)
        return;
    chunk->done = true;
    for (; score->num_printed < score->num_chunks && score->chunks[score->num_printed].done;
         score->num_printed++) {
        const struct chunk *next = &score->chunks[score->num_printed];
        score->sum += next->sum;
        score->sum_squares += next->sum_squares;
        score->num_tokens += (uint64_t)next->num_scored;
        if (score->print_running && score->num_tokens) {
            printf("[%zu]%.4f,", score->num_printed + 1,
                   exp(score->sum / (double)score->num_tokens));
            fflush(stdout);
        }
    }
}

static enum nano_status submit_chunks(nano_engine *engine, struct score *score,
                                      const int32_t *tokens, int32_t bos, uint64_t *request_ids,
                                      struct nano_error *err)
{
    size_t context = (size_t)score->context;
    int32_t *ids = nano_mem_alloc(context, sizeof *ids);
    enum nano_status status = NANO_OK;
    if (!ids)
        return nano_error_no_memory(err, "a chunk", context * sizeof *ids);
    for (size_t i = 0; i < score->num_chunks && status == NANO_OK; i++) {
        for (size_t k = 0; k < context; k++)
            ids[k] = tokens[i * context + k];
        if (bos >= 0)
            ids[0] = bos;
        struct nano_request request = nano_request_default();
        request.lora = score->lora;
        request.prompt_token_ids = ids;
        request.num_prompt_token_ids = context;
        request.sampling.max_tokens = 0;
        request.sampling.temperature = 0;
        request.sampling.prompt_logprobs = 0;
        request.sampling.detokenize = false;
        request.on_output = on_output;
        request.user_data = &score->chunks[i];
        score->chunks[i].score = score;
        status = nano_engine_submit(engine, &request, &request_ids[i], err);
    }
    nano_mem_free(ids);
    return status;
}

/* The standard error of the perplexity: that of the mean log-probability, through the exponential.
 */
static double perplexity_error(const struct score *score, double perplexity)
{
    double n = (double)score->num_tokens;
    if (n < 2)
        return 0;
    double mean = score->sum / n, variance = score->sum_squares / n - mean * mean;
    return variance > 0 ? sqrt(variance / (n - 1)) * perplexity : 0;
}

static void print_result(const struct perplexity_options *options, const struct score *score,
                         uint64_t elapsed_ns)
{
    double perplexity = score->num_tokens ? exp(score->sum / (double)score->num_tokens) : NAN;
    double error = perplexity_error(score, perplexity);
    if (options->json) {
        struct nano_cli_json json;
        nano_cli_json_init(&json, stdout);
        nano_cli_json_open(&json, NULL, '{');
        nano_cli_json_float(&json, "perplexity", perplexity);
        nano_cli_json_int(&json, "num_tokens", (int64_t)score->num_tokens);
        nano_cli_json_float(&json, "stderr", error);
        nano_cli_json_int(&json, "num_chunks", (int64_t)score->num_printed);
        nano_cli_json_close(&json, '}');
        return;
    }
    printf("\nperplexity %.4f +/- %.4f (%" PRIu64 " tokens scored in %zu chunks of %d)\n",
           perplexity, error, score->num_tokens, score->num_printed, score->context);
    fflush(stdout);
    double computed = (double)score->num_printed * score->context;
    fprintf(stderr, "%.0f tokens computed in %.2f s, %.0f tok/s\n", computed,
            (double)elapsed_ns / 1e9, computed * 1e9 / (double)(elapsed_ns ? elapsed_ns : 1));
}

static enum nano_status score_text(struct perplexity_options *options, nano_model *model,
                                   const int32_t *tokens, int32_t bos, struct score *score,
                                   struct nano_error *err)
{
    enum nano_status status;
    nano_engine *engine = NULL;
    uint64_t *request_ids = NULL;
    score->chunks = nano_mem_calloc(score->num_chunks, sizeof *score->chunks);
    request_ids = nano_mem_calloc(score->num_chunks, sizeof *request_ids);
    if (!score->chunks || !request_ids) {
        status = nano_error_no_memory(err, "the chunks", score->num_chunks * sizeof *score->chunks);
        goto fail;
    }
    NANO_TRY(nano_engine_create(&engine, model, &options->engine.params, err));
    NANO_TRY(submit_chunks(engine, score, tokens, bos, request_ids, err));
    nano_cli_catch_interrupt();
    uint64_t start = nano_os_clock_ns();
    NANO_TRY(nano_cli_drive(engine, request_ids, score->num_chunks, err));
    if (score->error.status != NANO_OK) {
        status = nano_error_set(err, score->error.status, "%s", score->error.message);
        goto fail;
    }
    print_result(options, score, nano_os_clock_ns() - start);
fail:
    nano_engine_destroy(engine);
    nano_mem_free(request_ids);
    nano_mem_free(score->chunks);
    return status;
}

static enum nano_status tokenize(const nano_model *model, const char *text, size_t num_bytes,
                                 int32_t **tokens, size_t *num_tokens, int32_t *bos,
                                 struct nano_error *err)
{
    struct nano_tokenizer_info info;
    const nano_tokenizer *tokenizer = nano_model_get_tokenizer(model, err);
    if (!tokenizer)
        return err->status;
    nano_tokenizer_get_info(tokenizer, &info);
    *bos = info.add_bos ? info.bos_token_id : -1;
    return nano_tokenizer_encode(tokenizer, text, num_bytes, NANO_ENCODE_ADD_SPECIAL, tokens,
                                 num_tokens, err);
}

/* What -c says, 0 being the model's own context; without it the usual 512 where the model has them.
 */
static int choose_context(struct nano_engine_params *params, const struct nano_model_info *info)
{
    int of_model = info->context_length < INT32_MAX ? (int)info->context_length : INT32_MAX;
    if (params->max_model_len < 0)
        params->max_model_len =
            of_model > 0 && of_model < DEFAULT_CONTEXT ? of_model : DEFAULT_CONTEXT;
    else if (params->max_model_len == 0)
        params->max_model_len = of_model;
    return params->max_model_len;
}

static int run(const struct nano_cli_command *command, int argc, char **argv)
{
    struct perplexity_options options = {0};
    struct nano_error err = {0};
    struct score score = {0};
    enum nano_status status;
    nano_model *model = NULL;
    char *text = NULL;
    int32_t *tokens = NULL;
    size_t num_bytes = 0, num_tokens = 0;
    int32_t bos = -1;
    nano_cli_engine_options_init(&options.engine);
    options.engine.params.max_model_len = -1; /* choose_context */
    options.engine.params.max_num_seqs = DEFAULT_CHUNKS_AT_ONCE;
    options.engine.params.enable_prefix_caching = false;
    const struct nano_cli_group groups[] = {
        NANO_CLI_GROUP("Text", perplexity_table, &options),
        {"Model", nano_cli_model_table, nano_cli_num_model_options, &options.engine},
        {"Engine", nano_cli_engine_table, nano_cli_num_engine_options, &options.engine},
    };
    int result = nano_cli_parse(command, groups, sizeof groups / sizeof *groups, NULL, argc, argv);
    if (result < 0 && !options.file && isatty(STDIN_FILENO))
        result =
            nano_cli_usage_error(command, "no text: expected -f FILE or text on standard input");
    if (result >= 0)
        return result;
    nano_cli_log_to_stderr(options.engine.verbose);

    NANO_TRY(nano_cli_read(options.file, &text, &num_bytes, &err));
    NANO_TRY(nano_cli_open_model(&model, &options.engine, NULL, &err));
    NANO_TRY(tokenize(model, text, num_bytes, &tokens, &num_tokens, &bos, &err));
    score.context = choose_context(&options.engine.params, nano_model_get_info(model));
    if (score.context < MIN_CONTEXT) {
        status = nano_error_set(&err, NANO_ERR_INVALID_ARGUMENT,
                                "context of %d tokens: expected at least %d (-c)", score.context,
                                MIN_CONTEXT);
        goto fail;
    }
    score.num_chunks = num_tokens / (size_t)score.context;
    score.lora = nano_cli_lora(&options.engine.params);
    score.print_running = !options.json;
    if (options.num_chunks > 0 && (size_t)options.num_chunks < score.num_chunks)
        score.num_chunks = (size_t)options.num_chunks;
    if (score.num_chunks == 0) {
        status = nano_error_set(
            &err, NANO_ERR_INVALID_ARGUMENT, "%s: %zu tokens, expected at least %d (-c)",
            options.file ? options.file : "standard input", num_tokens, score.context);
        goto fail;
    }
    NANO_TRY(score_text(&options, model, tokens, bos, &score, &err));
    result = nano_cli_interrupted() ? NANO_CLI_INTERRUPTED : 0;
fail:
    if (status != NANO_OK)
        result = nano_cli_fail(&err);
    nano_free(tokens);
    nano_model_close(model);
    nano_mem_free(text);
    return result;
}

const struct nano_cli_command nano_cmd_perplexity = {
    "perplexity",
    "[-m MODEL] [-f FILE | < FILE] [-c CONTEXT] [options]",
    "Measure how well a model predicts a text.",
    "The text is cut into chunks of the context size (-c); the second half of each is scored, "
    "given "
    "what precedes it in the chunk. Smaller is better. Running values are printed as chunks are "
    "done.",
    run,
};
