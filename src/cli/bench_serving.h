/* Bench serving: many requests in one engine, timed as their clients would. */
#ifndef NANO_CLI_BENCH_SERVING_H
#define NANO_CLI_BENCH_SERVING_H

#include "cli/bench_report.h"

#define NANO_BENCH_NUM_ARRIVALS 4    /* prompts that arrive in a mixed workload */
#define NANO_BENCH_ARRIVAL_TOKENS 16 /* tokens that each of them generates */

/* row->batch sequences with a context of row->context tokens decode row->num_decode tokens, while
 * prompts of row->num_tokens tokens arrive, evenly spread over that time. The same without prompts
 * is measured before. Fills in the rest of the row. */
enum nano_status nano_bench_mixed(struct nano_bench *bench, int num_repeats, int64_t vocab_size,
                                  struct nano_bench_row *row, struct nano_error *err);

/* row->batch requests at once, each of row->prefix_len tokens that all have in common and
 * row->num_tokens of its own, which generate row->num_decode tokens each. Every repetition has a
 * prefix that the engine has not seen. */
enum nano_status nano_bench_shared_prefix(struct nano_bench *bench, int num_repeats,
                                          int64_t vocab_size, struct nano_bench_row *row,
                                          struct nano_error *err);

#endif
