/* nanovllm quantize: a model file of another type from a model. */
#include "cli/commands.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/os.h"
#include "cli/cli_json.h"
#include "cli/cli_output.h"

#define BAR_WIDTH 30
#define BAR_INTERVAL_NS 100000000

struct quantize_options {
    struct nano_quantize_params params;
    struct nano_cli_strings rules;
    bool verbose, json;
};

#define QUANTIZE(field) offsetof(struct quantize_options, field)
static const struct nano_cli_option quantize_table[] = {
    {"--imatrix", "FILE", nano_cli_parse_string, QUANTIZE(params.importance_path), 0, 0,
     "importance matrix, as 'nanovllm imatrix' makes it"},
    {"--tensor-type", "PATTERN=FORMAT", nano_cli_parse_strings, QUANTIZE(rules), 0, 0,
     "format of tensors in whose names the regular expression is found; may be repeated, the first "
     "that fits counts"},
    {"--token-embedding-type", "FORMAT", nano_cli_parse_string,
     QUANTIZE(params.token_embedding_format), 0, 0, "format of the token embedding"},
    {"--output-tensor-type", "FORMAT", nano_cli_parse_string, QUANTIZE(params.output_format), 0, 0,
     "format of output.weight"},
    {"--leave-output-tensor", NULL, nano_cli_parse_true, QUANTIZE(params.leave_output), 0, 0,
     "output.weight keeps its format"},
    {"--pure", NULL, nano_cli_parse_true, QUANTIZE(params.pure), 0, 0,
     "no mix: every matrix gets the type's main format"},
    {"--allow-requantize", NULL, nano_cli_parse_true, QUANTIZE(params.allow_requantize), 0, 0,
     "take matrices that are quantised already, which loses quality"},
    {"--dry-run", NULL, nano_cli_parse_true, QUANTIZE(params.dry_run), 0, 0,
     "print every tensor's format and size, write nothing"},
    {"-t --threads", "N", nano_cli_parse_int, QUANTIZE(params.num_threads), 0, 1024,
     "threads that quantise (default: CPUs this process may use)"},
    {"-v --verbose", NULL, nano_cli_parse_true, QUANTIZE(verbose), 0, 0,
     "one line per tensor instead of a progress bar"},
    {"--json", NULL, nano_cli_parse_true, QUANTIZE(json), 0, 0, "print one JSON object"},
};

/* What is shown meanwhile. */
struct display {
    const struct quantize_options *options;
    struct nano_cli_style style;
    struct nano_cli_json json;
    bool has_bar;
    uint64_t bar_ns; /* when it was last drawn */
};

static void print_tensor(const struct nano_quantize_progress *progress)
{
    char shape[100] = "";
    size_t length = 0;
    for (int d = 0; d < progress->num_dims; d++)
        length += (size_t)snprintf(shape + length, sizeof shape - length, "%s%" PRId64,
                                   d ? " x " : "", progress->dims[d]);
    printf("%4zu/%zu  %-36s %-20s %6s", progress->index + 1, progress->num_tensors, progress->name,
           shape, progress->from);
    if (progress->from == progress->to)
        printf("  %29s", nano_cli_bytes(progress->to_bytes).text);
    else
        printf("  %10s -> %-6s %9s", nano_cli_bytes(progress->from_bytes).text, progress->to,
               nano_cli_bytes(progress->to_bytes).text);
    printf("%s\n", progress->is_fallback ? "  (its rows fit no better format)" : "");
}

static void json_tensor(struct nano_cli_json *json, const struct nano_quantize_progress *progress)
{
    nano_cli_json_open(json, NULL, '{');
    nano_cli_json_cstring(json, "name", progress->name);
    nano_cli_json_cstring(json, "from", progress->from);
    nano_cli_json_cstring(json, "to", progress->to);
    nano_cli_json_open(json, "shape", '[');
    for (int d = 0; d < progress->num_dims; d++)
        nano_cli_json_int(json, NULL, progress->dims[d]);
    nano_cli_json_close(json, ']');
    nano_cli_json_int(json, "from_bytes", (int64_t)progress->from_bytes);
    nano_cli_json_int(json, "to_bytes", (int64_t)progress->to_bytes);
    nano_cli_json_bool(json, "fallback", progress->is_fallback);
    nano_cli_json_close(json, '}');
}

static void clear_bar(const struct display *display)
{
    if (display->has_bar)
        fputs("\r\x1b[K", stderr);
}

static void draw_bar(struct display *display, const struct nano_quantize_progress *progress)
{
    const uint64_t now = nano_os_clock_ns();
    const double share =
        progress->total_bytes ? (double)progress->done_bytes / (double)progress->total_bytes : 1;
    const int full = (int)(share * BAR_WIDTH);
    char bar[3 * BAR_WIDTH + 1] = "";
    if (now - display->bar_ns < BAR_INTERVAL_NS)
        return;
    display->bar_ns = now;
    for (int i = 0; i < BAR_WIDTH; i++)
        strcat(bar, i < full ? "\xE2\x94\x81" : " ");
    fprintf(stderr, "\r\x1b[K%s%s%s %3.0f %%  %.40s", display->style.color[0], bar,
            display->style.reset, share * 100, progress->name);
    fflush(stderr);
}

static bool on_progress(const struct nano_quantize_progress *progress, void *user_data)
{
    struct display *display = user_data;
    const struct quantize_options *options = display->options;
    if (nano_cli_interrupted())
        return false;
    if (progress->is_done && options->json)
        json_tensor(&display->json, progress);
    else if (progress->is_done && (options->params.dry_run || options->verbose))
        print_tensor(progress);
    else if (display->has_bar)
        draw_bar(display, progress);
    return true;
}

static double bits_per_weight(const struct nano_quantize_result *result, uint64_t num_bytes)
{
    return result->num_params ? 8.0 * (double)num_bytes / (double)result->num_params : 0;
}

static void print_result(const struct display *display, const struct nano_quantize_result *result,
                         double seconds)
{
    printf("%s%s%s -> %s%s%s, %.2f -> %.2f bits per weight, %zu of %zu tensors converted",
           display->style.bold, nano_cli_bytes(result->from_bytes).text, display->style.reset,
           display->style.bold, nano_cli_bytes(result->to_bytes).text, display->style.reset,
           bits_per_weight(result, result->from_bytes), bits_per_weight(result, result->to_bytes),
           result->num_converted, result->num_tensors);
    if (result->num_fallbacks)
        printf(", %zu of them to a format that fits their rows", result->num_fallbacks);
    if (!display->options->params.dry_run)
        printf(", %.1f s, %.2f GB/s", seconds,
               seconds > 0 ? (double)result->from_bytes / seconds * 1e-9 : 0);
    printf("\n");
    if (result->needs_importance)
        printf("It needs an importance matrix (--imatrix), for one for %s.\n",
               result->needs_importance);
}

static void json_result(struct display *display, const struct nano_quantize_result *result,
                        double seconds)
{
    struct nano_cli_json *json = &display->json;
    nano_cli_json_close(json, ']');
    nano_cli_json_int(json, "num_params", (int64_t)result->num_params);
    nano_cli_json_int(json, "from_bytes", (int64_t)result->from_bytes);
    nano_cli_json_int(json, "to_bytes", (int64_t)result->to_bytes);
    nano_cli_json_float(json, "bits_per_weight", bits_per_weight(result, result->to_bytes));
    nano_cli_json_int(json, "num_converted", (int64_t)result->num_converted);
    nano_cli_json_int(json, "num_fallbacks", (int64_t)result->num_fallbacks);
    nano_cli_json_bool(json, "needs_imatrix", result->needs_importance != NULL);
    if (!display->options->params.dry_run)
        nano_cli_json_float(json, "seconds", seconds);
    nano_cli_json_close(json, '}');
}

/* "PATTERN=FORMAT" to rules, in memory of their own that *texts holds. A pattern may contain '='.
 */
static int read_rules(const struct nano_cli_command *command, struct quantize_options *options,
                      struct nano_quantize_rule *rules, char **texts)
{
    for (size_t i = 0; i < options->rules.num; i++) {
        const char *given = options->rules.items[i];
        const char *sign = strrchr(given, '=');
        if (!sign || sign == given || !sign[1])
            return nano_cli_usage_error(command, "--tensor-type: '%s' is not PATTERN=FORMAT",
                                        given);
        texts[i] = nano_mem_strdup(given, (size_t)(sign - given));
        if (!texts[i]) {
            struct nano_error err;
            nano_error_no_memory(&err, "a pattern", strlen(given));
            return nano_cli_fail(&err);
        }
        rules[i] = (struct nano_quantize_rule){texts[i], sign + 1};
    }
    options->params.rules = rules;
    options->params.num_rules = (int)options->rules.num;
    return -1;
}

static int quantize(const struct quantize_options *options, const char *in, const char *path)
{
    enum nano_status status;
    struct nano_error err = {0};
    struct nano_quantize_result result;
    struct nano_quantize_params params = options->params;
    struct display display = {.options = options};
    nano_model *model = NULL;
    display.has_bar = isatty(STDERR_FILENO) && !options->verbose && !params.dry_run;
    nano_cli_style_init(&display.style, display.has_bar ? stderr : stdout);
    nano_cli_catch_interrupt();
    NANO_TRY(nano_model_open(&model, in, &err));
    params.on_progress = on_progress;
    params.user_data = &display;
    if (options->json) {
        nano_cli_json_init(&display.json, stdout);
        nano_cli_json_open(&display.json, NULL, '{');
        nano_cli_json_cstring(&display.json, "type", params.type);
        nano_cli_json_open(&display.json, "tensors", '[');
    }
    const uint64_t begin = nano_os_clock_ns();
    NANO_TRY(nano_model_quantize(model, path, &params, &result, &err));
    const double seconds = (double)(nano_os_clock_ns() - begin) * 1e-9;
    clear_bar(&display);
    if (options->json)
        json_result(&display, &result, seconds);
    else
        print_result(&display, &result, seconds);
fail:
    nano_model_close(model);
    if (status == NANO_OK)
        return 0;
    clear_bar(&display);
    const int failed = nano_cli_fail(&err);
    return status == NANO_ERR_CANCELLED ? NANO_CLI_INTERRUPTED : failed;
}

static int run(const struct nano_cli_command *command, int argc, char **argv)
{
    struct quantize_options options = {.params = nano_quantize_params_default()};
    struct nano_cli_strings names = {0};
    struct nano_quantize_rule *rules = NULL;
    char **texts = NULL;
    const struct nano_cli_group groups[] = {NANO_CLI_GROUP("Options", quantize_table, &options)};
    int result = nano_cli_parse(command, groups, 1, &names, argc, argv);
    if (result >= 0)
        goto done;
    const size_t expected = options.params.dry_run && names.num == 2 ? 2 : 3;
    if (names.num != expected) {
        result = nano_cli_usage_error(command, "expected a model, a file to write and a type");
        goto done;
    }
    nano_cli_log_to_stderr(options.verbose);
    options.params.type = names.items[expected - 1];
    rules = nano_mem_calloc(options.rules.num, sizeof *rules);
    texts = nano_mem_calloc(options.rules.num, sizeof *texts);
    if (!rules || !texts) {
        struct nano_error err;
        nano_error_no_memory(&err, "rules", options.rules.num * sizeof *rules);
        result = nano_cli_fail(&err);
        goto done;
    }
    result = read_rules(command, &options, rules, texts);
    if (result < 0)
        result = quantize(&options, names.items[0], expected == 3 ? names.items[1] : NULL);
done:
    for (size_t i = 0; texts && i < options.rules.num; i++)
        nano_mem_free(texts[i]);
    nano_mem_free(texts);
    nano_mem_free(rules);
    nano_cli_strings_free(&options.rules);
    nano_cli_strings_free(&names);
    return result;
}

const struct nano_cli_command nano_cmd_quantize = {
    "quantize",
    "IN OUT TYPE [options]",
    "Write a model as a GGUF file of another type.",
    "TYPE is a format or a mix of them: F32 F16 BF16 Q8_0 Q6_K Q5_1 Q5_K_M Q5_K_S Q5_0 Q4_1 Q4_K_M "
    "Q4_K_S IQ4_NL Q4_0 IQ4_XS NVFP4 MXFP4_MOE Q3_K_L Q3_K_M IQ3_M IQ3_S Q3_K_S IQ3_XS IQ3_XXS "
    "Q2_K "
    "Q2_K_S IQ2_M IQ2_S IQ2_XS Q2_0 IQ2_XXS TQ2_0 IQ1_M TQ1_0 Q1_0 IQ1_S, or COPY. Q4_K is Q4_K_M, "
    "and so "
    "on. "
    "With --dry-run OUT may be left out.",
    run,
};
