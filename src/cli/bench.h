/* Bench: how steps of an engine are timed, for a model and for the scheduler alone.
 *
 *   bench.c          one engine, its steps timed and counted
 *   bench_model.c    rows of prefill and decode
 *   bench_serving.c  many requests with times of their own: mixed, shared prefix
 *   bench_report.c   what is printed of a model's bench
 *   bench_compare.c  two results as JSON, beside each other
 *   bench_offline.c  256 requests at once, or the scheduler alone with them */
#ifndef NANO_CLI_BENCH_H
#define NANO_CLI_BENCH_H

#include "cli/cli_engine.h"
#include "cli/machine.h"

#define NANO_BENCH_MAX_OPS 128

struct nano_bench_options {
    struct nano_cli_engine_options engine;
    const char *synthetic, *save, *compare;
    struct nano_cli_ints prefill, batches; /* sizes to measure */
    int num_decode;                        /* -1: what the workload has by default */
    int depth, prefix_len, num_repeats;
    bool mixed, shared_prefix, offline, mock, profile, json;
    uint64_t start_ns; /* when the program began */
};

enum nano_bench_phase { NANO_BENCH_PREFILL, NANO_BENCH_DECODE, NANO_BENCH_NUM_PHASES };

/* What the steps of a phase did. Steps of prefill are those that contain any, and count its tokens;
 * steps of decode contain nothing else. */
struct nano_bench_work {
    uint64_t ns, num_tokens, num_steps;
    uint64_t weight_bytes; /* read by ops that read a whole matrix */
    uint64_t kv_bytes;     /* of the contexts, once per step and sequence */
    uint64_t num_macs;
};

struct nano_bench {
    nano_engine *engine;
    const char *lora;        /* of every request; NULL: none */
    uint64_t kv_token_bytes; /* of one token in all layers; 0: contexts are not counted */
    struct nano_step last;   /* what the current step did */
    uint64_t last_positions; /* tokens in the contexts of its sequences */
    uint64_t num_generated;  /* tokens that callbacks brought */
    uint64_t first_token_ns; /* when the first of all came */
    struct nano_error error;

    struct nano_bench_work work[NANO_BENCH_NUM_PHASES]; /* since the last nano_bench_reset */
    /* Since the creation; contexts count as weights of the op that reads them. */
    struct nano_op_profile ops[NANO_BENCH_NUM_PHASES][NANO_BENCH_MAX_OPS];
    struct nano_op_profile seen_ops[NANO_BENCH_MAX_OPS];
    size_t num_ops, attention_op; /* the op that reads contexts; num_ops: there is none */
};

/* Sets on_step in `params` and creates the engine; the bench must not move afterwards. */
enum nano_status nano_bench_create(struct nano_bench *bench, nano_model *model,
                                   struct nano_engine_params *params, struct nano_error *err);
void nano_bench_destroy(struct nano_bench *bench);

/* Submits a request of these tokens; max_tokens are generated, whatever comes. `on_output` has to
 * call nano_bench_count; NULL: that is all that happens. */
enum nano_status nano_bench_submit(struct nano_bench *bench, const int32_t *token_ids,
                                   int num_tokens, int max_tokens, nano_output_fn on_output,
                                   void *user_data, struct nano_error *err);

/* The same with random tokens below `vocab_size`. */
enum nano_status nano_bench_submit_random(struct nano_bench *bench, uint64_t *rng,
                                          int64_t vocab_size, int num_tokens, int max_tokens,
                                          struct nano_error *err);

/* Takes note of an output. */
void nano_bench_count(struct nano_bench *bench, const struct nano_output *output);

/* Steps until idle and adds up; fails when the callbacks did not bring `num_expected` tokens. */
enum nano_status nano_bench_run(struct nano_bench *bench, uint64_t num_expected,
                                struct nano_error *err);
void nano_bench_reset(struct nano_bench *bench);

void nano_bench_add_work(struct nano_bench_work *sum, const struct nano_bench_work *work);

/* splitmix64: the next number of the sequence that *state began. */
uint64_t nano_bench_random(uint64_t *state);

/* Sorts the values and returns the one in the middle; or the one that a fraction `rank` of them do
 * not exceed. 0 if there are none. */
double nano_bench_median(double *values, size_t num);
double nano_bench_percentile(double *values, size_t num, double rank);

/* nano-vllm's workload on a model or, NULL, on the scheduler alone; and its defaults. */
enum nano_status nano_bench_offline(struct nano_bench_options *options, nano_model *model,
                                    struct nano_error *err);
void nano_bench_offline_defaults(struct nano_engine_params *params);

/* A model: prefill and decode, or what many requests meet. */
enum nano_status nano_bench_model(struct nano_bench_options *options, struct nano_error *err);

#endif
