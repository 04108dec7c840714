/* Bench serving: requests, time stamps in their callbacks, and what becomes of the samples. */
#include "cli/bench_serving.h"

#include "base/memory.h"
#include "base/os.h"

#define SEED 2

struct samples {
    double *values; /* seconds */
    size_t num;
};

struct serving;

struct stream {
    struct serving *serving;
    uint64_t submit_ns, last_ns;
    int num_tokens;
    bool arrives; /* while others decode */
};

struct serving {
    struct nano_bench *bench;
    const struct nano_bench_row *row;
    int64_t vocab_size;
    uint64_t rng;
    struct stream *streams; /* those that decode from the beginning, then those that arrive */
    int32_t *prompt;        /* room for the longest */
    int num_arrivals, num_arrived;
    uint64_t num_decoded; /* tokens of those that decode from the beginning */
    struct samples ttft, itl, itl_alone, rates, total_rates;
    struct samples *gaps; /* where the times between tokens go */
    uint64_t num_cached;
    uint64_t num_generated; /* in runs that count */
};

static void add_sample(struct samples *samples, double value)
{
    samples->values[samples->num++] = value;
}

static void random_tokens(struct serving *s, int32_t *out, int num)
{
    for (int i = 0; i < num; i++)
        out[i] = (int32_t)(nano_bench_random(&s->rng) % (uint64_t)s->vocab_size);
}

static void on_output(const struct nano_output *output, void *user_data);

/* Prompts are in s->prompt. */
static enum nano_status submit(struct serving *s, int index, bool arrives, int num_tokens,
                               int max_tokens, struct nano_error *err)
{
    s->streams[index] =
        (struct stream){.serving = s, .submit_ns = nano_os_clock_ns(), .arrives = arrives};
    return nano_bench_submit(s->bench, s->prompt, num_tokens, max_tokens, on_output,
                             &s->streams[index], err);
}

/* The k-th of n prompts arrives when k / (n + 1) of the tokens are decoded. */
static void submit_arrivals(struct serving *s)
{
    const uint64_t num_all = (uint64_t)s->row->batch * (uint64_t)s->row->num_decode;
    while (s->num_arrived < s->num_arrivals && s->num_decoded * (uint64_t)(s->num_arrivals + 1) >=
                                                   num_all * (uint64_t)(s->num_arrived + 1)) {
        struct nano_error err;
        random_tokens(s, s->prompt, s->row->num_tokens);
        if (submit(s, s->row->batch + s->num_arrived, true, s->row->num_tokens,
                   NANO_BENCH_ARRIVAL_TOKENS, &err) != NANO_OK)
            s->bench->error = err;
        s->num_arrived++;
    }
}

/* First tokens count for the requests whose prompts are measured, times between tokens for those
 * that decode from the beginning. */
static void on_output(const struct nano_output *output, void *user_data)
{
    struct stream *stream = user_data;
    struct serving *s = stream->serving;
    nano_bench_count(s->bench, output);
    if (output->finish_reason != NANO_FINISH_NONE)
        s->num_cached += (uint64_t)output->num_cached_tokens;
    if (output->num_tokens == 0)
        return;
    const uint64_t now = nano_os_clock_ns();
    const bool is_mixed = s->row->prefix_len == 0;
    if (stream->num_tokens > 0 && !stream->arrives)
        add_sample(s->gaps, (double)(now - stream->last_ns) / 1e9);
    else if (stream->num_tokens == 0 && (stream->arrives || !is_mixed))
        add_sample(&s->ttft, (double)(now - stream->submit_ns) / 1e9);
    stream->num_tokens += output->num_tokens;
    stream->last_ns = now;
    if (!stream->arrives)
        s->num_decoded += (uint64_t)output->num_tokens;
    submit_arrivals(s);
}

static enum nano_status run(struct serving *s, uint64_t num_prompt_tokens, uint64_t num_expected,
                            uint64_t start_ns, struct nano_error *err)
{
    enum nano_status status = nano_bench_run(s->bench, num_expected, err);
    const double seconds = (double)(nano_os_clock_ns() - start_ns) / 1e9;
    if (status != NANO_OK)
        return status;
    s->num_generated += num_expected;
    add_sample(&s->rates, (double)num_expected / seconds);
    add_sample(&s->total_rates, (double)(num_expected + num_prompt_tokens) / seconds);
    return NANO_OK;
}

static enum nano_status run_mixed(struct serving *s, int num_arrivals, struct nano_error *err)
{
    const struct nano_bench_row *row = s->row;
    const uint64_t start = nano_os_clock_ns();
    s->num_arrivals = num_arrivals;
    s->num_arrived = 0;
    s->num_decoded = 0;
    s->gaps = num_arrivals ? &s->itl : &s->itl_alone;
    for (int i = 0; i < row->batch; i++) {
        random_tokens(s, s->prompt, row->context);
        enum nano_status status = submit(s, i, false, row->context, row->num_decode, err);
        if (status != NANO_OK)
            return status;
    }
    return run(s,
               (uint64_t)row->batch * (uint64_t)row->context +
                   (uint64_t)num_arrivals * (uint64_t)row->num_tokens,
               (uint64_t)row->batch * (uint64_t)row->num_decode +
                   (uint64_t)num_arrivals * NANO_BENCH_ARRIVAL_TOKENS,
               start, err);
}

static enum nano_status run_shared_prefix(struct serving *s, struct nano_error *err)
{
    const struct nano_bench_row *row = s->row;
    const int num_tokens = row->prefix_len + row->num_tokens;
    const uint64_t start = nano_os_clock_ns();
    s->gaps = &s->itl;
    s->num_cached = 0;
    random_tokens(s, s->prompt, row->prefix_len);
    for (int i = 0; i < row->batch; i++) {
        random_tokens(s, s->prompt + row->prefix_len, row->num_tokens);
        enum nano_status status = submit(s, i, false, num_tokens, row->num_decode, err);
        if (status != NANO_OK)
            return status;
    }
    return run(s, (uint64_t)row->batch * (uint64_t)num_tokens,
               (uint64_t)row->batch * (uint64_t)row->num_decode, start, err);
}

/* Room for the samples of all repetitions, so that callbacks allocate nothing. */
static enum nano_status allocate(struct serving *s, size_t num_repeats, struct nano_error *err)
{
    const struct nano_bench_row *row = s->row;
    const size_t num_streams = (size_t)row->batch + NANO_BENCH_NUM_ARRIVALS;
    const size_t num_gaps = num_repeats * (size_t)row->batch * (size_t)row->num_decode;
    const int prompt = row->prefix_len + row->num_tokens;
    s->streams = nano_mem_calloc(num_streams, sizeof *s->streams);
    s->prompt =
        nano_mem_calloc((size_t)(prompt > row->context ? prompt : row->context), sizeof *s->prompt);
    s->ttft.values = nano_mem_calloc(num_repeats * num_streams, sizeof(double));
    s->itl.values = nano_mem_calloc(num_gaps, sizeof(double));
    s->itl_alone.values = nano_mem_calloc(num_gaps, sizeof(double));
    s->rates.values = nano_mem_calloc(num_repeats, sizeof(double));
    s->total_rates.values = nano_mem_calloc(num_repeats, sizeof(double));
    if (!s->streams || !s->prompt || !s->ttft.values || !s->itl.values || !s->itl_alone.values ||
        !s->rates.values || !s->total_rates.values)
        return nano_error_no_memory(err, "the times of tokens", 2 * num_gaps * sizeof(double));
    return NANO_OK;
}

static void release(struct serving *s)
{
    nano_mem_free(s->streams);
    nano_mem_free(s->prompt);
    nano_mem_free(s->ttft.values);
    nano_mem_free(s->itl.values);
    nano_mem_free(s->itl_alone.values);
    nano_mem_free(s->rates.values);
    nano_mem_free(s->total_rates.values);
}

static struct nano_bench_times summary(struct samples *samples)
{
    return (struct nano_bench_times){nano_bench_median(samples->values, samples->num),
                                     nano_bench_percentile(samples->values, samples->num, 0.99)};
}

static void finish(struct serving *s, struct nano_bench_row *row)
{
    row->tokens_per_s = nano_bench_median(s->rates.values, s->rates.num);
    row->min = s->rates.values[0];
    row->max = s->rates.values[s->rates.num - 1];
    row->total_tokens_per_s = nano_bench_median(s->total_rates.values, s->total_rates.num);
    row->ttft = summary(&s->ttft);
    row->itl = summary(&s->itl);
    row->itl_alone = summary(&s->itl_alone);
    row->num_cached = s->num_cached;
    row->work.num_tokens = s->num_generated;
}

static void add_work(struct nano_bench_row *row, const struct nano_bench *bench)
{
    for (int phase = 0; phase < NANO_BENCH_NUM_PHASES; phase++)
        nano_bench_add_work(&row->work, &bench->work[phase]);
}

enum nano_status nano_bench_mixed(struct nano_bench *bench, int num_repeats, int64_t vocab_size,
                                  struct nano_bench_row *row, struct nano_error *err)
{
    struct serving s = {.bench = bench, .row = row, .vocab_size = vocab_size, .rng = SEED};
    enum nano_status status;
    row->num_prompts = NANO_BENCH_NUM_ARRIVALS;
    NANO_TRY(allocate(&s, (size_t)num_repeats, err));
    for (int r = 0; r < num_repeats; r++) {
        NANO_TRY(run_mixed(&s, 0, err));
        s.rates.num--; /* what counts are the runs with prompts */
        s.total_rates.num--;
        s.num_generated -= bench->num_generated;
        nano_bench_reset(bench);
        NANO_TRY(run_mixed(&s, NANO_BENCH_NUM_ARRIVALS, err));
        add_work(row, bench);
    }
    finish(&s, row);
fail:
    release(&s);
    return status;
}

enum nano_status nano_bench_shared_prefix(struct nano_bench *bench, int num_repeats,
                                          int64_t vocab_size, struct nano_bench_row *row,
                                          struct nano_error *err)
{
    struct serving s = {.bench = bench, .row = row, .vocab_size = vocab_size, .rng = SEED};
    enum nano_status status;
    NANO_TRY(allocate(&s, (size_t)num_repeats, err));
    nano_bench_reset(bench);
    for (int r = 0; r < num_repeats; r++)
        NANO_TRY(run_shared_prefix(&s, err));
    add_work(row, bench);
    finish(&s, row);
fail:
    release(&s);
    return status;
}
