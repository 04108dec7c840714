/* Processor time to sample one row of logits of a large vocabulary, for common settings.
 *
 *   bench_sampler [SECONDS]      per setting, default 0.3 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/sampler.h"

enum { VOCABULARY = 151936, NUM_ROWS = 8 };

struct setting {
    const char *name;
    float temperature;
    int top_k;
    float top_p, min_p;
    int logprobs;
};

static const struct setting settings[] = {
    {"temp 0.8 top-k 40 top-p 0.95 min-p 0.05", 0.8f, 40, 0.95f, 0.05f, -1},
    {"temp 0.8 top-k 40 top-p 0.95", 0.8f, 40, 0.95f, 0.0f, -1},
    {"temp 0.8 top-p 0.95", 0.8f, 0, 0.95f, 0.0f, -1},
    {"temp 0.8 min-p 0.05", 0.8f, 0, 1.0f, 0.05f, -1},
    {"temp 1", 1.0f, 0, 1.0f, 0.0f, -1},
    {"temp 0 logprobs 5", 0.0f, 0, 1.0f, 0.0f, 5},
    {"temp 0.8 top-p 0.95 logprobs 5", 0.8f, 0, 0.95f, 0.0f, 5},
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double random_unit(uint64_t *state)
{
    uint64_t out[2];
    nano_philox(7, 0, (*state)++, out);
    return (double)(out[0] >> 11) * 0x1p-53;
}

/* A bell curve of width 2.5 and, for a model that knows something, 60 tokens that stand out. */
static void fill(float *logits, bool is_peaked, uint64_t *state)
{
    for (int i = 0; i < VOCABULARY; i++) {
        double sum = 0;
        for (int k = 0; k < 6; k++)
            sum += random_unit(state) - 0.5;
        logits[i] = (float)(sum * 3.5);
    }
    for (int i = 0; i < 60 && is_peaked; i++)
        logits[(int)(random_unit(state) * VOCABULARY)] = (float)(18.0 - 2.0 * log(1 + i));
}

static double time_row(struct nano_sampler *sampler, const struct setting *setting,
                       const float *rows, float *row, double seconds)
{
    struct nano_sampling_params params = nano_sampling_params_default();
    struct nano_token_logprobs logprobs;
    struct nano_top_logprob top[8];
    static const int32_t tokens[1] = {1};
    params.temperature = setting->temperature;
    params.top_k = setting->top_k;
    params.top_p = setting->top_p;
    params.min_p = setting->min_p;
    params.logprobs = setting->logprobs;
    struct nano_sampler_input input = {
        .params = &params, .tokens = tokens, .num_prompt_tokens = 1, .num_tokens = 1};
    double spent = 0;
    int count = 0;
    for (; spent < seconds; count++) {
        memcpy(row, rows + (size_t)(count % NUM_ROWS) * VOCABULARY, VOCABULARY * sizeof *row);
        params.seed = (uint64_t)count;
        double start = now();
        nano_sampler_sample(sampler, &input, row, &logprobs, top);
        spent += now() - start;
    }
    return spent * 1e6 / count;
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 0.3;
    struct nano_kernels kernels;
    struct nano_sampler sampler;
    struct nano_error err;
    uint64_t state = 1;
    float *rows = malloc((size_t)2 * NUM_ROWS * VOCABULARY * sizeof *rows);
    float *row = malloc(VOCABULARY * sizeof *row);
    nano_kernels_init(&kernels, nano_cpu_detect());
    if (!rows || !row || nano_sampler_init(&sampler, &kernels, VOCABULARY, 1, &err) != NANO_OK)
        return 1;
    for (int i = 0; i < 2 * NUM_ROWS; i++)
        fill(rows + (size_t)i * VOCABULARY, i < NUM_ROWS, &state);
    printf("%s, %d tokens, us per row\n%-42s%10s%10s\n", kernels.name, VOCABULARY, "", "peaked",
           "flat");
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        double peaked = time_row(&sampler, &settings[i], rows, row, seconds);
        double flat =
            time_row(&sampler, &settings[i], rows + (size_t)NUM_ROWS * VOCABULARY, row, seconds);
        printf("%-42s%10.1f%10.1f\n", settings[i].name, peaked, flat);
    }
    nano_sampler_deinit(&sampler);
    free(rows);
    free(row);
    return 0;
}
