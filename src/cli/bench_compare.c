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

/* NULL, as jansson takes it, if there is none. */
static const json_t *find_row(const json_t *results, const char *workload, size_t row)
{
    const json_t *found = json_array_get(json_object_get(results, workload), row);
    return json_object_get(found, "tokens_per_s") ? found : NULL;
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
    json_error_t error;
    *comparison = (struct nano_bench_comparison){.path = path};
    enum nano_status status = nano_cli_read(path, &text, &num_bytes, err);
    if (status != NANO_OK)
        return status;
    comparison->old = json_loadb(text, num_bytes, 0, &error);
    nano_mem_free(text);
    if (!comparison->old)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: not JSON: line %d: %s", path, error.line,
                              error.text);
    if (!json_object_get(json_object_get(comparison->old, "machine"), "read_gbps"))
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: is not what nanovllm bench --json prints",
                              path);
    return NANO_OK;
}

void nano_bench_comparison_deinit(struct nano_bench_comparison *comparison)
{
    json_decref(comparison->old);
    nano_mem_free(comparison->results);
    *comparison = (struct nano_bench_comparison){0};
}

static enum nano_status add_result(struct nano_bench_comparison *c, const char *row,
                                   const char *metric, const json_t *old_row, const json_t *new_row,
                                   struct nano_error *err)
{
    void *results = c->results;
    const json_t *old = json_object_get(old_row, metric), *new = json_object_get(new_row, metric);
    if (!json_is_number(old) || !json_is_number(new))
        return NANO_OK;
    if (!nano_mem_grow(&results, &c->results_capacity, c->num_results + 1, sizeof *c->results))
        return nano_error_no_memory(err, "the comparison", 0);
    c->results = results;
    struct nano_bench_result *result = &c->results[c->num_results++];
    result->old_value = json_number_value(old);
    result->new_value = json_number_value(new);
    snprintf(result->name, sizeof result->name, "%s%s%s", row, *row ? ": " : "", metric);
    return NANO_OK;
}

/* A size that one of the rows lacks tells nothing. */
static bool same_sizes(const json_t *a, const json_t *b)
{
    for (size_t i = 0; i < NUM_SIZES; i++) {
        const json_t *x = json_object_get(a, sizes[i]), *y = json_object_get(b, sizes[i]);
        if (x && y && json_number_value(x) != json_number_value(y))
            return false;
    }
    return true;
}

static void name_row(const json_t *row, const char *workload, char *out, size_t out_bytes)
{
    size_t length = (size_t)snprintf(out, out_bytes, "%s", workload);
    for (size_t i = 0; i < NUM_SIZES; i++) {
        const json_t *size = json_object_get(row, sizes[i]);
        const bool is_context = strcmp(sizes[i], "context") == 0;
        if (size && length < out_bytes && !(is_context && json_number_value(size) == 0))
            length += (size_t)snprintf(out + length, out_bytes - length, "%s%.0f",
                                       is_context                       ? " at "
                                       : i && length > strlen(workload) ? " x "
                                                                        : " ",
                                       json_number_value(size));
    }
}

static enum nano_status compare_workload(struct nano_bench_comparison *c, const json_t *results,
                                         const char *workload, struct nano_error *err)
{
    const json_t *new, *old;
    for (size_t row = 0; (new = find_row(results, workload, row)) != NULL; row++) {
        size_t old_row = 0;
        while ((old = find_row(c->old, workload, old_row)) != NULL && !same_sizes(old, new))
            old_row++;
        char name[64];
        name_row(new, workload, name, sizeof name);
        for (size_t i = 0; i < NUM_ROW_METRICS; i++) {
            enum nano_status status = add_result(c, name, row_metrics[i], old, new, err);
            if (status != NANO_OK)
                return status;
        }
    }
    return NANO_OK;
}

/* A setting as text: a string, or a number. */
static const char *print_setting(const json_t *value, char *out, size_t out_bytes)
{
    if (json_is_number(value))
        snprintf(out, out_bytes, "%g", json_number_value(value));
    else
        snprintf(out, out_bytes, "%s", json_is_string(value) ? json_string_value(value) : "?");
    return out;
}

static void compare_machines(struct nano_bench_comparison *c, const json_t *results)
{
    const json_t *old_machine = json_object_get(c->old, "machine");
    const json_t *new_machine = json_object_get(results, "machine");
    char a_text[41], b_text[41];
    for (size_t i = 0; i < NUM_SETTINGS; i++) {
        const json_t *a = json_object_get(c->old, settings[i]);
        const json_t *b = json_object_get(results, settings[i]);
        if (a && b && !json_equal((json_t *)a, (json_t *)b))
            warn(c, "%s: %s then, %s now", settings[i], print_setting(a, a_text, sizeof a_text),
                 print_setting(b, b_text, sizeof b_text));
    }
    for (size_t i = 0; i < NUM_LIMITS; i++) {
        const double a = json_number_value(json_object_get(old_machine, limits[i]));
        const double b = json_number_value(json_object_get(new_machine, limits[i]));
        if (a > 0 && b > 0 && fabs(b / a - 1) > MAX_DRIFT)
            warn(c,
                 "the machine's %s: %.1f then, %.1f now (%.2fx): so much of a ratio is not the "
                 "program's",
                 limits[i], a, b, b / a);
    }
}

enum nano_status nano_bench_compare(struct nano_bench_comparison *comparison, const char *json,
                                    struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    json_error_t error;
    json_t *results = json_loads(json, 0, &error);
    if (!results)
        return nano_error_set(err, NANO_ERR_INTERNAL, "the results: not JSON: %s", error.text);
    for (size_t i = 0; i < NUM_WORKLOADS; i++)
        NANO_TRY(compare_workload(comparison, results, workloads[i], err));
    for (size_t i = 0; i < NUM_METRICS; i++)
        NANO_TRY(add_result(comparison, "", metrics[i], comparison->old, results, err));
    compare_machines(comparison, results);
fail:
    json_decref(results);
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
