/* Bench of a model: prefill of p tokens, decode of n tokens at each batch size, and beside them
 * what the machine can do. */
#include <inttypes.h>
#include <stdio.h>

#include "base/memory.h"
#include "base/os.h"
#include "cli/bench.h"
#include "cli/cli_json.h"
#include "cli/cli_output.h"
#include "cli/machine.h"

#define SEED 1
#define MAX_OPS 256

struct result {
    int size; /* tokens of prefill, or sequences of decode */
    double median, min, max;
};

struct report {
    const nano_model *model;
    const char *name;
    struct nano_memory_plan plan;
    const char *isa;
    double load_s, read_gbps;
    uint64_t peak_rss_bytes;
    struct result *prefill, *decode;
    size_t num_prefill, num_decode;
    int context;
    struct nano_op_profile ops[MAX_OPS];
    size_t num_ops;
};

static int min_int(int64_t a, int64_t b)
{
    return (int)(a < b ? a : b);
}

/* One size, all repetitions; num_decode 0 measures the prefill. */
static enum nano_status measure(struct nano_bench *bench, const struct nano_bench_options *options,
                                int64_t vocab_size, int num_seqs, int num_prompt, int num_decode,
                                double *values, struct result *out, struct nano_error *err)
{
    uint64_t rng = SEED;
    /* the first token comes with the prefill, the others from decode steps */
    int max_tokens = num_decode ? num_decode + 1 : 0;
    for (int r = 0; r < options->num_repeats; r++) {
        struct nano_bench_times times = {0};
        enum nano_status status = NANO_OK;
        for (int i = 0; i < num_seqs && status == NANO_OK; i++)
            status = nano_bench_submit(bench, &rng, vocab_size, num_prompt, max_tokens, err);
        if (status == NANO_OK)
            status = nano_bench_run(bench, (uint64_t)num_seqs * (uint64_t)max_tokens, &times, err);
        if (status != NANO_OK)
            return status;
        values[r] = num_decode ? (double)times.num_decode_tokens * 1e9 / (double)times.decode_ns
                               : (double)times.num_prefill_tokens * 1e9 / (double)times.prefill_ns;
    }
    size_t num = (size_t)options->num_repeats;
    out->median = nano_bench_median(values, num);
    out->min = values[0];
    out->max = values[num - 1];
    return NANO_OK;
}

static enum nano_status measure_all(struct nano_bench *bench,
                                    const struct nano_bench_options *options, struct report *report,
                                    struct nano_error *err)
{
    enum nano_status status;
    int64_t vocab_size = nano_model_get_info(report->model)->vocab_size;
    struct result warm_up;
    double *values = nano_mem_calloc((size_t)options->num_repeats, sizeof *values);
    if (!values)
        return nano_error_no_memory(err, "the results", 0);
    NANO_TRY(measure(bench, options, vocab_size, 1, 2, 1, values, &warm_up,
                     err)); /* touches every weight */
    for (size_t i = 0; i < options->prefill.num; i++) {
        struct result *out = &report->prefill[report->num_prefill];
        out->size = min_int(options->prefill.items[i], report->plan.max_model_len);
        if (out->size == 0)
            continue;
        NANO_TRY(measure(bench, options, vocab_size, 1, out->size, 0, values, out, err));
        report->num_prefill++;
    }
    for (size_t i = 0; i < options->batches.num && options->num_decode > 0; i++) {
        struct result *out = &report->decode[report->num_decode++];
        out->size = options->batches.items[i];
        NANO_TRY(measure(bench, options, vocab_size, out->size, report->context,
                         options->num_decode, values, out, err));
    }
fail:
    nano_mem_free(values);
    return status;
}

static void print_profile(const struct report *report)
{
    uint64_t total = 0;
    for (size_t i = 0; i < report->num_ops; i++)
        total += report->ops[i].total_ns;
    printf("\n  %-32s %10s %10s %6s %8s %8s\n", "op", "count", "ms", "%", "GB/s", "GMAC/s");
    for (size_t i = 0; i < report->num_ops; i++) {
        const struct nano_op_profile *op = &report->ops[i];
        double ns = op->total_ns ? (double)op->total_ns : 1;
        printf("  %-32s %10" PRIu64 " %10.1f %6.1f %8.2f %8.2f\n", op->name, op->count, ns / 1e6,
               100 * ns / (double)(total ? total : 1), (double)op->weight_bytes / ns,
               (double)op->num_macs / ns);
    }
}

static void print_row(const char *what, const struct result *result, int num_repeats)
{
    printf("  %-26s %10.1f tok/s", what, result->median);
    if (num_repeats > 1)
        printf("   (%.1f to %.1f)", result->min, result->max);
    putchar('\n');
}

static void print_text(const struct report *report, const struct nano_bench_options *options)
{
    const struct nano_model_info *info = nano_model_get_info(report->model);
    char what[64];
    printf("%s: %s, %s parameters in %s, %s\n", report->name, info->architecture,
           nano_cli_count(info->num_params).text, info->quantization,
           nano_cli_bytes(info->weight_bytes).text);
    printf("%s, %d threads, loaded in %.2f s, peak memory %s", report->isa,
           report->plan.num_threads, report->load_s, nano_cli_bytes(report->peak_rss_bytes).text);
    if (report->read_gbps > 0)
        printf(", machine reads %.1f GB/s", report->read_gbps);
    printf("\n\n");
    for (size_t i = 0; i < report->num_prefill; i++) {
        snprintf(what, sizeof what, "prefill %d tokens", report->prefill[i].size);
        print_row(what, &report->prefill[i], options->num_repeats);
    }
    for (size_t i = 0; i < report->num_decode; i++) {
        snprintf(what, sizeof what, "decode %d x %d tokens", report->decode[i].size,
                 options->num_decode);
        print_row(what, &report->decode[i], options->num_repeats);
    }
    if (options->profile)
        print_profile(report);
}

static void print_json(const struct report *report, const struct nano_bench_options *options)
{
    struct nano_cli_json json;
    nano_cli_json_init(&json, stdout);
    nano_cli_json_open(&json, NULL, '{');
    nano_cli_json_cstring(&json, "model", report->name);
    nano_cli_json_cstring(&json, "quantization", nano_model_get_info(report->model)->quantization);
    nano_cli_json_int(&json, "threads", report->plan.num_threads);
    nano_cli_json_cstring(&json, "isa", report->isa);
    nano_cli_json_float(&json, "load_s", report->load_s);
    nano_cli_json_int(&json, "peak_rss_bytes", (int64_t)report->peak_rss_bytes);
    nano_cli_json_open(&json, "machine", '{');
    if (report->read_gbps > 0)
        nano_cli_json_float(&json, "read_gbps", report->read_gbps);
    nano_cli_json_close(&json, '}');
    nano_cli_json_open(&json, "prefill", '[');
    for (size_t i = 0; i < report->num_prefill; i++) {
        nano_cli_json_open(&json, NULL, '{');
        nano_cli_json_int(&json, "num_tokens", report->prefill[i].size);
        nano_cli_json_float(&json, "tokens_per_s", report->prefill[i].median);
        nano_cli_json_close(&json, '}');
    }
    nano_cli_json_close(&json, ']');
    nano_cli_json_open(&json, "decode", '[');
    for (size_t i = 0; i < report->num_decode; i++) {
        nano_cli_json_open(&json, NULL, '{');
        nano_cli_json_int(&json, "batch", report->decode[i].size);
        nano_cli_json_int(&json, "context", report->context);
        nano_cli_json_float(&json, "tokens_per_s", report->decode[i].median);
        nano_cli_json_close(&json, '}');
    }
    nano_cli_json_close(&json, ']');
    if (options->profile) {
        nano_cli_json_open(&json, "profile", '[');
        for (size_t i = 0; i < report->num_ops; i++) {
            nano_cli_json_open(&json, NULL, '{');
            nano_cli_json_cstring(&json, "op", report->ops[i].name);
            nano_cli_json_int(&json, "count", (int64_t)report->ops[i].count);
            nano_cli_json_int(&json, "total_ns", (int64_t)report->ops[i].total_ns);
            nano_cli_json_int(&json, "weight_bytes", (int64_t)report->ops[i].weight_bytes);
            nano_cli_json_int(&json, "num_macs", (int64_t)report->ops[i].num_macs);
            nano_cli_json_close(&json, '}');
        }
        nano_cli_json_close(&json, ']');
    }
    nano_cli_json_close(&json, '}');
}

/* The engine must hold the longest prompt, and all sequences of the largest batch, no more. */
static void fit_engine(const struct nano_bench_options *options, const struct nano_model_info *info,
                       struct report *report, struct nano_engine_params *params)
{
    int64_t longest = (int64_t)options->context + options->num_decode + 1;
    int largest = 1;
    for (size_t i = 0; i < options->prefill.num; i++)
        if (options->prefill.items[i] > longest)
            longest = options->prefill.items[i];
    for (size_t i = 0; i < options->batches.num; i++)
        if (options->batches.items[i] > largest)
            largest = options->batches.items[i];
    if (params->max_model_len == 0)
        params->max_model_len = min_int(longest < 16 ? 16 : longest, info->context_length);
    params->max_num_seqs = largest;
    params->enable_prefix_caching = false;
    report->context = min_int(options->context, params->max_model_len - options->num_decode - 1);
}

static enum nano_status bench_engine(struct nano_bench_options *options, nano_model *model,
                                     uint64_t start_ns, struct report *report,
                                     struct nano_error *err)
{
    enum nano_status status;
    struct nano_bench bench = {0};
    struct nano_engine_params params = options->engine.params;
    fit_engine(options, nano_model_get_info(model), report, &params);
    if (report->context < 1)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "-n: %d tokens to decode do not fit the context of %d",
                              options->num_decode, params.max_model_len);
    NANO_TRY(nano_bench_create(&bench, model, &params, err));
    report->load_s = (double)(nano_os_clock_ns() - start_ns) / 1e9;
    report->isa = nano_engine_get_isa(bench.engine);
    nano_engine_get_plan(bench.engine, &report->plan);
    NANO_TRY(measure_all(&bench, options, report, err));
    report->peak_rss_bytes = nano_os_peak_rss_bytes();
    report->read_gbps = nano_machine_read_gbps(report->plan.num_threads);
    report->num_ops = nano_engine_get_profile(bench.engine, report->ops, MAX_OPS);
    if (report->num_ops > MAX_OPS)
        report->num_ops = MAX_OPS;
    if (options->json)
        print_json(report, options);
    else
        print_text(report, options);
fail:
    nano_bench_destroy(&bench);
    return status;
}

enum nano_status nano_bench_model(struct nano_bench_options *options, struct nano_error *err)
{
    enum nano_status status;
    nano_model *model = NULL;
    bool measures = options->num_decode > 0;
    struct report *report = nano_mem_calloc(1, sizeof *report);
    if (!report)
        return nano_error_no_memory(err, "the report", sizeof *report);
    report->prefill = nano_mem_calloc(options->prefill.num, sizeof *report->prefill);
    report->decode = nano_mem_calloc(options->batches.num, sizeof *report->decode);
    if (!report->prefill || !report->decode) {
        status = nano_error_no_memory(err, "the report", 0);
        goto fail;
    }
    uint64_t start = nano_os_clock_ns();
    if (options->synthetic)
        NANO_TRY(nano_model_open_synthetic(&model, options->synthetic, SEED, err));
    else
        NANO_TRY(nano_model_open(&model, options->engine.model, err));
    report->model = model;
    report->name = options->synthetic ? options->synthetic : nano_model_get_info(model)->path;
    if (options->save)
        NANO_TRY(nano_model_save_gguf(model, options->save, err));
    for (size_t i = 0; i < options->prefill.num; i++)
        measures |= options->prefill.items[i] > 0;
    if (measures)
        NANO_TRY(bench_engine(options, model, start, report, err));
    status = NANO_OK;
fail:
    nano_model_close(model);
    if (report) {
        nano_mem_free(report->prefill);
        nano_mem_free(report->decode);
    }
    nano_mem_free(report);
    return status;
}
