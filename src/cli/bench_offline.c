/* The workload of nano-vllm's bench.py: 256 requests with 100 … 1024 random tokens in and 100 …
 * 1024 out, all submitted at once; on a model, or on the mock runner, which is the scheduler alone.
 */
#include <stdio.h>

#include "base/memory.h"
#include "base/os.h"
#include "cli/bench.h"
#include "cli/cli_json.h"

#define NUM_REQUESTS 256
#define MIN_LENGTH 100
#define MAX_LENGTH 1024
#define MOCK_VOCAB_SIZE 1000 /* the mock runner has 1024 */
#define SEED 0

struct offline_result {
    double prefill_rate, decode_rate; /* tokens/s */
    double submit_s, total_s;
    double output_rate; /* tokens that came, over all of the time */
    uint64_t num_preemptions, num_steps;
};

void nano_bench_offline_defaults(struct nano_engine_params *params)
{
    params->max_num_seqs = 512;
    params->max_num_batched_tokens = 16384;
    params->max_model_len = 4096;
    params->block_size = 256;
}

static int random_length(uint64_t *rng)
{
    return MIN_LENGTH + (int)(nano_bench_random(rng) % (MAX_LENGTH - MIN_LENGTH + 1));
}

static double rate(const struct nano_bench_work *work)
{
    return (double)work->num_tokens * 1e9 / (double)work->ns;
}

/* One repetition on an engine of its own, so that no prefix of an earlier one is found again. */
static enum nano_status run_once(nano_model *model, struct nano_engine_params *params,
                                 struct offline_result *out, struct nano_error *err)
{
    enum nano_status status;
    struct nano_bench bench;
    struct nano_stats stats;
    uint64_t rng = SEED, num_expected = 0;
    const int64_t vocab_size =
        model ? nano_model_get_info(model)->vocab_size : (int64_t)MOCK_VOCAB_SIZE;
    NANO_TRY(nano_bench_create(&bench, model, params, err));
    uint64_t start = nano_os_clock_ns();
    for (int i = 0; i < NUM_REQUESTS; i++) {
        int num_prompt = random_length(&rng), max_tokens = random_length(&rng);
        NANO_TRY(nano_bench_submit_random(&bench, &rng, vocab_size, num_prompt, max_tokens, err));
        num_expected += (uint64_t)max_tokens;
    }
    out->submit_s = (double)(nano_os_clock_ns() - start) / 1e9;
    NANO_TRY(nano_bench_run(&bench, num_expected, err));
    out->total_s = (double)(nano_os_clock_ns() - start) / 1e9;
    out->output_rate = (double)num_expected / out->total_s;
    nano_engine_get_stats(bench.engine, &stats);
    out->num_preemptions = stats.num_preemptions_total;
    out->num_steps = stats.num_steps_total;
    out->prefill_rate = rate(&bench.work[NANO_BENCH_PREFILL]);
    out->decode_rate = rate(&bench.work[NANO_BENCH_DECODE]);
fail:
    nano_bench_destroy(&bench);
    return status;
}

static void print_json(const struct offline_result *median)
{
    struct nano_cli_json json;
    nano_cli_json_init(&json, stdout);
    nano_cli_json_open(&json, NULL, '{');
    nano_cli_json_float(&json, "prefill_tokens_per_s", median->prefill_rate);
    nano_cli_json_float(&json, "decode_tokens_per_s", median->decode_rate);
    nano_cli_json_int(&json, "num_preemptions", (int64_t)median->num_preemptions);
    nano_cli_json_int(&json, "num_steps", (int64_t)median->num_steps);
    nano_cli_json_float(&json, "submit_s", median->submit_s);
    nano_cli_json_float(&json, "output_tokens_per_s", median->output_rate);
    nano_cli_json_float(&json, "total_s", median->total_s);
    nano_cli_json_close(&json, '}');
}

/* Tokens per second, in millions where nothing computes them. */
static void print_rate(const char *name, double rate_per_s, bool mock, const char *note)
{
    if (mock)
        printf("  %-12s %8.1f M tokens/s%s\n", name, rate_per_s / 1e6, note);
    else
        printf("  %-12s %8.0f tokens/s%s\n", name, rate_per_s, note);
}

static void print_text(const struct offline_result *median,
                       const struct nano_bench_options *options)
{
    printf("%s, %d requests of %d-%d tokens in and out, median of %d\n\n",
           options->mock        ? "scheduler alone (mock runner)"
           : options->synthetic ? options->synthetic
                                : "offline",
           NUM_REQUESTS, MIN_LENGTH, MAX_LENGTH, options->num_repeats);
    if (!options->mock)
        print_rate("output", median->output_rate, false, "  (of all the time)");
    print_rate("prefill", median->prefill_rate, options->mock, "  (steps that contain prefill)");
    print_rate("decode", median->decode_rate, options->mock, "  (steps of decode only)");
    printf("  steps        %8llu\n", (unsigned long long)median->num_steps);
    printf("  preemptions  %8llu\n", (unsigned long long)median->num_preemptions);
    printf("  submitting   %8.2f ms for all\n", median->submit_s * 1e3);
}

enum nano_status nano_bench_offline(struct nano_bench_options *options, nano_model *model,
                                    struct nano_error *err)
{
    enum nano_status status;
    size_t num = (size_t)options->num_repeats;
    struct offline_result median = {0};
    double *values = nano_mem_calloc(5 * num, sizeof *values);
    if (!values)
        return nano_error_no_memory(err, "the results", 5 * num * sizeof *values);
    for (size_t i = 0; i < num; i++) {
        NANO_TRY(run_once(model, &options->engine.params, &median, err));
        values[i] = median.prefill_rate;
        values[num + i] = median.decode_rate;
        values[2 * num + i] = median.submit_s;
        values[3 * num + i] = median.output_rate;
        values[4 * num + i] = median.total_s;
    }
    median.prefill_rate = nano_bench_median(values, num);
    median.decode_rate = nano_bench_median(values + num, num);
    median.submit_s = nano_bench_median(values + 2 * num, num);
    median.output_rate = nano_bench_median(values + 3 * num, num);
    median.total_s = nano_bench_median(values + 4 * num, num);
    if (options->json)
        print_json(&median);
    else
        print_text(&median, options);
fail:
    nano_mem_free(values);
    return status;
}
