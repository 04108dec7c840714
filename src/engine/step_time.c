/* Step time. */
#include "engine/step_time.h"

/* Weight of one more step. */
#define STEP_WEIGHT 0.125
/* How many rows squared of variance the time of a prefill token counts for as that of a row, until
 * decoding has shown another. */
#define PRIOR_VARIANCE 0.5
/* Below, a chunk costs a prompt more than it spares the others: most of a step's time does not
 * depend on it. Shorter ones say too little about the time of a token, too. */
#define MIN_CHUNK 16
/* A step that was held up counts as at most so many times what was expected. */
#define MAX_DEVIATION 4.0

static double token_ns(const struct nano_step_time *t)
{
    return t->prefill_tokens_sum > 0 ? t->prefill_ns_sum / t->prefill_tokens_sum : 0;
}

static double at_least(double x, double least)
{
    return x > least ? x : least;
}

static double at_most(double x, double most)
{
    return x < most ? x : most;
}

/* The slope of time over rows. */
static double row_ns(const struct nano_step_time *t)
{
    double ns = (t->rows_ns_covariance + PRIOR_VARIANCE * token_ns(t)) /
                (t->rows_variance + PRIOR_VARIANCE);
    return at_least(ns, 0);
}

static void add_rows(struct nano_step_time *t, double rows, double ns)
{
    double weight = t->rows > 0 ? STEP_WEIGHT : 1;
    if (t->rows > 0)
        ns = at_most(ns, MAX_DEVIATION * t->rows_ns * at_least(rows / t->rows, 1));
    double rows_off = rows - t->rows, ns_off = ns - t->rows_ns;
    t->rows += weight * rows_off;
    t->rows_ns += weight * ns_off;
    t->rows_variance += weight * ((1 - weight) * rows_off * rows_off - t->rows_variance);
    t->rows_ns_covariance += weight * ((1 - weight) * rows_off * ns_off - t->rows_ns_covariance);
}

static void add_decode(struct nano_step_time *t, int num_rows, int num_speculated, double ns)
{
    add_rows(t, num_rows, ns);
    double sample = at_least(ns - row_ns(t) * num_speculated, ns / 2);
    if (t->decode_ns > 0)
        sample = t->decode_ns +
                 STEP_WEIGHT * (at_most(sample, MAX_DEVIATION * t->decode_ns) - t->decode_ns);
    t->decode_ns = sample;
}

static void add_prefill(struct nano_step_time *t, int num_tokens, double ns)
{
    double sample = at_least(ns - t->decode_ns, ns / 4), expected = token_ns(t) * num_tokens;
    if (expected > 0)
        sample = at_most(sample, MAX_DEVIATION * expected);
    t->prefill_ns_sum += sample - STEP_WEIGHT * t->prefill_ns_sum;
    t->prefill_tokens_sum += num_tokens - STEP_WEIGHT * t->prefill_tokens_sum;
}

void nano_step_time_add(struct nano_step_time *t, int num_prefill_tokens, int num_decode_tokens,
                        int num_speculated, uint64_t ns)
{
    if (num_prefill_tokens == 0)
        add_decode(t, num_decode_tokens, num_speculated, (double)ns);
    else if (num_prefill_tokens >= MIN_CHUNK)
        add_prefill(t, num_prefill_tokens, (double)ns);
}

int nano_step_time_prefill_limit(const struct nano_step_time *t, double target_ns, int budget)
{
    double limit = token_ns(t) > 0 ? (target_ns - t->decode_ns) / token_ns(t) : 0;
    limit = at_most(at_least(limit, MIN_CHUNK), budget);
    return (int)limit;
}

double nano_step_time_row_cost(const struct nano_step_time *t, int num_seqs)
{
    double cost = row_ns(t) * num_seqs;
    double step_ns = at_least(t->rows_ns + row_ns(t) * (num_seqs - t->rows), cost);
    return t->rows > 0 && step_ns > 0 ? cost / step_ns : 0;
}
