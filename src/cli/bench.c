/* Bench: timing of steps. */
#include "cli/bench.h"

#include <stdlib.h>

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

static void on_step(const struct nano_step *step, void *user_data)
{
    struct nano_bench *bench = user_data;
    bench->last = *step;
}

static void on_output(const struct nano_output *output, void *user_data)
{
    struct nano_bench *bench = user_data;
    bench->num_generated += (uint64_t)output->num_tokens;
    if (output->finish_reason == NANO_FINISH_ERROR)
        bench->error = *output->error;
}

enum nano_status nano_bench_create(struct nano_bench *bench, nano_model *model,
                                   struct nano_engine_params *params, struct nano_error *err)
{
    *bench = (struct nano_bench){0};
    params->on_step = on_step;
    params->on_step_user_data = bench;
    return nano_engine_create(&bench->engine, model, params, err);
}

void nano_bench_destroy(struct nano_bench *bench)
{
    nano_engine_destroy(bench->engine);
    bench->engine = NULL;
}

enum nano_status nano_bench_submit(struct nano_bench *bench, uint64_t *rng, int64_t vocab_size,
                                   int num_prompt, int max_tokens, struct nano_error *err)
{
    int32_t *ids = nano_mem_alloc((size_t)num_prompt, sizeof *ids);
    if (!ids)
        return nano_error_no_memory(err, "a prompt", (size_t)num_prompt * sizeof *ids);
    for (int i = 0; i < num_prompt; i++)
        ids[i] = (int32_t)(nano_bench_random(rng) % (uint64_t)vocab_size);
    struct nano_request request = nano_request_default();
    request.prompt_token_ids = ids;
    request.num_prompt_token_ids = (size_t)num_prompt;
    request.sampling.max_tokens = max_tokens;
    request.sampling.temperature = 0;
    request.sampling.ignore_eos = true;
    request.sampling.detokenize = false;
    request.on_output = on_output;
    request.user_data = bench;
    enum nano_status status = nano_engine_submit(bench->engine, &request, NULL, err);
    nano_mem_free(ids);
    return status;
}

enum nano_status nano_bench_run(struct nano_bench *bench, uint64_t num_expected,
                                struct nano_bench_times *out, struct nano_error *err)
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
        if (bench->last.num_prefill_tokens > 0) {
            out->prefill_ns += ns;
            out->num_prefill_tokens += (uint64_t)bench->last.num_prefill_tokens;
        } else if (bench->last.num_decode_tokens > 0) {
            out->decode_ns += ns;
            out->num_decode_tokens += bench->num_generated - num_before;
        }
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
