/* nanovllm run: generates text for one prompt (streamed) or several (one batch). */
#include "cli/commands.h"

#include "base/memory.h"
#include "base/os.h"
#include "cli/cli_engine.h"
#include "cli/run_output.h"

struct run_options {
    struct nano_cli_engine_options engine;
    struct nano_cli_prompts prompts;
    struct nano_cli_sampling_options sampling;
    bool json, hide_prompt;
};

#define RUN(field) offsetof(struct run_options, field)
static const struct nano_cli_option run_table[] = {
    {"--logprobs", "N", nano_cli_parse_int, RUN(sampling.params.logprobs), 0, NANO_CLI_NO_MAX,
     "log-probabilities of the generated tokens and of the N most likely ones (with --json)"},
    {"--prompt-logprobs", "N", nano_cli_parse_int, RUN(sampling.params.prompt_logprobs), 0,
     NANO_CLI_NO_MAX, "the same for the tokens of the prompt"},
    {"--no-display-prompt", NULL, nano_cli_parse_true, RUN(hide_prompt), 0, 0,
     "do not print the prompt before its continuation"},
    {"--json", NULL, nano_cli_parse_true, RUN(json), 0, 0,
     "print one JSON object per completion, a line each, and nothing else"},
};

static int parse(const struct nano_cli_command *command, struct run_options *options, int argc,
                 char **argv)
{
    const struct nano_cli_group groups[] = {
        {"Prompts", nano_cli_prompt_table, nano_cli_num_prompt_options, &options->prompts},
        {"Model", nano_cli_model_table, nano_cli_num_model_options, &options->engine},
        {"Generation", nano_cli_sampling_table, nano_cli_num_sampling_options, &options->sampling},
        NANO_CLI_GROUP("Output", run_table, options),
        {"Engine", nano_cli_engine_table, nano_cli_num_engine_options, &options->engine},
    };
    int result = nano_cli_parse(command, groups, sizeof groups / sizeof *groups, NULL, argc, argv);
    if (result < 0 &&
        (options->sampling.params.logprobs >= 0 || options->sampling.params.prompt_logprobs >= 0) &&
        !options->json)
        result = nano_cli_usage_error(command, "--logprobs: needs --json");
    return result;
}

/* Limits that follow from the prompts where the user gave none. */
static void fit_engine(struct run_options *options, const struct nano_model_info *info)
{
    struct nano_engine_params *params = &options->engine.params;
    const size_t longest = nano_cli_prompts_longest(&options->prompts);
    size_t num_seqs = options->prompts.num * (size_t)options->sampling.params.n;
    if (params->max_model_len < 0) {
        int max_tokens = options->sampling.params.max_tokens;
        int64_t wanted =
            (int64_t)longest + (max_tokens < 0 ? NANO_CLI_DEFAULT_CONTEXT / 2 : max_tokens);
        if (wanted < NANO_CLI_DEFAULT_CONTEXT)
            wanted = NANO_CLI_DEFAULT_CONTEXT;
        params->max_model_len = info->context_length > wanted ? (int)wanted : 0;
    }
    if (num_seqs < (size_t)params->max_num_seqs)
        params->max_num_seqs = (int)num_seqs;
}

static enum nano_status submit_all(struct run_options *options, nano_engine *engine,
                                   struct nano_run *run, uint64_t *request_ids,
                                   struct nano_error *err)
{
    for (size_t i = 0; i < options->prompts.num; i++) {
        struct nano_request request = nano_request_default();
        request.prompt_token_ids = options->prompts.items[i].token_ids;
        request.num_prompt_token_ids = options->prompts.items[i].num_tokens;
        request.sampling = *nano_cli_sampling(&options->sampling);
        request.lora = nano_cli_lora(&options->engine.params);
        request.on_output = nano_run_on_output;
        request.user_data = &run->completions[i * (size_t)run->n];
        enum nano_status status = nano_engine_submit(engine, &request, &request_ids[i], err);
        if (status != NANO_OK)
            return status;
    }
    return NANO_OK;
}

static void print_statistics(const struct nano_run *run, uint64_t elapsed_ns)
{
    struct nano_cli_style style;
    struct nano_stats stats;
    uint64_t prompt = 0, cached = 0, generated = 0;
    for (size_t i = 0; i < run->num_completions; i++) {
        const struct nano_run_completion *c = &run->completions[i];
        prompt += (uint64_t)c->num_prompt_tokens;
        cached += (uint64_t)c->num_cached_tokens;
        generated += c->num_tokens;
    }
    nano_engine_get_stats(run->engine, &stats);
    nano_cli_style_init(&style, stderr);
    fflush(stdout);
    fprintf(stderr, "\n%sprompt %llu tokens", style.dim, (unsigned long long)prompt);
    if (cached)
        fprintf(stderr, " (%llu cached)", (unsigned long long)cached);
    const struct nano_run_completion *first = run->completions;
    if (run->num_completions == 1 && first->prefill_ns)
        fprintf(stderr, ", %.0f tok/s",
                (double)(prompt - cached) * 1e9 / (double)first->prefill_ns);
    fprintf(stderr, " | generated %llu tokens", (unsigned long long)generated);
    if (run->num_completions == 1 && first->decode_ns && generated > 1)
        fprintf(stderr, ", %.1f tok/s", (double)(generated - 1) * 1e9 / (double)first->decode_ns);
    else if (run->num_completions > 1)
        fprintf(stderr, " in %zu sequences, %.1f tok/s together", run->num_completions,
                (double)generated * 1e9 / (double)(elapsed_ns ? elapsed_ns : 1));
    if (stats.draft_tokens_total > 0)
        fprintf(stderr, " | %llu of %llu proposed tokens accepted",
                (unsigned long long)stats.accepted_tokens_total,
                (unsigned long long)stats.draft_tokens_total);
    fprintf(stderr, " | %.2f s", (double)elapsed_ns / 1e9);
    if (run->num_completions == 1)
        fprintf(stderr, " | %s", nano_finish_reason_name(first->finish_reason));
    fprintf(stderr, "%s\n", style.reset);
}

/* The exit status that the outputs stand for; prints the first error among them. */
static int outcome(const struct nano_run *run)
{
    struct nano_error no_memory;
    if (run->out_of_memory) {
        nano_error_no_memory(&no_memory, "the output", 0);
        return nano_cli_fail(&no_memory);
    }
    for (size_t i = 0; i < run->num_completions; i++)
        if (run->completions[i].finish_reason == NANO_FINISH_ERROR)
            return nano_cli_fail(&run->completions[i].error);
    return nano_cli_interrupted() ? NANO_CLI_INTERRUPTED : 0;
}

static enum nano_status generate(struct run_options *options, nano_model *model, int *result,
                                 struct nano_error *err)
{
    enum nano_status status;
    nano_engine *engine = NULL;
    struct nano_run run = {0};
    bool single = options->prompts.num == 1 && options->sampling.params.n == 1;
    uint64_t *request_ids = nano_mem_calloc(options->prompts.num, sizeof *request_ids);
    if (!request_ids)
        return nano_error_no_memory(err, "the requests", 0);
    NANO_TRY(nano_run_init(&run,
                           options->json ? NANO_RUN_JSON
                           : single      ? NANO_RUN_STREAM
                                         : NANO_RUN_TEXT,
                           &options->prompts, &options->sampling.params, err));
    run.display_prompt = !options->hide_prompt;
    NANO_TRY(nano_engine_create(&engine, model, &options->engine.params, err));
    run.engine = engine;
    NANO_TRY(submit_all(options, engine, &run, request_ids, err));

    nano_cli_catch_interrupt();
    if (run.mode == NANO_RUN_STREAM)
        nano_run_begin(&run);
    uint64_t start = nano_os_clock_ns();
    NANO_TRY(nano_cli_drive(engine, request_ids, options->prompts.num, err));
    if (!options->json)
        print_statistics(&run, nano_os_clock_ns() - start);
    *result = outcome(&run);
fail:
    run.silent = status != NANO_OK;
    nano_engine_destroy(engine);
    nano_run_deinit(&run);
    nano_mem_free(request_ids);
    return status;
}

static int run(const struct nano_cli_command *command, int argc, char **argv)
{
    struct run_options options = {0};
    struct nano_error err = {0}, tokenizer_error = {0};
    enum nano_status status;
    nano_model *model = NULL;
    nano_cli_engine_options_init(&options.engine);
    nano_cli_sampling_options_init(&options.sampling);
    nano_cli_prompts_init(&options.prompts);
    options.engine.params.max_model_len = -1; /* fit_engine chooses */

    int result = parse(command, &options, argc, argv);
    if (result >= 0)
        goto done;
    nano_cli_log_to_stderr(options.engine.verbose);
    NANO_TRY(nano_cli_prompts_read(&options.prompts, &err));
    if (options.prompts.num == 0) {
        result = nano_cli_usage_error(
            command, "no prompt: expected -p TEXT, -f FILE or text on standard input");
        goto done;
    }
    NANO_TRY(nano_cli_open_model(&model, &options.engine, NULL, &err));
    const nano_tokenizer *tokenizer = nano_model_get_tokenizer(model, &tokenizer_error);
    NANO_TRY(nano_cli_prompts_encode(&options.prompts, tokenizer, &tokenizer_error, &err));
    if (!tokenizer)
        options.sampling.params.detokenize = false;
    fit_engine(&options, nano_model_get_info(model));
    NANO_TRY(generate(&options, model, &result, &err));
    goto done;
fail:
    (void)status;
    result = nano_cli_fail(&err);
done:
    nano_model_close(model);
    nano_cli_prompts_deinit(&options.prompts);
    nano_cli_sampling_options_deinit(&options.sampling);
    return result;
}

const struct nano_cli_command nano_cmd_run = {
    "run",
    "[-m MODEL] [-p PROMPT | -f FILE | < FILE] [options]",
    "Generate text: streamed on standard output, statistics on standard error.",
    "The prompt is printed, then its continuation. Several prompts are run as one batch and "
    "printed "
    "when they are complete. The context is the model's, at most 4096 tokens unless -c asks for "
    "more "
    "(0: all of it) or a prompt needs it.",
    run,
};
