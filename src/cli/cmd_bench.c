/* nanovllm bench: options of the two benches, of a model and of the scheduler alone. */
#include <string.h>

#include "base/os.h"
#include "cli/bench.h"
#include "cli/cli_output.h"
#include "cli/commands.h"

#define BENCH(field) offsetof(struct nano_bench_options, field)
static const struct nano_cli_option bench_table[] = {
    {"--synthetic", "SHAPE:FORMAT", nano_cli_parse_string, BENCH(synthetic), 0, 0,
     "instead of -m: random weights of a named shape, e.g. qwen2-0.5b:q4_0; shapes: qwen2-0.5b "
     "qwen3-0.6b qwen35-0.8b mamba2-130m llama-1b qwen3-4b llama-8b moe-8x2"},
    {"-p --n-prompt", "N,...", nano_cli_parse_ints, BENCH(prefill), 0, NANO_CLI_NO_MAX,
     "tokens of the prompts to measure; 0: none (default 512)"},
    {"-n --n-gen", "N", nano_cli_parse_int, BENCH(num_decode), 0, NANO_CLI_NO_MAX,
     "tokens to decode in each sequence; 0: none (default 128)"},
    {"-b --batches", "N,...", nano_cli_parse_ints, BENCH(batches), 1, 65536,
     "sequences that decode together (default 1,8,32)"},
    {"-d --n-depth --context", "N", nano_cli_parse_int, BENCH(depth), 0, NANO_CLI_NO_MAX,
     "tokens in the context before what is measured (default 0; 16 before decoding)"},
    {"-r --repetitions", "N", nano_cli_parse_int, BENCH(num_repeats), 1, 1000,
     "measure each N times and print the median (default {})"},
    {"--mixed", NULL, nano_cli_parse_true, BENCH(mixed), 0, 0,
     "instead: -b sequences (default 8) decode -n tokens while four prompts of -p tokens (default "
     "2048) arrive, one after the other"},
    {"--shared-prefix", NULL, nano_cli_parse_true, BENCH(shared_prefix), 0, 0,
     "instead: -b requests (default 16) at once, whose prompts begin with the same tokens and end "
     "in -p (default 32) of their own, generate -n tokens (default 64)"},
    {"--prefix-len", "N", nano_cli_parse_int, BENCH(prefix_len), 1, NANO_CLI_NO_MAX,
     "tokens of that prefix (default {})"},
    {"--save", "FILE", nano_cli_parse_string, BENCH(save), 0, 0,
     "write the model as a GGUF file first; with -p 0 -n 0 nothing else is done"},
    {"--profile", NULL, nano_cli_parse_true, BENCH(profile), 0, 0,
     "print the time of each kind of op, in steps with prefill and in those that only decode"},
    {"--compare", "FILE", nano_cli_parse_string, BENCH(compare), 0, 0,
     "print each result beside that of an earlier bench, which --json wrote to the file"},
    {"--offline", NULL, nano_cli_parse_true, BENCH(offline), 0, 0,
     "instead: 256 requests of 100 to 1024 tokens in and out, all at once"},
    {"--mock", NULL, nano_cli_parse_true, BENCH(mock), 0, 0,
     "the same without a model: the scheduler alone"},
    {"--json", NULL, nano_cli_parse_true, BENCH(json), 0, 0, "print one JSON object"},
};

static enum nano_status add_defaults(struct nano_bench_options *options, struct nano_error *err)
{
    static const struct nano_cli_option any = {0};
    enum nano_status status = NANO_OK;
    const char *prefill = options->mixed ? "2048" : options->shared_prefix ? "32" : "512";
    const char *batches = options->mixed ? "8" : options->shared_prefix ? "16" : "1,8,32";
    if (options->num_decode < 0)
        options->num_decode = options->shared_prefix ? 64 : 128;
    if (options->prefill.num == 0)
        status = nano_cli_parse_ints(&any, prefill, &options->prefill, err);
    if (status == NANO_OK && options->batches.num == 0)
        status = nano_cli_parse_ints(&any, batches, &options->batches, err);
    return status;
}

/* What cannot go together; returns as nano_cli_parse. */
static int check(const struct nano_cli_command *command, const struct nano_bench_options *options)
{
    if (options->synthetic && options->engine.model)
        return nano_cli_usage_error(command, "--synthetic: expected it or -m, not both");
    if (options->synthetic && options->engine.model_params.quantization)
        return nano_cli_usage_error(command, "--quantization: --synthetic names its format itself");
    if (options->mixed + options->shared_prefix + options->offline + options->mock > 1)
        return nano_cli_usage_error(
            command,
            "expected one of --mixed, --shared-prefix, --offline and --mock, not several");
    if ((options->mock || options->offline) && options->compare)
        return nano_cli_usage_error(command, "--compare: not with --mock or --offline");
    return -1;
}

static int run(const struct nano_cli_command *command, int argc, char **argv)
{
    struct nano_bench_options options = {
        .num_decode = -1, .prefix_len = 1024, .num_repeats = 5, .start_ns = nano_os_clock_ns()};
    struct nano_error err = {0};
    enum nano_status status;
    nano_cli_engine_options_init(&options.engine);
    for (int i = 0; i < argc; i++) { /* these change the defaults of options before them, too */
        const bool mock = strcmp(argv[i], "--mock") == 0;
        if (mock || strcmp(argv[i], "--offline") == 0)
            nano_bench_offline_defaults(&options.engine.params);
        if (mock)
            options.engine.params.runner = "mock";
    }
    const struct nano_cli_group groups[] = {
        NANO_CLI_GROUP("Bench", bench_table, &options),
        {"Model", nano_cli_model_table, nano_cli_num_model_options, &options.engine},
        {"Engine", nano_cli_engine_table, nano_cli_num_engine_options, &options.engine},
    };
    int result = nano_cli_parse(command, groups, sizeof groups / sizeof *groups, NULL, argc, argv);
    if (result < 0)
        result = check(command, &options);
    if (result >= 0)
        goto done;
    nano_cli_log_to_stderr(options.engine.verbose);
    nano_cli_catch_interrupt();
    NANO_TRY(add_defaults(&options, &err));
    if (options.mock)
        NANO_TRY(nano_bench_offline(&options, NULL, &err));
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
    "Measure tokens per second, and how much of what the machine could do that is.",
    NULL,
    run,
};
