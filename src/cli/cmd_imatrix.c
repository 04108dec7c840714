/* nanovllm imatrix: computes an importance matrix from text, or merges files of them.
 *
 * Options are llama.cpp's; so is what is computed. What is there so far is saved every few chunks,
 * and after Ctrl-C. */
#include "cli/commands.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/os.h"
#include "cli/cli_engine.h"
#include "cli/cli_output.h"

struct imatrix_options {
    struct nano_cli_engine_options model; /* of its tables only that of the model */
    struct nano_imatrix_params params;
    const char *file, *output;
    struct nano_cli_strings in_files;
    int num_chunks, output_frequency, context; /* context -1: not given */
};

#define IMATRIX(field) offsetof(struct imatrix_options, field)
static const struct nano_cli_option imatrix_table[] = {
    {"-f --file", "FILE", nano_cli_parse_string, IMATRIX(file), 0, 0,
     "the text; \"-\" is standard input, and so is nothing without --in-file"},
    {"-o --output --output-file", "FILE", nano_cli_parse_string, IMATRIX(output), 0, 0,
     "where to write: GGUF, or the older format if it ends in .dat (default {})"},
    {"--in-file", "FILE", nano_cli_parse_strings, IMATRIX(in_files), 0, 0,
     "add what is in this file; may be given several times; without a text files are only merged"},
    {"--chunks", "N", nano_cli_parse_int, IMATRIX(num_chunks), 0, NANO_CLI_NO_MAX,
     "use only the first N chunks of the text; 0: all (default {})"},
    {"--output-frequency -ofreq", "N", nano_cli_parse_int, IMATRIX(output_frequency), 0,
     NANO_CLI_NO_MAX, "save after every N chunks; 0: only at the end (default {})"},
    {"--process-output", NULL, nano_cli_parse_true, IMATRIX(params.process_output), 0, 0,
     "also for output.weight, where the model has one"},
    {"--parse-special", NULL, nano_cli_parse_true, IMATRIX(params.parse_special), 0, 0,
     "names of control tokens in the text become these tokens"},
    {"--no-ppl", NULL, nano_cli_parse_false, IMATRIX(params.compute_perplexity), 0, 0,
     "do not compute the perplexity"},
    {"-c --ctx-size --max-model-len", "N", nano_cli_parse_int, IMATRIX(context), 0, NANO_CLI_NO_MAX,
     "tokens of a chunk; 0: the model's context (default 512, or the model's if less)"},
    {"-b --batch-size --max-num-batched-tokens", "N", nano_cli_parse_int,
     IMATRIX(params.max_num_batched_tokens), 1, NANO_CLI_NO_MAX,
     "tokens computed in one step (default {})"},
    {"-t --threads", "N", nano_cli_parse_int, IMATRIX(params.num_threads), 0, 4096,
     "threads that compute (default and most: CPUs this process may use)"},
    {"--kv-cache-dtype", "TYPE", nano_cli_parse_kv_dtype, IMATRIX(params.kv_cache_dtype), 0, 0,
     "f16, bf16, f32, q8_0, fp8 or auto (default auto: f16)"},
};

struct progress {
    const struct imatrix_options *options;
    nano_imatrix *imatrix;
    struct nano_imatrix_progress last;
    enum nano_status status; /* of saving */
    struct nano_error *err;
};

static bool on_progress(const struct nano_imatrix_progress *now, void *user_data)
{
    struct progress *progress = user_data;
    const int frequency = progress->options->output_frequency;
    progress->last = *now;
    if (progress->options->params.compute_perplexity)
        printf("[%d]%.4f,", now->num_chunks_done, now->perplexity);
    else
        printf("[%d],", now->num_chunks_done);
    fflush(stdout);
    if (frequency > 0 && now->num_chunks_done % frequency == 0 &&
        now->num_chunks_done < now->num_chunks)
        progress->status =
            nano_imatrix_save(progress->imatrix, progress->options->output, progress->err);
    return progress->status == NANO_OK && !nano_cli_interrupted();
}

static enum nano_status add_text(struct progress *progress, nano_model *model,
                                 struct nano_error *err)
{
    const struct imatrix_options *options = progress->options;
    enum nano_status status;
    char *text = NULL;
    size_t num_bytes;
    const bool is_file = options->file && strcmp(options->file, "-") != 0;
    NANO_TRY(nano_cli_read(options->file, &text, &num_bytes, err));
    const struct nano_imatrix_text input = {.text = text,
                                            .num_bytes = num_bytes,
                                            .name = is_file ? options->file : NULL,
                                            .max_chunks = options->num_chunks,
                                            .on_progress = on_progress,
                                            .user_data = progress};
    nano_cli_catch_interrupt();
    const uint64_t start = nano_os_clock_ns();
    NANO_TRY(nano_imatrix_add_text(progress->imatrix, model, &input, err));
    NANO_TRY(progress->status);
    const uint64_t elapsed_ns = nano_os_clock_ns() - start;
    const double computed = (double)progress->last.num_chunks_done * options->params.chunk_size;
    if (options->params.compute_perplexity)
        printf("\nperplexity %.4f +/- %.4f", progress->last.perplexity,
               progress->last.perplexity_error);
    printf("\n%s: %d chunks of %d tokens in %.2f s, %.0f tok/s\n", options->output,
           progress->last.num_chunks_done, options->params.chunk_size, (double)elapsed_ns / 1e9,
           computed * 1e9 / (double)(elapsed_ns ? elapsed_ns : 1));
fail:
    nano_mem_free(text);
    return status;
}

static enum nano_status make(struct imatrix_options *options, struct nano_error *err)
{
    enum nano_status status;
    nano_model *model = NULL;
    struct progress progress = {.options = options, .err = err};
    const bool has_text = options->file || options->in_files.num == 0;
    if (has_text) {
        NANO_TRY(nano_model_open(&model, options->model.model, err));
        const int64_t of_model = nano_model_get_info(model)->context_length;
        if (options->context == 0 ||
            (options->context < 0 && of_model > 0 && of_model < options->params.chunk_size))
            options->params.chunk_size = of_model < INT32_MAX ? (int)of_model : INT32_MAX;
    }
    if (options->context > 0)
        options->params.chunk_size = options->context;
    NANO_TRY(nano_imatrix_create(&progress.imatrix, &options->params, err));
    for (size_t i = 0; i < options->in_files.num; i++)
        NANO_TRY(nano_imatrix_add_file(progress.imatrix, options->in_files.items[i], err));
    if (has_text)
        NANO_TRY(add_text(&progress, model, err));
    NANO_TRY(nano_imatrix_save(progress.imatrix, options->output, err));
fail:
    nano_imatrix_destroy(progress.imatrix);
    nano_model_close(model);
    return status;
}

static int run(const struct nano_cli_command *command, int argc, char **argv)
{
    struct imatrix_options options = {.params = nano_imatrix_params_default(),
                                      .output = "imatrix.gguf",
                                      .output_frequency = 10,
                                      .context = -1};
    struct nano_error err = {0};
    nano_cli_engine_options_init(&options.model);
    const struct nano_cli_group groups[] = {
        NANO_CLI_GROUP("Importance matrix", imatrix_table, &options),
        {"Model", nano_cli_model_table, nano_cli_num_model_options, &options.model},
    };
    int result = nano_cli_parse(command, groups, sizeof groups / sizeof *groups, NULL, argc, argv);
    if (result < 0 && !options.file && options.in_files.num == 0 && isatty(STDIN_FILENO))
        result =
            nano_cli_usage_error(command, "no text: expected -f FILE or text on standard input");
    if (result < 0) {
        nano_cli_log_to_stderr(options.model.verbose);
        if (make(&options, &err) != NANO_OK)
            result = nano_cli_fail(&err);
        else
            result = nano_cli_interrupted() ? NANO_CLI_INTERRUPTED : 0;
    }
    nano_cli_strings_free(&options.in_files);
    return result;
}

const struct nano_cli_command nano_cmd_imatrix = {
    "imatrix",
    "[-m MODEL] [-f FILE | < FILE] [-o FILE] [options]",
    "Compute which columns of a model's weights matter, for quantisers.",
    "The text is cut into chunks of -c tokens and run through the model; for every weight matrix "
    "of "
    "the layers the squares of what each column is multiplied with are added up. The perplexity "
    "of the second half of each chunk is printed meanwhile.",
    run,
};
