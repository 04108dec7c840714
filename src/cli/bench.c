/* Bench: timing and counting of steps. */
#include "cli/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/os.h"
#include "cli/cli_output.h"

uint64_t nano_bench_random(uint64_t *state)
{
    uint64_t x = *state += 0x9E3779B97F4A7C15u; /* constants of splitmix64 (Steele et al., 2014) */
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double nano_bench_median(double *values, size_t num)
{
    if (num == 0)
        return 0;
    qsort(values, num, sizeof *values, compare_doubles);
    return num % 2 ? values[num / 2] : (values[num / 2 - 1] + values[num / 2]) / 2;
}

double nano_bench_percentile(double *values, size_t num, double rank)
{
    if (num == 0)
        return 0;
    qsort(values, num, sizeof *values, compare_doubles);
    size_t index = (size_t)ceil(rank * (double)num);
    return values[index ? index - 1 : 0];
}

static void on_step(const struct nano_step *step, void *user_data)
{
    struct nano_bench *bench = user_data;
    bench->last = *step;
    bench->last_positions = 0;
    if (bench->kv_token_bytes > 0)
        for (int i = 0; i < step->num_entries; i++)
            bench->last_positions += (uint64_t)step->entries[i].num_computed_tokens +
                                     (uint64_t)step->entries[i].num_scheduled_tokens;
}

void nano_bench_count(struct nano_bench *bench, const struct nano_output *output)
{
    bench->num_generated += (uint64_t)output->num_tokens;
    if (output->num_tokens > 0 && bench->first_token_ns == 0)
        bench->first_token_ns = nano_os_clock_ns();
    if (output->finish_reason == NANO_FINISH_ERROR)
        bench->error = *output->error;
}

static void count_only(const struct nano_output *output, void *user_data)
{
    nano_bench_count(user_data, output);
}

enum nano_status nano_bench_create(struct nano_bench *bench, nano_model *model,
                                   struct nano_engine_params *params, struct nano_error *err)
{
    *bench = (struct nano_bench){0};
    params->on_step = on_step;
    params->on_step_user_data = bench;
    enum nano_status status = nano_engine_create(&bench->engine, model, params, err);
    if (status != NANO_OK)
        return status;
    bench->lora = nano_cli_lora(params);
    bench->num_ops = nano_engine_get_profile(bench->engine, bench->seen_ops, NANO_BENCH_MAX_OPS);
    if (bench->num_ops > NANO_BENCH_MAX_OPS)
        bench->num_ops = NANO_BENCH_MAX_OPS;
    for (size_t i = 0; i < bench->num_ops; i++)
        for (int phase = 0; phase < NANO_BENCH_NUM_PHASES; phase++)
            bench->ops[phase][i].name = bench->seen_ops[i].name;
    bench->attention_op = 0;
    while (bench->attention_op < bench->num_ops &&
           strncmp(bench->seen_ops[bench->attention_op].name, "attention ", 10) != 0)
        bench->attention_op++;
    return NANO_OK;
}

void nano_bench_destroy(struct nano_bench *bench)
{
    nano_engine_destroy(bench->engine);
    bench->engine = NULL;
}

enum nano_status nano_bench_submit(struct nano_bench *bench, const int32_t *token_ids,
                                   int num_tokens, int max_tokens, nano_output_fn on_output,
                                   void *user_data, struct nano_error *err)
{
    struct nano_request request = nano_request_default();
    request.lora = bench->lora;
    request.prompt_token_ids = token_ids;
    request.num_prompt_token_ids = (size_t)num_tokens;
    request.sampling.max_tokens = max_tokens;
    request.sampling.temperature = 0;
    request.sampling.ignore_eos = true;
    request.sampling.detokenize = false;
    request.on_output = on_output ? on_output : count_only;
    request.user_data = on_output ? user_data : bench;
    return nano_engine_submit(bench->engine, &request, NULL, err);
}

enum nano_status nano_bench_submit_random(struct nano_bench *bench, uint64_t *rng,
                                          int64_t vocab_size, int num_tokens, int max_tokens,
                                          struct nano_error *err)
{
    int32_t *ids = nano_mem_alloc((size_t)num_tokens, sizeof *ids);
    if (!ids)
        return nano_error_no_memory(err, "a prompt", (size_t)num_tokens * sizeof *ids);
    for (int i = 0; i < num_tokens; i++)
        ids[i] = (int32_t)(nano_bench_random(rng) % (uint64_t)vocab_size);
    enum nano_status status =
        nano_bench_submit(bench, ids, num_tokens, max_tokens, NULL, NULL, err);
    nano_mem_free(ids);
    return status;
}

/* Charges what the ops did since the last step to its phase. */
static void add_profile(struct nano_bench *bench, enum nano_bench_phase phase)
{
    struct nano_op_profile now[NANO_BENCH_MAX_OPS];
    struct nano_bench_work *work = &bench->work[phase];
    if (bench->num_ops == 0)
        return;
    nano_engine_get_profile(bench->engine, now, bench->num_ops);
    for (size_t i = 0; i < bench->num_ops; i++) {
        const struct nano_op_profile *seen = &bench->seen_ops[i];
        struct nano_op_profile *sum = &bench->ops[phase][i];
        work->weight_bytes += now[i].weight_bytes - seen->weight_bytes;
        work->num_macs += now[i].num_macs - seen->num_macs;
        sum->count += now[i].count - seen->count;
        sum->total_ns += now[i].total_ns - seen->total_ns;
        sum->weight_bytes += now[i].weight_bytes - seen->weight_bytes;
        sum->num_macs += now[i].num_macs - seen->num_macs;
        bench->seen_ops[i] = now[i];
    }
}

/* A decode step counts what it brought, not the proposals that it tried. */
static void add_step(struct nano_bench *bench, uint64_t ns, uint64_t num_generated)
{
    const bool has_prefill = bench->last.num_prefill_tokens > 0;
    const enum nano_bench_phase phase = has_prefill ? NANO_BENCH_PREFILL : NANO_BENCH_DECODE;
    struct nano_bench_work *work = &bench->work[phase];
    if (!has_prefill && bench->last.num_decode_tokens == 0)
        return;
    work->ns += ns;
    work->num_steps++;
    work->num_tokens += has_prefill ? (uint64_t)bench->last.num_prefill_tokens : num_generated;
    work->kv_bytes += bench->last_positions * bench->kv_token_bytes;
    add_profile(bench, phase);
    if (bench->attention_op < bench->num_ops)
        bench->ops[phase][bench->attention_op].weight_bytes +=
            bench->last_positions * bench->kv_token_bytes;
}

void nano_bench_add_work(struct nano_bench_work *sum, const struct nano_bench_work *work)
{
    sum->ns += work->ns;
    sum->num_tokens += work->num_tokens;
    sum->num_steps += work->num_steps;
    sum->weight_bytes += work->weight_bytes;
    sum->kv_bytes += work->kv_bytes;
    sum->num_macs += work->num_macs;
}

void nano_bench_reset(struct nano_bench *bench)
{
    for (int phase = 0; phase < NANO_BENCH_NUM_PHASES; phase++)
        bench->work[phase] = (struct nano_bench_work){0};
}

enum nano_status nano_bench_run(struct nano_bench *bench, uint64_t num_expected,
                                struct nano_error *err)
{
    bool has_work = true;
    bench->num_generated = 0;
    while (has_work) {
        bench->last = (struct nano_step){0};
        uint64_t num_before = bench->num_generated;
        uint64_t start = nano_os_clock_ns();
        enum nano_status status = nano_engine_step(bench->engine, &has_work, err);
        uint64_t ns = nano_os_clock_ns() - start;
        if (status != NANO_OK)
            return status;
        add_step(bench, ns, bench->num_generated - num_before);
        if (nano_cli_interrupted())
            return nano_error_set(err, NANO_ERR_INTERNAL, "bench: interrupted");
    }
    if (bench->error.status != NANO_OK)
        return nano_error_set(err, bench->error.status, "%s", bench->error.message);
    if (bench->num_generated != num_expected)
        return nano_error_set(err, NANO_ERR_INTERNAL, "bench: %llu tokens generated, expected %llu",
                              (unsigned long long)bench->num_generated,
                              (unsigned long long)num_expected);
    return NANO_OK;
}
