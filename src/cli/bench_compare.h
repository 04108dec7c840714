/* Bench compare: the results of an earlier bench, as its --json printed them, beside those of this
 * one. */
#ifndef NANO_CLI_BENCH_COMPARE_H
#define NANO_CLI_BENCH_COMPARE_H

#include <jansson.h>

#include "base/error.h"
#include "cli/cli_json.h"

struct nano_bench_result {
    char name[96]; /* "decode 8 x 128 at 16: tokens_per_s" */
    double old_value, new_value;
};

struct nano_bench_comparison {
    const char *path;
    json_t *old;
    struct nano_bench_result *results; /* those that both have */
    size_t num_results, results_capacity;
    char warnings[12][160]; /* what makes the ratios say less */
    size_t num_warnings;
};

/* Reads the earlier results; an error names the file. To be deinitialised in any case. */
enum nano_status nano_bench_comparison_init(struct nano_bench_comparison *comparison,
                                            const char *path, struct nano_error *err);
void nano_bench_comparison_deinit(struct nano_bench_comparison *comparison);

/* `json` is what --json prints of this bench. */
enum nano_status nano_bench_compare(struct nano_bench_comparison *comparison, const char *json,
                                    struct nano_error *err);

void nano_bench_comparison_print(const struct nano_bench_comparison *comparison);

/* As the key "compare". */
void nano_bench_comparison_write_json(const struct nano_bench_comparison *comparison,
                                      struct nano_cli_json *json);

#endif
