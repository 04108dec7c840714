/* Bench compare: rows with the same sizes find each other, whatever their order. */
#include "cli/bench_compare.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "cli/cli_output.h"

#define MAX_DRIFT 0.1 /* of the machine, between the two benches */

/* What tells rows apart, in the order of their names. Older files lack some. */
static const char *const sizes[] = {"batch",      "num_decode", "num_prompts",
                                    "prefix_len", "num_tokens", "context"};
#define NUM_SIZES (sizeof sizes / sizeof *sizes)

static const char *const workloads[] = {"prefill", "decode", "mixed", "shared_prefix"};
#define NUM_WORKLOADS (sizeof workloads / sizeof *workloads)

static const char *const row_metrics[] = {"tokens_per_s", "total_tokens_per_s", "ttft_median_s",
                                          "ttft_p99_s",   "itl_median_s",       "itl_p99_s"};
#define NUM_ROW_METRICS (sizeof row_metrics / sizeof *row_metrics)

static const char *const metrics[] = {"load_s", "cold_start_s", "peak_rss_bytes"};
#define NUM_METRICS (sizeof metrics / sizeof *metrics)

static const char *const limits[] = {"read_gbps", "int8_gops", "bf16_gops", "f32_gops"};
#define NUM_LIMITS (sizeof limits / sizeof *limits)

static const char *const settings[] = {"model", "quantization", "isa", "threads"};
#define NUM_SETTINGS (sizeof settings / sizeof *settings)

static const struct nano_json_item *find(const struct nano_json_flat *flat, const char *fmt, ...)
    NANO_PRINTF(2, 3);

static const struct nano_json_item *find(const struct nano_json_flat *flat, const char *fmt, ...)
{
    char path[128];
    va_list args;
    va_start(args, fmt);
    vsnprintf(path, sizeof path, fmt, args);
    va_end(args);
    return nano_json_flat_find(flat, path);
}

static void warn(struct nano_bench_comparison *c, const char *fmt, ...) NANO_PRINTF(2, 3);

static void warn(struct nano_bench_comparison *c, const char *fmt, ...)
{
    va_list args;
    if (c->num_warnings == sizeof c->warnings / sizeof *c->warnings)
        return;
    va_start(args, fmt);
    vsnprintf(c->warnings[c->num_warnings++], sizeof c->warnings[0], fmt, args);
    va_end(args);
}

enum nano_status nano_bench_comparison_init(struct nano_bench_comparison *comparison,
                                            const char *path, struct nano_error *err)
{
    char *text;
    size_t num_bytes;
    *comparison = (struct nano_bench_comparison){.path = path};
    enum nano_status status = nano_cli_read(path, &text, &num_bytes, err);
    if (status != NANO_OK)
        return status;
    status = nano_json_flat_parse(&comparison->old, path, text, err);
    nano_mem_free(text);
    if (status == NANO_OK && !find(&comparison->old, "machine/read_gbps"))
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: is not what nanovllm bench --json prints",
                              path);
    return status;
}

void nano_bench_comparison_deinit(struct nano_bench_comparison *comparison)
{
    nano_json_flat_free(&comparison->old);
    nano_mem_free(comparison->results);
    *comparison = (struct nano_bench_comparison){0};
}

static enum nano_status add_result(struct nano_bench_comparison *c, const char *row,
                                   const char *metric, const struct nano_json_item *old,
                                   const struct nano_json_item *new, struct nano_error *err)
{
    void *results = c->results;
    if (!old || !new || !old->is_number || !new->is_number)
        return NANO_OK;
    if (!nano_mem_grow(&results, &c->results_capacity, c->num_results + 1, sizeof *c->results))
        return nano_error_no_memory(err, "the comparison", 0);
    c->results = results;
    struct nano_bench_result *result = &c->results[c->num_results++];
    result->old_value = old->number;
    result->new_value = new->number;
    snprintf(result->name, sizeof result->name, "%s%s%s", row, *row ? ": " : "", metric);
    return NANO_OK;
}

/* A size that one of the rows lacks tells nothing. */
static bool same_sizes(const struct nano_json_flat *a, int row_a, const struct nano_json_flat *b,
                       int row_b, const char *workload)
{
    for (size_t i = 0; i < NUM_SIZES; i++) {
        const struct nano_json_item *x = find(a, "%s/%d/%s", workload, row_a, sizes[i]);
        const struct nano_json_item *y = find(b, "%s/%d/%s", workload, row_b, sizes[i]);
        if (x && y && x->number != y->number)
            return false;
    }
    return true;
}

static bool has_row(const struct nano_json_flat *flat, const char *workload, int row)
{
    return find(flat, "%s/%d/tokens_per_s", workload, row) != NULL;
}

static void name_row(const struct nano_json_flat *flat, const char *workload, int row, char *out,
                     size_t out_bytes)
{
    size_t length = (size_t)snprintf(out, out_bytes, "%s", workload);
    for (size_t i = 0; i < NUM_SIZES; i++) {
        const struct nano_json_item *size = find(flat, "%s/%d/%s", workload, row, sizes[i]);
        const bool is_context = strcmp(sizes[i], "context") == 0;
        if (size && length < out_bytes && !(is_context && size->number == 0))
            length += (size_t)snprintf(out + length, out_bytes - length, "%s%.0f",
                                       is_context                       ? " at "
                                       : i && length > strlen(workload) ? " x "
                                                                        : " ",
                                       size->number);
    }
}

static enum nano_status compare_workload(struct nano_bench_comparison *c,
                                         const struct nano_json_flat *new, const char *workload,
                                         struct nano_error *err)
{
    for (int row = 0; has_row(new, workload, row); row++) {
        int old_row = 0;
        while (has_row(&c->old, workload, old_row) &&
               !same_sizes(&c->old, old_row, new, row, workload))
            old_row++;
        char name[64];
        name_row(new, workload, row, name, sizeof name);
        for (size_t i = 0; i < NUM_ROW_METRICS; i++) {
            enum nano_status status =
                add_result(c, name, row_metrics[i],
                           find(&c->old, "%s/%d/%s", workload, old_row, row_metrics[i]),
                           find(new, "%s/%d/%s", workload, row, row_metrics[i]), err);
            if (status != NANO_OK)
                return status;
        }
    }
    return NANO_OK;
}

static void compare_machines(struct nano_bench_comparison *c, const struct nano_json_flat *new)
{
    for (size_t i = 0; i < NUM_SETTINGS; i++) {
        const struct nano_json_item *a = find(&c->old, "%s", settings[i]);
        const struct nano_json_item *b = find(new, "%s", settings[i]);
        if (a && b && strcmp(a->text, b->text) != 0)
            warn(c, "%s: %.40s then, %.40s now", settings[i], a->text, b->text);
    }
    for (size_t i = 0; i < NUM_LIMITS; i++) {
        const struct nano_json_item *a = find(&c->old, "machine/%s", limits[i]);
        const struct nano_json_item *b = find(new, "machine/%s", limits[i]);
        if (a && b && a->number > 0 && fabs(b->number / a->number - 1) > MAX_DRIFT)
            warn(c,
                 "the machine's %s: %.1f then, %.1f now (%.2fx): so much of a ratio is not the "
                 "program's",
                 limits[i], a->number, b->number, b->number / a->number);
    }
}

enum nano_status nano_bench_compare(struct nano_bench_comparison *comparison, const char *json,
                                    struct nano_error *err)
{
    struct nano_json_flat new;
    enum nano_status status;
    NANO_TRY(nano_json_flat_parse(&new, "results", json, err));
    for (size_t i = 0; i < NUM_WORKLOADS; i++)
        NANO_TRY(compare_workload(comparison, &new, workloads[i], err));
    for (size_t i = 0; i < NUM_METRICS; i++)
        NANO_TRY(add_result(comparison, "", metrics[i], find(&comparison->old, "%s", metrics[i]),
                            find(&new, "%s", metrics[i]), err));
    compare_machines(comparison, &new);
fail:
    nano_json_flat_free(&new);
    return status;
}

static double ratio(const struct nano_bench_result *result)
{
    return result->old_value != 0 ? result->new_value / result->old_value : NAN;
}

static void print_value(double value)
{
    printf("%12.*f", fabs(value) >= 1000 ? 0 : fabs(value) >= 10 ? 1 : 4, value);
}

void nano_bench_comparison_print(const struct nano_bench_comparison *c)
{
    printf("\n  compared with %s\n  %-44s%12s%12s%9s\n", c->path, "", "old", "new", "new/old");
    for (size_t i = 0; i < c->num_results; i++) {
        printf("  %-44s", c->results[i].name);
        print_value(c->results[i].old_value);
        print_value(c->results[i].new_value);
        printf("%9.2f\n", ratio(&c->results[i]));
    }
    for (size_t i = 0; i < c->num_warnings; i++)
        printf("  warning: %s\n", c->warnings[i]);
}

void nano_bench_comparison_write_json(const struct nano_bench_comparison *c,
                                      struct nano_cli_json *json)
{
    nano_cli_json_open(json, "compare", '{');
    nano_cli_json_cstring(json, "file", c->path);
    nano_cli_json_open(json, "results", '[');
    for (size_t i = 0; i < c->num_results; i++) {
        nano_cli_json_open(json, NULL, '{');
        nano_cli_json_cstring(json, "name", c->results[i].name);
        nano_cli_json_float(json, "old", c->results[i].old_value);
        nano_cli_json_float(json, "new", c->results[i].new_value);
        nano_cli_json_float(json, "ratio", ratio(&c->results[i]));
        nano_cli_json_close(json, '}');
    }
    nano_cli_json_close(json, ']');
    nano_cli_json_open(json, "warnings", '[');
    for (size_t i = 0; i < c->num_warnings; i++)
        nano_cli_json_cstring(json, NULL, c->warnings[i]);
    nano_cli_json_close(json, ']');
    nano_cli_json_close(json, '}');
}
