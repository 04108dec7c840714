/* nanovllm embed: texts to vectors, all in one batch. */
#include "cli/commands.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/os.h"
#include "cli/cli_engine.h"
#include "cli/cli_json.h"
#include "cli/cli_output.h"
#include "cli/cli_prompts.h"

#define NUM_SHOWN 4             /* values at either end of a vector that are printed */
#define MAX_SIMILARITY_TEXTS 16 /* of more the table does not fit a screen */

struct embed_options {
    struct nano_cli_engine_options engine;
    struct nano_cli_prompts prompts;
    struct nano_embedding_params params;
    bool json;
};

struct text {
    float *values; /* NULL until it is done */
    int size, num_tokens;
    enum nano_finish_reason reason;
    struct nano_error error;
};

static enum nano_status parse_pooling(const struct nano_cli_option *option, const char *value,
                                      void *target, struct nano_error *err)
{
    static const char *const names[] = {
        [NANO_POOLING_MEAN] = "mean", [NANO_POOLING_CLS] = "cls", [NANO_POOLING_LAST] = "last"};
    (void)option;
    for (int i = NANO_POOLING_MEAN; i <= NANO_POOLING_LAST; i++) {
        if (strcmp(value, names[i]) == 0) {
            *(enum nano_pooling *)target = (enum nano_pooling)i;
            return NANO_OK;
        }
    }
    return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "'%s' is none of mean, cls, last", value);
}

#define EMBED(field) offsetof(struct embed_options, field)
static const struct nano_cli_option embed_table[] = {
    {"--pooling", "HOW", parse_pooling, EMBED(params.pooling), 0, 0,
     "mean, cls (the first token) or last (default: what the model's file says, else mean for "
     "encoders and last for others)"},
    {"--embd-normalize", "N", nano_cli_parse_int, EMBED(params.normalize), -1, NANO_CLI_NO_MAX,
     "-1: not at all; 0: largest magnitude 32760; 1: sum of magnitudes 1; 2: length 1; above: the "
     "norm of that order is 1 (default {})"},
    {"--json", NULL, nano_cli_parse_true, EMBED(json), 0, 0,
     "print one JSON object as OpenAI's API answers, and nothing else"},
};

static int parse(const struct nano_cli_command *command, struct embed_options *options, int argc,
                 char **argv)
{
    const struct nano_cli_group groups[] = {
        {"Texts", nano_cli_prompt_table, nano_cli_num_prompt_options, &options->prompts},
        {"Model", nano_cli_model_table, nano_cli_num_model_options, &options->engine},
        NANO_CLI_GROUP("Embeddings", embed_table, options),
        {"Engine", nano_cli_engine_table, nano_cli_num_engine_options, &options->engine},
    };
    return nano_cli_parse(command, groups, sizeof groups / sizeof *groups, NULL, argc, argv);
}

/* Room for the longest text, as far as the model goes, where the user did not say. */
static void fit_engine(struct embed_options *options, const struct nano_model_info *info)
{
    struct nano_engine_params *params = &options->engine.params;
    size_t longest = nano_cli_prompts_longest(&options->prompts);
    longest = longest > 0 ? longest : 1;
    if (params->max_model_len < 0)
        params->max_model_len = (int64_t)longest < info->context_length ? (int)longest
                                : info->context_length <= INT32_MAX     ? (int)info->context_length
                                                                        : INT32_MAX;
    if (options->prompts.num < (size_t)params->max_num_seqs)
        params->max_num_seqs = (int)options->prompts.num;
}

static void on_output(const struct nano_output *output, void *user_data)
{
    struct text *text = user_data;
    text->reason = output->finish_reason;
    text->num_tokens = output->num_prompt_tokens;
    if (output->error)
        text->error = *output->error;
    if (!output->embedding)
        return;
    text->size = output->embedding_size;
    text->values = nano_mem_alloc((size_t)text->size, sizeof *text->values);
    if (text->values)
        memcpy(text->values, output->embedding, (size_t)text->size * sizeof *text->values);
    else
        nano_error_no_memory(&text->error, "an embedding", (size_t)text->size * sizeof(float));
}

static enum nano_status submit_all(const struct embed_options *options, nano_engine *engine,
                                   struct text *texts, uint64_t *request_ids,
                                   struct nano_error *err)
{
    for (size_t i = 0; i < options->prompts.num; i++) {
        struct nano_request request = nano_request_default();
        request.prompt_token_ids = options->prompts.items[i].token_ids;
        request.num_prompt_token_ids = options->prompts.items[i].num_tokens;
        request.embedding = &options->params;
        request.lora = nano_cli_lora(&options->engine.params);
        request.on_output = on_output;
        request.user_data = &texts[i];
        enum nano_status status = nano_engine_submit(engine, &request, &request_ids[i], err);
        if (status != NANO_OK)
            return options->prompts.num > 1 ? nano_error_prefix(err, "text %zu", i + 1) : status;
    }
    return NANO_OK;
}

static double cosine(const struct text *a, const struct text *b)
{
    double ab = 0, aa = 0, bb = 0;
    for (int i = 0; i < a->size; i++) {
        ab += (double)a->values[i] * (double)b->values[i];
        aa += (double)a->values[i] * (double)a->values[i];
        bb += (double)b->values[i] * (double)b->values[i];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

static void print_similarities(const struct text *texts, size_t num)
{
    struct nano_cli_style style;
    nano_cli_style_init(&style, stdout);
    printf("\n%sSimilarity (cosine)%s\n%5s", style.bold, style.reset, "");
    for (size_t i = 0; i < num; i++)
        printf(" %6zu", i + 1);
    putchar('\n');
    for (size_t i = 0; i < num; i++) {
        printf("%5zu", i + 1);
        for (size_t k = 0; k < num; k++)
            printf(" %6.3f", cosine(&texts[i], &texts[k]));
        putchar('\n');
    }
}

static void print_texts(const struct text *texts, size_t num)
{
    struct nano_cli_style style;
    nano_cli_style_init(&style, stdout);
    for (size_t i = 0; i < num; i++) {
        const struct text *text = &texts[i];
        printf("%stext %zu (%d tokens, %d values)%s", style.bold, i + 1, text->num_tokens,
               text->size, style.reset);
        for (int k = 0; k < text->size; k++) {
            if (k < NUM_SHOWN || k >= text->size - NUM_SHOWN)
                printf(" %.6f", (double)text->values[k]);
            else if (k == NUM_SHOWN)
                printf(" …");
        }
        putchar('\n');
    }
    if (num > 1 && num <= MAX_SIMILARITY_TEXTS)
        print_similarities(texts, num);
}

static void print_json(const struct text *texts, size_t num, const nano_model *model)
{
    struct nano_cli_json json;
    int64_t num_tokens = 0;
    nano_cli_json_init(&json, stdout);
    nano_cli_json_open(&json, NULL, '{');
    nano_cli_json_cstring(&json, "object", "list");
    nano_cli_json_open(&json, "data", '[');
    for (size_t i = 0; i < num; i++) {
        nano_cli_json_open(&json, NULL, '{');
        nano_cli_json_cstring(&json, "object", "embedding");
        nano_cli_json_int(&json, "index", (int64_t)i);
        nano_cli_json_open(&json, "embedding", '[');
        for (int k = 0; k < texts[i].size; k++)
            nano_cli_json_float(&json, NULL, (double)texts[i].values[k]);
        nano_cli_json_close(&json, ']');
        nano_cli_json_close(&json, '}');
        num_tokens += texts[i].num_tokens;
    }
    nano_cli_json_close(&json, ']');
    nano_cli_json_cstring(&json, "model", nano_model_get_info(model)->name);
    nano_cli_json_open(&json, "usage", '{');
    nano_cli_json_int(&json, "prompt_tokens", num_tokens);
    nano_cli_json_int(&json, "total_tokens", num_tokens);
    nano_cli_json_close(&json, '}');
    nano_cli_json_close(&json, '}');
}

/* The first error among the texts. */
static enum nano_status check_texts(const struct text *texts, size_t num, struct nano_error *err)
{
    for (size_t i = 0; i < num; i++) {
        if (texts[i].error.status != NANO_OK) {
            *err = texts[i].error;
            return err->status;
        }
    }
    return NANO_OK;
}

static enum nano_status embed(struct embed_options *options, nano_model *model, int *result,
                              struct nano_error *err)
{
    enum nano_status status;
    nano_engine *engine = NULL;
    const size_t num = options->prompts.num;
    struct text *texts = nano_mem_calloc(num, sizeof *texts);
    uint64_t *request_ids = nano_mem_calloc(num, sizeof *request_ids);
    if (!texts || !request_ids) {
        status = nano_error_no_memory(err, "the texts", num * sizeof *texts);
        goto fail;
    }
    NANO_TRY(nano_engine_create(&engine, model, &options->engine.params, err));
    NANO_TRY(submit_all(options, engine, texts, request_ids, err));
    nano_cli_catch_interrupt();
    const uint64_t start = nano_os_clock_ns();
    NANO_TRY(nano_cli_drive(engine, request_ids, num, err));
    const double elapsed_s = (double)(nano_os_clock_ns() - start) / 1e9;
    NANO_TRY(check_texts(texts, num, err));
    *result = nano_cli_interrupted() ? NANO_CLI_INTERRUPTED : 0;
    if (*result != 0)
        goto fail;
    if (options->json) {
        print_json(texts, num, model);
        goto fail;
    }
    struct nano_stats stats;
    struct nano_cli_style style;
    print_texts(texts, num);
    fflush(stdout);
    nano_engine_get_stats(engine, &stats);
    nano_cli_style_init(&style, stderr);
    fprintf(stderr, "\n%s%llu tokens computed in %.2f s, %.0f tok/s%s\n", style.dim,
            (unsigned long long)stats.computed_tokens_total, elapsed_s,
            elapsed_s > 0 ? (double)stats.computed_tokens_total / elapsed_s : 0, style.reset);
fail:
    nano_engine_destroy(engine);
    for (size_t i = 0; texts && i < num; i++)
        nano_mem_free(texts[i].values);
    nano_mem_free(texts);
    nano_mem_free(request_ids);
    return status;
}

static int run(const struct nano_cli_command *command, int argc, char **argv)
{
    struct embed_options options = {.params = nano_embedding_params_default()};
    struct nano_error err = {0}, tokenizer_error = {0};
    enum nano_status status;
    nano_model *model = NULL;
    nano_cli_engine_options_init(&options.engine);
    nano_cli_prompts_init(&options.prompts);
    options.engine.params.max_model_len = -1; /* fit_engine chooses */

    int result = parse(command, &options, argc, argv);
    if (result >= 0)
        goto done;
    nano_cli_log_to_stderr(options.engine.verbose);
    const bool from_input = options.prompts.num == 0;
    NANO_TRY(nano_cli_prompts_read(&options.prompts, &err));
    if (from_input && options.prompts.num == 1)
        NANO_TRY(nano_cli_prompts_split_lines(&options.prompts, &err));
    if (options.prompts.num == 0) {
        result = nano_cli_usage_error(
            command, "no text: expected -p TEXT, -f FILE or lines on standard input");
        goto done;
    }
    NANO_TRY(nano_cli_open_model(&model, &options.engine, NULL, &err));
    const nano_tokenizer *tokenizer = nano_model_get_tokenizer(model, &tokenizer_error);
    NANO_TRY(nano_cli_prompts_encode(&options.prompts, tokenizer, &tokenizer_error, &err));
    fit_engine(&options, nano_model_get_info(model));
    NANO_TRY(embed(&options, model, &result, &err));
    goto done;
fail:
    (void)status;
    result = nano_cli_fail(&err);
done:
    nano_model_close(model);
    nano_cli_prompts_deinit(&options.prompts);
    return result;
}

const struct nano_cli_command nano_cmd_embed = {
    "embed",
    "[-m MODEL] [-p TEXT | -f FILE | < LINES] [options]",
    "Turn texts into vectors: embeddings to compare and search them by.",
    "Each -p and each file is a text, and so is each line of standard input without them; all are "
    "computed as one batch. The ends of each vector and, of up to 16 texts, how similar they are "
    "are printed; --json prints whole vectors. Encoders (BERT) and generating models can do it.",
    run,
};
