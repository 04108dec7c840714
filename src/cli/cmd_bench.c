/* nanovllm bench: options of the two benches, of a model and of the scheduler alone. */
#include <string.h>

#include "cli/bench.h"
#include "cli/cli_output.h"
#include "cli/commands.h"

#define BENCH(field) offsetof(struct nano_bench_options, field)
static const struct nano_cli_option bench_table[] = {
    {"--synthetic", "SHAPE:FORMAT", nano_cli_parse_string, BENCH(synthetic), 0, 0,
     "instead of -m: random weights of a named shape, e.g. qwen2-0.5b:q4_0; shapes: qwen2-0.5b "
     "qwen3-0.6b "
     "llama-1b qwen3-4b llama-8b"},
    {"-p --n-prompt", "N,...", nano_cli_parse_ints, BENCH(prefill), 0, NANO_CLI_NO_MAX,
     "tokens of the prompts to measure; 0: none (default 512)"},
    {"-n --n-gen", "N", nano_cli_parse_int, BENCH(num_decode), 0, NANO_CLI_NO_MAX,
     "tokens to decode in each sequence; 0: none (default {})"},
    {"-b --batches", "N,...", nano_cli_parse_ints, BENCH(batches), 1, 65536,
     "sequences that decode together (default 1,8,32)"},
    {"-d --n-depth --context", "N", nano_cli_parse_int, BENCH(context), 1, NANO_CLI_NO_MAX,
     "tokens in the context when decoding begins (default {})"},
    {"-r --repetitions", "N", nano_cli_parse_int, BENCH(num_repeats), 1, 1000,
     "measure each N times and print the median (default {})"},
    {"--save", "FILE", nano_cli_parse_string, BENCH(save), 0, 0,
     "write the model as a GGUF file first; with -p 0 -n 0 nothing else is done"},
    {"--profile", NULL, nano_cli_parse_true, BENCH(profile), 0, 0,
     "print the time of each kind of op"},
    {"--mock", NULL, nano_cli_parse_true, BENCH(mock), 0, 0,
     "measure the scheduler alone: no model, 256 requests of 100 to 1024 tokens in and out"},
    {"--json", NULL, nano_cli_parse_true, BENCH(json), 0, 0, "print one JSON object"},
};

static enum nano_status add_defaults(struct nano_bench_options *options, struct nano_error *err)
{
    static const struct nano_cli_option any = {0};
    enum nano_status status = NANO_OK;
    if (options->prefill.num == 0)
        status = nano_cli_parse_ints(&any, "512", &options->prefill, err);
    if (status == NANO_OK && options->batches.num == 0)
        status = nano_cli_parse_ints(&any, "1,8,32", &options->batches, err);
    return status;
}

static int run(const struct nano_cli_command *command, int argc, char **argv)
{
    struct nano_bench_options options = {.num_decode = 128, .context = 16, .num_repeats = 5};
    struct nano_error err = {0};
    enum nano_status status;
    nano_cli_engine_options_init(&options.engine);
    for (int i = 0; i < argc; i++) /* --mock changes the defaults of options before it, too */
        if (strcmp(argv[i], "--mock") == 0)
            nano_bench_mock_defaults(&options.engine.params);
    const struct nano_cli_group groups[] = {
        NANO_CLI_GROUP("Bench", bench_table, &options),
        {"Model", nano_cli_model_table, nano_cli_num_model_options, &options.engine},
        {"Engine", nano_cli_engine_table, nano_cli_num_engine_options, &options.engine},
    };
    int result = nano_cli_parse(command, groups, sizeof groups / sizeof *groups, NULL, argc, argv);
    if (result < 0 && options.synthetic && options.engine.model)
        result = nano_cli_usage_error(command, "--synthetic: expected it or -m, not both");
    if (result >= 0)
        goto done;
    nano_cli_log_to_stderr(options.engine.verbose);
    nano_cli_catch_interrupt();
    NANO_TRY(add_defaults(&options, &err));
    if (options.mock)
        NANO_TRY(nano_bench_mock(&options, &err));
    else
        NANO_TRY(nano_bench_model(&options, &err));
    result = 0;
fail:
    if (status != NANO_OK)
        result = nano_cli_interrupted() ? NANO_CLI_INTERRUPTED : nano_cli_fail(&err);
done:
    nano_cli_ints_free(&options.prefill);
    nano_cli_ints_free(&options.batches);
    return result;
}

const struct nano_cli_command nano_cmd_bench = {
    "bench",
    "[-m MODEL | --synthetic SHAPE:FORMAT | --mock] [options]",
    "Measure prefill, decode and batched decode in tokens per second.",
    NULL,
    run,
};
