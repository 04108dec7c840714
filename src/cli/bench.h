/* Bench: how steps of an engine are timed, for a model and for the scheduler alone. */
#ifndef NANO_CLI_BENCH_H
#define NANO_CLI_BENCH_H

#include "cli/cli_engine.h"

struct nano_bench_options {
    struct nano_cli_engine_options engine;
    const char *synthetic, *save;
    struct nano_cli_ints prefill, batches; /* sizes to measure */
    int num_decode, context, num_repeats;
    bool mock, profile, json;
};

/* Time and tokens of steps, told apart by whether they contain prefill. The clock runs around
 * nano_engine_step. */
struct nano_bench_times {
    uint64_t prefill_ns, decode_ns;
    uint64_t num_prefill_tokens; /* in steps that contain prefill */
    uint64_t num_decode_tokens;  /* in steps of decode only */
};

struct nano_bench {
    nano_engine *engine;
    struct nano_step last;  /* what the current step did */
    uint64_t num_generated; /* tokens that callbacks brought */
    struct nano_error error;
};

/* Sets on_step in `params` and creates the engine; the bench must not move afterwards. */
enum nano_status nano_bench_create(struct nano_bench *bench, nano_model *model,
                                   struct nano_engine_params *params, struct nano_error *err);
void nano_bench_destroy(struct nano_bench *bench);

/* Submits a request of random tokens below `vocab_size`; max_tokens are generated, whatever comes.
 */
enum nano_status nano_bench_submit(struct nano_bench *bench, uint64_t *rng, int64_t vocab_size,
                                   int num_prompt, int max_tokens, struct nano_error *err);

/* Steps until idle and adds up; fails when the callbacks did not bring `num_expected` tokens. */
enum nano_status nano_bench_run(struct nano_bench *bench, uint64_t num_expected,
                                struct nano_bench_times *out, struct nano_error *err);

/* splitmix64: the next number of the sequence that *state began. */
uint64_t nano_bench_random(uint64_t *state);

/* Sorts the values and returns the one in the middle. */
double nano_bench_median(double *values, size_t num);

/* The scheduler on nano-vllm's workload; and its defaults for the engine. */
enum nano_status nano_bench_mock(struct nano_bench_options *options, struct nano_error *err);
void nano_bench_mock_defaults(struct nano_engine_params *params);

/* A model: prefill, then decode at each batch size. */
enum nano_status nano_bench_model(struct nano_bench_options *options, struct nano_error *err);

#endif
