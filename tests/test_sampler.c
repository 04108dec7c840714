/* Sampler: each rule on hand-made logits, and draws against the distribution they must follow. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "engine/sampler.h"

enum { VOCAB = 16 };

static struct nano_kernels kernels;
static struct nano_sampler sampler;
static struct nano_sampling_params params;
static struct nano_sampler_input input;
static int32_t tokens[64] = {1, 2, 3};

static void setup(void)
{
    struct nano_error err;
    nano_kernels_init(&kernels, nano_cpu_detect());
    cr_assert_eq(nano_sampler_init(&sampler, &kernels, VOCAB, 1, &err), NANO_OK);
    params = nano_sampling_params_default();
    input = (struct nano_sampler_input){
        .params = &params, .tokens = tokens, .num_prompt_tokens = 3, .num_tokens = 3};
}

static void teardown(void)
{
    nano_sampler_deinit(&sampler);
}

TestSuite(sampler, .init = setup, .fini = teardown);

/* logits[i] = base - 0.25 i, in an order that is not sorted */
static void fill(float *logits)
{
    for (int i = 0; i < VOCAB; i++)
        logits[(i * 7 + 5) % VOCAB] = 3.0f - 0.25f * (float)i;
}

static int rank_of(int32_t token)
{
    for (int i = 0; i < VOCAB; i++)
        if ((i * 7 + 5) % VOCAB == token)
            return i;
    return -1;
}

static int32_t sample(uint64_t seed)
{
    float logits[VOCAB];
    fill(logits);
    params.seed = seed;
    return nano_sampler_sample(&sampler, &input, logits, NULL, NULL);
}

static void draw_many(int *counts, int num_draws)
{
    memset(counts, 0, VOCAB * sizeof *counts);
    for (int i = 0; i < num_draws; i++)
        counts[rank_of(sample((uint64_t)i))]++;
}

/* Checks the counts against exp(-0.25 rank / temperature) over the first `kept` ranks. */
static void check_distribution(const int *counts, int num_draws, int kept, double temperature)
{
    double total = 0.0;
    for (int i = 0; i < kept; i++)
        total += exp(-0.25 * i / temperature);
    for (int i = 0; i < VOCAB; i++) {
        double expected = i < kept ? num_draws * exp(-0.25 * i / temperature) / total : 0.0;
        double deviation = 5.0 * sqrt(expected) + (i < kept ? 1.0 : 0.0);
        cr_assert(fabs(counts[i] - expected) <= deviation, "rank %d: %d draws, expected %.0f", i,
                  counts[i], expected);
    }
}

Test(sampler, greedy_takes_the_first_of_the_largest)
{
    float logits[VOCAB] = {0.0f, 5.0f, NAN, 5.0f, -INFINITY};
    params.temperature = 0.0f;
    cr_assert(nano_sampling_is_greedy(&params));
    cr_assert_eq(nano_sampler_sample(&sampler, &input, logits, NULL, NULL), 1);
}

Test(sampler, draws_follow_the_softmax)
{
    int counts[VOCAB];
    draw_many(counts, 40000);
    check_distribution(counts, 40000, VOCAB, 1.0);
    params.temperature = 0.5f;
    draw_many(counts, 40000);
    check_distribution(counts, 40000, VOCAB, 0.5);
}

Test(sampler, top_k_keeps_the_k_most_likely)
{
    int counts[VOCAB];
    params.top_k = 4;
    draw_many(counts, 20000);
    check_distribution(counts, 20000, 4, 1.0);
    params.top_k = 1;
    draw_many(counts, 100);
    cr_assert_eq(counts[0], 100);
}

Test(sampler, top_p_keeps_the_shortest_sufficient_head)
{
    int counts[VOCAB], kept = 0;
    double total = 0.0, sum = 0.0;
    for (int i = 0; i < VOCAB; i++)
        total += exp(-0.25 * i);
    while (sum < 0.7 * total)
        sum += exp(-0.25 * kept++);
    params.top_p = 0.7f;
    draw_many(counts, 20000);
    check_distribution(counts, 20000, kept, 1.0);
    params.top_p = 1e-6f;
    draw_many(counts, 100);
    cr_assert_eq(counts[0], 100);
}

Test(sampler, min_p_keeps_what_is_likely_enough)
{
    int counts[VOCAB];
    params.min_p = 0.3f; /* exp(-0.25 * 4) = 0.37, exp(-0.25 * 5) = 0.29 */
    draw_many(counts, 20000);
    check_distribution(counts, 20000, 5, 1.0);
    params.top_k = 3;
    draw_many(counts, 20000);
    check_distribution(counts, 20000, 3, 1.0);
}

Test(sampler, same_seed_same_draw_and_streams_differ)
{
    int same = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        int32_t first = sample(seed);
        cr_assert_eq(sample(seed), first);
        input.completion = 1;
        same += sample(seed) == first;
        input.completion = 0;
    }
    cr_assert_lt(same, 100, "completions must not repeat each other");
}

Test(sampler, penalties_are_those_of_the_papers)
{
    float logits[VOCAB];
    params.temperature = 0.0f;
    /* Token 1 stands in the prompt, token 4 three times in the output. */
    tokens[3] = tokens[4] = tokens[5] = 4;
    input.num_tokens = 6;
    fill(logits);
    logits[1] = 8.0f;
    logits[9] = 5.0f;
    cr_assert_eq(nano_sampler_sample(&sampler, &input, logits, NULL, NULL), 1);
    params.repetition_penalty = 2.0f;
    fill(logits);
    logits[1] = 8.0f;
    logits[9] = 5.0f;
    cr_assert_eq(nano_sampler_sample(&sampler, &input, logits, NULL, NULL), 9);
    cr_assert_float_eq(logits[1], 4.0f, 1e-6f);
    params.repetition_penalty = 1.0f;
    params.presence_penalty = 0.5f;
    params.frequency_penalty = 0.25f;
    fill(logits);
    float before = logits[4], prompt_only = logits[1];
    nano_sampler_sample(&sampler, &input, logits, NULL, NULL);
    cr_assert_float_eq(logits[4], before - 0.5f - 3 * 0.25f, 1e-6f);
    cr_assert_float_eq(logits[1], prompt_only, 1e-6f,
                       "the prompt does not count for presence and frequency");
    fill(logits);
    nano_sampler_sample(&sampler, &input, logits, NULL, NULL);
    cr_assert_float_eq(logits[4], before - 0.5f - 3 * 0.25f, 1e-6f,
                       "nothing is left over from the last call");
}

Test(sampler, bias_and_bans)
{
    float logits[VOCAB];
    params.temperature = 0.0f;
    const struct nano_logit_bias bias = {.token_id = 2, .bias = 100.0f};
    const int32_t banned[] = {2};
    params.logit_bias = &bias;
    params.num_logit_bias = 1;
    cr_assert_not(nano_sampling_is_greedy(&params));
    fill(logits);
    cr_assert_eq(nano_sampler_sample(&sampler, &input, logits, NULL, NULL), 2);
    input.banned = banned;
    input.num_banned = 1;
    fill(logits);
    cr_assert_eq(rank_of(nano_sampler_sample(&sampler, &input, logits, NULL, NULL)), 0);
}

Test(sampler, logprobs_are_of_the_unmodified_logits)
{
    float logits[VOCAB], raw[VOCAB];
    struct nano_token_logprobs out;
    struct nano_top_logprob top[VOCAB];
    const struct nano_logit_bias bias = {.token_id = 2, .bias = 100.0f};
    fill(raw);
    memcpy(logits, raw, sizeof raw);
    params.logit_bias = &bias;
    params.num_logit_bias = 1;
    params.logprobs = VOCAB;
    int32_t token = nano_sampler_sample(&sampler, &input, logits, &out, top);
    double total = 0.0;
    for (int i = 0; i < VOCAB; i++)
        total += exp((double)raw[i]);
    cr_assert_eq(token, 2);
    cr_assert_eq(out.token_id, 2);
    cr_assert_float_eq(out.logprob, (float)(raw[2] - log(total)), 1e-5f);
    cr_assert_eq(out.num_top, VOCAB);
    for (int i = 0; i < VOCAB; i++) {
        cr_assert_eq(rank_of(top[i].token_id), i);
        cr_assert_float_eq(top[i].logprob, (float)(raw[top[i].token_id] - log(total)), 1e-5f);
    }
}

Test(sampler, hopeless_logits_still_give_a_token)
{
    float logits[VOCAB];
    params.top_p = 0.5f;
    for (int i = 0; i < VOCAB; i++)
        logits[i] = NAN;
    int32_t token = nano_sampler_sample(&sampler, &input, logits, NULL, NULL);
    cr_assert(token >= 0 && token < VOCAB);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -INFINITY;
    token = nano_sampler_sample(&sampler, &input, logits, NULL, NULL);
    cr_assert(token >= 0 && token < VOCAB);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = i == 9 ? INFINITY : 0.0f;
    cr_assert_eq(nano_sampler_sample(&sampler, &input, logits, NULL, NULL), 9);
}

/* Known answers of Philox4x32-10 from the Random123 distribution (kat_vectors). */
Test(sampler, philox_known_answers)
{
    uint64_t out[2];
    nano_philox(0, 0, 0, out);
    cr_assert_eq((uint32_t)out[0], 0x6627e8d5u);
    cr_assert_eq((uint32_t)(out[0] >> 32), 0xe169c58du);
    cr_assert_eq((uint32_t)out[1], 0xbc57ac4cu);
    cr_assert_eq((uint32_t)(out[1] >> 32), 0x9b00dbd8u);
    nano_philox(~0ull, ~0ull, ~0ull, out);
    cr_assert_eq((uint32_t)out[0], 0x408f276du);
    cr_assert_eq((uint32_t)(out[0] >> 32), 0x41c83b0eu);
    cr_assert_eq((uint32_t)out[1], 0xa20bc7c6u);
    cr_assert_eq((uint32_t)(out[1] >> 32), 0x6d5451fdu);
}

Test(sampler, failed_allocation)
{
    struct nano_error err;
    for (uint64_t n = 1; n <= 9; n++) {
        struct nano_sampler broken;
        nano_mem_fail_after(n);
        cr_assert_eq(nano_sampler_init(&broken, &kernels, VOCAB, 2, &err), NANO_ERR_NO_MEMORY);
        nano_mem_fail_after(0);
    }
}
