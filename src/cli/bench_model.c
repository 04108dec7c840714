/* Bench of a model: its rows, one after the other, and slices of the machine's limits between them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/os.h"
#include "cli/bench.h"
#include "cli/bench_compare.h"
#include "cli/bench_report.h"
#include "cli/bench_serving.h"
#include "cli/cli_output.h"

#define SEED 1
#define SHORT_CONTEXT 16 /* before decoding, where -d says nothing */

struct run {
    const struct nano_bench_options *options;
    struct nano_bench_report *report;
    struct nano_bench bench;
    int64_t vocab_size;
    int32_t *prompt;
    double *values; /* [num_repeats] */
};

static int min_int(int64_t a, int64_t b)
{
    return (int)(a < b ? a : b);
}

static void random_tokens(struct run *run, uint64_t *rng, int32_t *out, int num)
{
    for (int i = 0; i < num; i++)
        out[i] = (int32_t)(nano_bench_random(rng) % (uint64_t)run->vocab_size);
}

static void summarize(const struct run *run, struct nano_bench_row *row)
{
    const size_t num = (size_t)run->options->num_repeats;
    row->tokens_per_s = nano_bench_median(run->values, num);
    row->min = run->values[0];
    row->max = run->values[num - 1];
}

static double rate(const struct nano_bench_work *work)
{
    return work->ns ? (double)work->num_tokens * 1e9 / (double)work->ns : 0;
}

/* The context is computed once and then found in the cache; each repetition has a prompt of its
 * own behind it. */
static enum nano_status measure_prefill(struct run *run, struct nano_bench_row *row,
                                        struct nano_error *err)
{
    enum nano_status status;
    uint64_t rng = SEED;
    random_tokens(run, &rng, run->prompt, row->context);
    for (int r = 0; r < run->options->num_repeats; r++) {
        if (row->context > 0) {
            NANO_TRY(nano_bench_submit(&run->bench, run->prompt, row->context, 0, NULL, NULL, err));
            NANO_TRY(nano_bench_run(&run->bench, 0, err));
        }
        random_tokens(run, &rng, run->prompt + row->context, row->num_tokens);
        nano_bench_reset(&run->bench);
        NANO_TRY(nano_bench_submit(&run->bench, run->prompt, row->context + row->num_tokens, 0,
                                   NULL, NULL, err));
        NANO_TRY(nano_bench_run(&run->bench, 0, err));
        run->values[r] = rate(&run->bench.work[NANO_BENCH_PREFILL]);
        nano_bench_add_work(&row->work, &run->bench.work[NANO_BENCH_PREFILL]);
    }
    summarize(run, row);
fail:
    return status;
}

/* The prompts are the same in each repetition, so that long contexts are found in the cache. */
static enum nano_status measure_decode(struct run *run, struct nano_bench_row *row,
                                       struct nano_error *err)
{
    enum nano_status status;
    /* the first token comes with the prefill, the others from decode steps */
    const int max_tokens = row->num_decode + 1;
    for (int r = 0; r < run->options->num_repeats; r++) {
        uint64_t rng = SEED;
        nano_bench_reset(&run->bench);
        for (int i = 0; i < row->batch; i++) {
            random_tokens(run, &rng, run->prompt, row->context);
            NANO_TRY(nano_bench_submit(&run->bench, run->prompt, row->context, max_tokens, NULL,
                                       NULL, err));
        }
        NANO_TRY(nano_bench_run(&run->bench, (uint64_t)row->batch * (uint64_t)max_tokens, err));
        run->values[r] = rate(&run->bench.work[NANO_BENCH_DECODE]);
        nano_bench_add_work(&row->work, &run->bench.work[NANO_BENCH_DECODE]);
    }
    summarize(run, row);
fail:
    return status;
}

static enum nano_status measure_mixed(struct run *run, struct nano_bench_row *row,
                                      struct nano_error *err)
{
    return nano_bench_mixed(&run->bench, run->options->num_repeats, run->vocab_size, row, err);
}

static enum nano_status measure_shared_prefix(struct run *run, struct nano_bench_row *row,
                                              struct nano_error *err)
{
    return nano_bench_shared_prefix(&run->bench, run->options->num_repeats, run->vocab_size, row,
                                    err);
}

typedef enum nano_status (*measure_fn)(struct run *run, struct nano_bench_row *row,
                                       struct nano_error *err);
typedef void (*print_fn)(const struct nano_bench_report *report, const struct nano_bench_row *row);

static enum nano_status measure_rows(struct run *run, struct nano_bench_rows *rows,
                                     measure_fn measure, print_fn print, struct nano_error *err)
{
    for (size_t i = 0; i < rows->num; i++) {
        struct nano_bench_row *row = &rows->items[i];
        enum nano_status status = measure(run, row, err);
        if (status == NANO_OK && !run->report->plan.device_bytes)
            status = nano_machine_update(&run->report->machine, &row->read_limit_gbps, err);
        if (status != NANO_OK)
            return status;
        if (!run->options->json)
            print(run->report, row);
    }
    return NANO_OK;
}

/* What the process has taken is known before the machine is measured, which takes more, and after;
 * the engine gives nothing back in between. */
static enum nano_status measure_all(struct run *run, struct nano_error *err)
{
    enum nano_status status;
    struct nano_bench_report *report = run->report;
    uint64_t rng = SEED;
    /* touches every weight */
    NANO_TRY(nano_bench_submit_random(&run->bench, &rng, run->vocab_size, 2, 2, err));
    NANO_TRY(nano_bench_run(&run->bench, 2, err));
    report->cold_start_s =
        (double)(run->bench.first_token_ns - run->options->start_ns) / 1e9 - report->save_s;
    report->peak_rss_bytes = nano_os_peak_rss_bytes();
    if (!report->plan.device_bytes) /* the limits are those of the CPU */
        NANO_TRY(nano_machine_init(&report->machine, report->plan.num_threads, err));
    if (!run->options->json)
        nano_bench_print_head(report);
    NANO_TRY(measure_rows(run, &report->prefill, measure_prefill, nano_bench_print_prefill, err));
    NANO_TRY(measure_rows(run, &report->decode, measure_decode, nano_bench_print_decode, err));
    NANO_TRY(measure_rows(run, &report->mixed, measure_mixed, nano_bench_print_mixed, err));
    NANO_TRY(measure_rows(run, &report->shared_prefix, measure_shared_prefix,
                          nano_bench_print_shared_prefix, err));
    uint64_t rss_bytes = nano_os_rss_bytes();
    if (rss_bytes == 0)
        rss_bytes = nano_os_peak_rss_bytes();
    if (rss_bytes > report->peak_rss_bytes)
        report->peak_rss_bytes = rss_bytes;
fail:
    return status;
}

/* ---- What is measured ------------------------------------------------------------------------ */

static int decode_context(const struct nano_bench_options *options)
{
    return options->depth > 0 ? options->depth : SHORT_CONTEXT;
}

/* Tokens of the longest sequence, as wished. */
static int64_t longest_sequence(const struct nano_bench_options *options)
{
    int64_t longest = 16, num_decode = options->num_decode;
    int prompt = 0;
    for (size_t i = 0; i < options->prefill.num; i++)
        prompt = options->prefill.items[i] > prompt ? options->prefill.items[i] : prompt;
    int64_t lengths[2] = {options->depth + (int64_t)prompt,
                          num_decode ? decode_context(options) + num_decode + 1 : 0};
    if (options->mixed)
        lengths[0] = (int64_t)prompt + NANO_BENCH_ARRIVAL_TOKENS;
    if (options->shared_prefix)
        lengths[0] = options->prefix_len + (int64_t)prompt + num_decode;
    for (int i = 0; i < (options->shared_prefix ? 1 : 2); i++)
        longest = lengths[i] > longest ? lengths[i] : longest;
    return longest;
}

/* The engine must hold the longest prompt, and all sequences of the largest batch at once. */
static void fit_engine(const struct nano_bench_options *options, const nano_model *model,
                       const struct nano_model_info *info, struct nano_engine_params *params)
{
    int largest = 1;
    for (size_t i = 0; i < options->batches.num; i++)
        if (options->batches.items[i] > largest)
            largest = options->batches.items[i];
    if (params->max_model_len == 0)
        params->max_model_len = min_int(longest_sequence(options), info->context_length);
    params->max_num_seqs = largest + (options->mixed ? NANO_BENCH_NUM_ARRIVALS : 0);
    params->enable_prefix_caching = options->depth > 0 || options->shared_prefix;
    /* A block more for each, which the scheduler wants free before it takes another one in. */
    if (params->num_blocks == 0 && params->mem_budget_bytes == 0) {
        struct nano_memory_plan plan; /* the groups are there even if it does not fit */
        nano_engine_plan(model, params, &plan, NULL);
        params->num_blocks =
            min_int((int64_t)params->max_num_seqs * (plan.num_kv_groups ? plan.num_kv_groups : 1) *
                        ((params->max_model_len + params->block_size - 1) / params->block_size + 1),
                    INT32_MAX);
    }
}

static enum nano_status no_room(const char *what, int num_tokens, int max_model_len,
                                struct nano_error *err)
{
    return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                          "%s: %d tokens leave no room in the context of %d", what, num_tokens,
                          max_model_len);
}

static void add_row(struct nano_bench_rows *rows, struct nano_bench_row row)
{
    rows->items[rows->num++] = row;
}

static enum nano_status add_plain_rows(struct nano_bench_report *report, int max_model_len,
                                       struct nano_error *err)
{
    const struct nano_bench_options *options = report->options;
    const int room = max_model_len - options->num_decode - 1;
    for (size_t i = 0; i < options->prefill.num; i++) {
        const int num_tokens = min_int(options->prefill.items[i], max_model_len - options->depth);
        if (options->prefill.items[i] == 0)
            continue;
        if (num_tokens < 1)
            return no_room("-d", options->depth, max_model_len, err);
        add_row(&report->prefill,
                (struct nano_bench_row){.num_tokens = num_tokens, .context = options->depth});
    }
    for (size_t i = 0; i < options->batches.num && options->num_decode > 0; i++) {
        if (room < 1)
            return no_room("-n", options->num_decode, max_model_len, err);
        add_row(&report->decode,
                (struct nano_bench_row){.batch = options->batches.items[i],
                                        .num_decode = options->num_decode,
                                        .context = min_int(decode_context(options), room)});
    }
    return NANO_OK;
}

/* Every batch with every prompt. */
static enum nano_status add_serving_rows(struct nano_bench_report *report, int max_model_len,
                                         struct nano_error *err)
{
    const struct nano_bench_options *options = report->options;
    const int room = max_model_len - options->num_decode - (options->mixed ? 1 : 0);
    for (size_t i = 0; i < options->batches.num * options->prefill.num; i++) {
        struct nano_bench_row row = {.batch = options->batches.items[i / options->prefill.num],
                                     .num_tokens = options->prefill.items[i % options->prefill.num],
                                     .num_decode = options->num_decode};
        if (row.num_tokens == 0 || row.num_decode == 0)
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                                  "-p and -n: expected at least 1 with --mixed or --shared-prefix");
        if (options->mixed) {
            row.num_tokens = min_int(row.num_tokens, max_model_len - NANO_BENCH_ARRIVAL_TOKENS);
            row.context = min_int(decode_context(options), room);
            if (row.context < 1 || row.num_tokens < 1)
                return no_room("-n", row.num_decode, max_model_len, err);
            add_row(&report->mixed, row);
        } else {
            row.prefix_len = min_int(options->prefix_len, room - row.num_tokens);
            if (row.prefix_len < 1)
                return no_room("-p and -n", row.num_tokens + row.num_decode, max_model_len, err);
            add_row(&report->shared_prefix, row);
        }
    }
    return NANO_OK;
}

/* ---- The whole ------------------------------------------------------------------------------- */

static enum nano_status print_results(const struct nano_bench_report *report,
                                      struct nano_bench_comparison *comparison,
                                      struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    char *json = NULL;
    size_t num_bytes;
    if (comparison) {
        FILE *file = open_memstream(&json, &num_bytes);
        if (!file)
            return nano_error_no_memory(err, "the results", 0);
        nano_bench_write_json(report, file, NULL);
        fclose(file);
        status = nano_bench_compare(comparison, json, err);
    }
    if (status == NANO_OK && report->options->json) {
        nano_bench_write_json(report, stdout, comparison);
    } else if (status == NANO_OK) {
        nano_bench_print_end(report);
        if (comparison)
            nano_bench_comparison_print(comparison);
    }
    free(json);
    return status;
}

static enum nano_status bench_engine(struct run *run, nano_model *model, uint64_t start_ns,
                                     struct nano_bench_comparison *comparison,
                                     struct nano_error *err)
{
    enum nano_status status;
    struct nano_bench_report *report = run->report;
    struct nano_engine_params params = run->options->engine.params;
    fit_engine(run->options, model, report->info, &params);
    const int max_model_len = params.max_model_len;
    if (run->options->mixed || run->options->shared_prefix)
        NANO_TRY(add_serving_rows(report, max_model_len, err));
    else
        NANO_TRY(add_plain_rows(report, max_model_len, err));
    run->vocab_size = report->info->vocab_size;
    run->prompt = nano_mem_calloc((size_t)max_model_len, sizeof *run->prompt);
    run->values = nano_mem_calloc((size_t)run->options->num_repeats, sizeof *run->values);
    if (!run->prompt || !run->values) {
        status = nano_error_no_memory(err, "the results", 0);
        goto fail;
    }
    NANO_TRY(nano_bench_create(&run->bench, model, &params, err));
    report->load_s = (double)(nano_os_clock_ns() - start_ns) / 1e9 - report->save_s;
    report->isa = nano_engine_get_isa(run->bench.engine);
    report->bench = &run->bench;
    nano_engine_get_plan(run->bench.engine, &report->plan);
    if (report->plan.num_states > 0 &&
        report->plan.max_num_seqs <
            min_int(params.max_num_seqs, report->plan.max_num_batched_tokens)) {
        status = nano_error_set(err, NANO_ERR_NO_MEMORY,
                                "memory for recurrent states lets %d sequences run at once, "
                                "expected %d; --mem-budget gives more",
                                report->plan.max_num_seqs, params.max_num_seqs);
        goto fail;
    }
    run->bench.kv_token_bytes = report->plan.kv_block_bytes * (uint64_t)report->plan.num_kv_groups /
                                (uint64_t)report->plan.block_size;
    NANO_TRY(measure_all(run, err));
    NANO_TRY(print_results(report, comparison, err));
fail:
    nano_bench_destroy(&run->bench);
    nano_mem_free(run->prompt);
    nano_mem_free(run->values);
    return status;
}

static bool measures_anything(const struct nano_bench_options *options)
{
    bool measures = options->num_decode > 0 || options->mixed || options->shared_prefix;
    for (size_t i = 0; i < options->prefill.num; i++)
        measures |= options->prefill.items[i] > 0;
    return measures;
}

static enum nano_status open_model(nano_model **model, const struct nano_bench_options *options,
                                   struct nano_bench_report *report, struct nano_error *err)
{
    enum nano_status status;
    if (options->synthetic)
        NANO_TRY(nano_model_open_synthetic(model, options->synthetic, SEED, err));
    else
        NANO_TRY(nano_cli_open_model(model, &options->engine, NULL, err));
    report->info = nano_model_get_info(*model);
    report->name = options->synthetic ? options->synthetic : report->info->path;
    const uint64_t start = nano_os_clock_ns();
    if (options->save)
        NANO_TRY(nano_model_save_gguf(*model, options->save, err));
    report->save_s = (double)(nano_os_clock_ns() - start) / 1e9;
fail:
    return status;
}

enum nano_status nano_bench_model(struct nano_bench_options *options, struct nano_error *err)
{
    enum nano_status status;
    nano_model *model = NULL;
    struct nano_bench_comparison *comparison = NULL;
    struct nano_bench_report report = {.options = options};
    struct nano_bench_rows *const rows[] = {&report.prefill, &report.decode, &report.mixed,
                                            &report.shared_prefix};
    const size_t num_rows = (options->prefill.num + 1) * (options->batches.num + 1);
    struct run *run = nano_mem_calloc(1, sizeof *run);
    if (!run)
        return nano_error_no_memory(err, "the bench", sizeof *run);
    run->options = options;
    run->report = &report;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        rows[i]->items = nano_mem_calloc(num_rows, sizeof *rows[i]->items);
        if (!rows[i]->items) {
            status = nano_error_no_memory(err, "the results", num_rows * sizeof *rows[i]->items);
            goto fail;
        }
    }
    if (options->compare) {
        comparison = nano_mem_calloc(1, sizeof *comparison);
        if (!comparison) {
            status = nano_error_no_memory(err, "the comparison", sizeof *comparison);
            goto fail;
        }
        NANO_TRY(nano_bench_comparison_init(comparison, options->compare, err));
    }
    const uint64_t start = nano_os_clock_ns();
    NANO_TRY(open_model(&model, options, &report, err));
    if (options->offline)
        NANO_TRY(nano_bench_offline(options, model, err));
    else if (measures_anything(options))
        NANO_TRY(bench_engine(run, model, start, comparison, err));
fail:
    nano_model_close(model);
    if (comparison)
        nano_bench_comparison_deinit(comparison);
    nano_mem_free(comparison);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        nano_mem_free(rows[i]->items);
    nano_mem_free(run);
    return status;
}
