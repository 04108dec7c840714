/* Sampling on the emulated GPU: each token is the one that the engine's sampler draws. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "engine/sampler.h"
#include "engine_harness.h"
#include "runner/cuda/cuda_sample.h"
#include "tests/cuda/fake_device.h"

enum { ROWS = 24 };

/* Rows of logits, how their tokens are chosen, and the tokens. */
struct job {
    struct nano_cuda_device *device;
    struct nano_sampler sampler;
    struct nano_kernels kernels;
    struct nano_cuda_sample_args args;
    float *logits;
    struct nano_draw draws[ROWS];
    struct nano_cuda_draw *choices;
    int32_t *tokens;
    int width;
};

static void *alloc(struct nano_cuda_device *device, size_t num_bytes)
{
    void *memory;
    struct nano_error err;
    cr_assert_eq(nano_cuda_device_alloc(device, &memory, num_bytes, "test", &err), NANO_OK);
    return memory;
}

static void open_job(struct job *job, int width)
{
    struct nano_error err;
    const int64_t stride = width + 3;
    *job = (struct job){.width = width};
    cr_assert_eq(nano_cuda_device_open(&job->device, 0, &err), NANO_OK);
    nano_kernels_init(&job->kernels, NANO_CPU_REF);
    cr_assert_eq(nano_sampler_init(&job->sampler, &job->kernels, width, 1, &err), NANO_OK);
    job->logits = alloc(job->device, ROWS * (size_t)stride * sizeof *job->logits);
    job->choices = alloc(job->device, ROWS * sizeof *job->choices);
    job->tokens = alloc(job->device, ROWS * sizeof *job->tokens);
    job->args = (struct nano_cuda_sample_args){
        {job->logits, stride}, width, job->choices, job->tokens, ROWS};
}

static void close_job(struct job *job)
{
    nano_cuda_device_free(job->device, job->logits);
    nano_cuda_device_free(job->device, job->choices);
    nano_cuda_device_free(job->device, job->tokens);
    nano_cuda_device_close(job->device);
    nano_sampler_deinit(&job->sampler);
    cr_expect_eq(fake_device.live_allocations, 0);
}

static float *row_of(const struct job *job, int row)
{
    return job->logits + row * job->args.logits.stride;
}

/* Runs the job and compares; the rest of the memory is as it was. */
static void check(struct job *job)
{
    for (int i = 0; i < ROWS; i++)
        job->tokens[i] = -7;
    nano_cuda_sample(job->device, &job->args);
    for (int i = 0; i < ROWS; i++) {
        const struct nano_draw *d = &job->draws[i];
        int32_t expected = -7;
        if (job->choices[i].choice == NANO_CUDA_CHOICE_GREEDY)
            expected = (int32_t)job->kernels.argmax(row_of(job, i), job->width);
        else if (job->choices[i].choice == NANO_CUDA_CHOICE_DRAW)
            expected = nano_sampler_draw(&job->sampler, d, row_of(job, i));
        cr_assert_eq(job->tokens[i], expected,
                     "row %d of %d: token %d, expected %d (temperature %g, top-k %d, top-p %.8g, "
                     "min-p %g, %.17g)",
                     i, job->width, job->tokens[i], expected, (double)d->temperature, d->top_k,
                     (double)d->top_p, (double)d->min_p, d->uniform);
    }
}

static float random_normal(uint64_t *random)
{
    float x = 0.0f;
    for (int k = 0; k < 4; k++)
        x += (float)harness_random(random, 100001) / 50000.0f - 1.0f;
    return x;
}

/* Peaked and flat, with ties, with tokens that cannot be drawn. */
static void fill(float *logits, int n, int kind, uint64_t *random)
{
    static const float widths[] = {3.0f, 0.01f, 1.0f, 40.0f};
    const float offset = kind % 5 == 4 ? 100.0f : 0.0f, width = widths[kind % 4];
    for (int i = 0; i < n; i++) {
        logits[i] = offset + random_normal(random) * width;
        if (kind / 4 % 3 == 1)
            logits[i] = rintf(logits[i]);
        if (kind / 4 % 3 == 2 && harness_random(random, 9) == 0)
            logits[i] = harness_random(random, 3) ? -INFINITY : NAN;
        if (kind % 11 == 7)
            logits[i] = harness_random(random, 2) ? -0.0f : 0.0f;
        if (kind % 11 == 8)
            logits[i] = i % 97 ? (float)(i % 3) * -1e-7f : -INFINITY;
    }
    for (int i = 0; i < 20 && kind % 3 == 1; i++)
        logits[harness_random(random, (uint32_t)n)] += 7.0f * width;
    if (kind % 13 == 6)
        logits[harness_random(random, (uint32_t)n)] = 1e30f;
}

static void choose(struct nano_draw *d, uint64_t *random)
{
    static const float temperatures[] = {1.0f, 0.8f, 0.1f, 3.0f, 1e-3f, 1e4f};
    static const int top_ks[] = {0, 0, 1, 2, 40, 64, 1000, 1024};
    static const float top_ps[] = {1.0f, 1.0f, 0.95f, 0.5f, 0.9999f, 1e-6f, 0.99999994f};
    static const float min_ps[] = {0.0f, 0.0f, 0.0f, 0.05f, 1.0f, 1e-4f};
    d->temperature = temperatures[harness_random(random, 6)];
    d->top_k = top_ks[harness_random(random, 8)];
    d->top_p = top_ps[harness_random(random, 7)];
    d->min_p = min_ps[harness_random(random, 6)];
    if (d->top_p < 1.0f && harness_random(random, 4) == 0)
        d->top_k = 2000;
    d->uniform = ((double)harness_random(random, 1u << 30) + 0.5) * 0x1p-30;
    if (harness_random(random, 16) == 0)
        d->uniform = harness_random(random, 2) ? 1e-6 : 1.0 - 1e-6;
}

static void check_width(int width, int num_jobs)
{
    struct job job;
    uint64_t random = (uint64_t)width;
    open_job(&job, width);
    for (int n = 0; n < num_jobs; n++) {
        for (int i = 0; i < ROWS; i++) {
            fill(row_of(&job, i), width, n * ROWS + i, &random);
            choose(&job.draws[i], &random);
            job.choices[i] = nano_cuda_draw_make(&job.draws[i]);
            if (harness_random(&random, 10) == 0)
                job.choices[i].choice = (int)harness_random(&random, 2);
        }
        nano_emulated_set_order(n % 3);
        check(&job);
    }
    close_job(&job);
}

Test(cuda_sample, tokens_are_those_of_the_sampler)
{
    static const int widths[] = {5, 31, 32, 33, 500, 1024, 1025, 2999};
    for (int i = 0; i < 8; i++)
        check_width(widths[i], 4);
}

Test(cuda_sample, tokens_of_a_large_vocabulary_are_those_of_the_sampler)
{
    check_width(50000, 2);
}

/* All have the weight 1, so every sum is exact, and the ends of the range are sharp. */
Test(cuda_sample, equal_logits_are_drawn_to_the_last_bit)
{
    static const double uniforms[] = {0.0, 1.0 - 0x1p-53, 0.5, 0.25 - 0x1p-54, 1.0 / 3.0, 0.875};
    struct job job;
    open_job(&job, 1500);
    for (int i = 0; i < ROWS; i++) {
        for (int k = 0; k < job.width; k++)
            row_of(&job, i)[k] = -2.5f;
        job.draws[i] = (struct nano_draw){0.7f, i % 4 == 1 ? 8 : 0, i % 4 == 2 ? 0.5f : 1.0f, 0.0f,
                                          uniforms[i / 4]};
        if (i % 4 == 3) {
            job.draws[i].top_k = 1200;
            job.draws[i].top_p = 0.75f;
        }
        job.choices[i] = nano_cuda_draw_make(&job.draws[i]);
    }
    check(&job);
    cr_expect_eq(job.tokens[0], 0);
    cr_expect_eq(job.tokens[4], 1499);
    cr_expect_eq(job.tokens[2], 749, "the last of those that top-p keeps comes first");
    cr_expect_eq(job.tokens[3], 899);
    cr_expect_eq(job.tokens[7], 0);
    close_job(&job);
}

Test(cuda_sample, where_nothing_can_be_drawn_the_best_is_taken)
{
    struct job job;
    open_job(&job, 1030);
    for (int i = 0; i < ROWS; i++) {
        float *row = row_of(&job, i);
        for (int k = 0; k < job.width; k++)
            row[k] = i % 4 == 0 ? NAN : i % 4 == 3 ? -1.0f : -INFINITY;
        if (i % 4 == 2)
            row[77] = row[1029] = INFINITY;
        if (i % 4 == 1)
            row[0] = NAN;
        job.draws[i] =
            (struct nano_draw){1.0f, i / 4 % 2 ? 3 : 0, i / 8 % 2 ? 0.5f : 1.0f, 0.0f, 0.9};
        if (i % 4 == 3)
            job.draws[i].temperature = 1e-40f;
        job.choices[i] = nano_cuda_draw_make(&job.draws[i]);
    }
    check(&job);
    for (int i = 0; i < ROWS; i++)
        cr_expect_eq(job.tokens[i], i % 4 == 1 ? 1 : i % 4 == 2 ? 77 : 0);
    close_job(&job);
}

Test(cuda_sample, neither_turns_nor_other_rows_change_a_token)
{
    struct job job;
    int32_t tokens[ROWS];
    uint64_t random = 5;
    open_job(&job, 3000);
    for (int i = 0; i < ROWS; i++) {
        fill(row_of(&job, i), job.width, i, &random);
        choose(&job.draws[i], &random);
        job.choices[i] = nano_cuda_draw_make(&job.draws[i]);
    }
    nano_cuda_sample(job.device, &job.args);
    memcpy(tokens, job.tokens, sizeof tokens);
    for (int order = 0; order < 3; order++) {
        nano_emulated_set_order(order);
        nano_cuda_sample(job.device, &job.args);
        cr_assert_eq(memcmp(tokens, job.tokens, sizeof tokens), 0, "order %d", order);
    }
    for (int i = 0; i < ROWS; i += 5) {
        struct nano_cuda_sample_args one = job.args;
        one.logits.data = row_of(&job, i);
        one.draws = job.choices + i;
        one.rows = 1;
        nano_cuda_sample(job.device, &one);
        cr_assert_eq(job.tokens[0], tokens[i]);
    }
    close_job(&job);
}

/* Pearson's statistic of draws from 12 logits that lie 0.25 apart, of which the first are kept. */
static double chi_square(struct job *job, const struct nano_draw *draw, int num_kept, uint64_t seed)
{
    enum { NUM_LAUNCHES = 20 };
    int counts[12] = {0};
    double total = 0.0, sum = 0.0;
    for (int i = 0; i < num_kept; i++)
        total += exp(-0.25 * i / (double)draw->temperature);
    for (int n = 0; n < NUM_LAUNCHES; n++) {
        for (int i = 0; i < ROWS; i++) {
            job->draws[i] = *draw;
            job->draws[i].uniform = (double)harness_random(&seed, 1u << 31) * 0x1p-31;
            job->choices[i] = nano_cuda_draw_make(&job->draws[i]);
        }
        nano_cuda_sample(job->device, &job->args);
        for (int i = 0; i < ROWS; i++)
            counts[job->tokens[i] * 5 % 12]++;
    }
    for (int i = 0; i < 12; i++) {
        const double expected =
            i < num_kept ? NUM_LAUNCHES * ROWS * exp(-0.25 * i / (double)draw->temperature) / total
                         : 0.0;
        if (i >= num_kept)
            cr_assert_eq(counts[i], 0);
        else
            sum += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    return sum;
}

Test(cuda_sample, draws_are_as_frequent_as_likely)
{
    struct job job;
    open_job(&job, 12);
    for (int i = 0; i < ROWS; i++)
        for (int rank = 0; rank < 12; rank++)
            row_of(&job, i)[rank * 5 % 12] = 3.0f - 0.25f * (float)rank;
    /* A true sampler is above these bounds once in a thousand times: 11, 5 and 3 degrees of
     * freedom. */
    cr_expect_lt(chi_square(&job, &(struct nano_draw){1.0f, 0, 1.0f, 0.0f, 0}, 12, 1), 31.3);
    cr_expect_lt(chi_square(&job, &(struct nano_draw){0.5f, 6, 1.0f, 0.0f, 0}, 6, 2), 20.5);
    cr_expect_lt(chi_square(&job, &(struct nano_draw){1.0f, 0, 0.6f, 0.0f, 0}, 4, 3), 16.3);
    close_job(&job);
}
