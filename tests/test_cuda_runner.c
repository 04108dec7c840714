/* CUDA runner on the emulated GPU: engines with it, what it takes of memory, graphs, products by
 * cuBLASLt, and what goes wrong. Goldens and architectures are other tests', built for it too. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_state.h"
#include "runner/cuda/cuda_runner.h"
#include "runner/cuda/cuda_state.h"
#include "tests/cuda/fake_device.h"
#include "tests/engine_harness.h"
#include "tests/runner_harness.h"
#include "tests/tiny_model.h"

static struct nano_error err;

static nano_model *open_built_in(void)
{
    nano_model *model;
    cr_assert_eq(nano_model_open(&model, NULL, &err), NANO_OK, "%s", err.message);
    return model;
}

static struct nano_engine_params params_of(const char *runner)
{
    struct nano_engine_params params = nano_engine_params_default();
    params.runner = runner;
    params.max_model_len = 128;
    params.max_num_seqs = 8;
    params.max_num_batched_tokens = 64;
    params.num_blocks = 40;
    params.block_size = 16;
    return params;
}

/* ---- what comes out ---- */

static const char *const prompts[] = {"Once upon a time",         "Lily and Tom", "The little dog",
                                      "One day, a boy named Tim", "The sun was",  "Mia loved"};
enum { NUM_PROMPTS = sizeof prompts / sizeof *prompts, NUM_TOKENS = 16 };

static struct client client_of(const char *prompt)
{
    return (struct client){.request = {.prompt = prompt,
                                       .prompt_bytes = strlen(prompt),
                                       .encode_flags = NANO_ENCODE_ADD_SPECIAL,
                                       .sampling = nano_sampling_params_default()}};
}

static void generate(nano_model *model, const struct nano_engine_params *params, bool together,
                     float temperature, struct client *clients)
{
    nano_engine *engine = harness_engine(model, params);
    for (int i = 0; i < NUM_PROMPTS; i++) {
        clients[i] = client_of(prompts[i]);
        clients[i].request.sampling.max_tokens = NUM_TOKENS;
        clients[i].request.sampling.temperature = temperature;
        clients[i].request.sampling.has_seed = true;
        clients[i].request.sampling.seed = (uint64_t)i;
        clients[i].request.sampling.top_p = i % 2 ? 0.9f : 1;
        clients[i].request.sampling.top_k = i % 3 ? 0 : 20;
        clients[i].request.sampling.logprobs = i == 4 ? 2 : -1; /* its logits come to the host */
        harness_submit(&clients[i], engine);
        if (!together)
            nano_engine_wait_idle(engine);
    }
    nano_engine_wait_idle(engine);
    nano_engine_destroy(engine);
}

static void expect_equal(struct client *got, struct client *expected, const char *what)
{
    for (int i = 0; i < NUM_PROMPTS; i++) {
        cr_expect_gt(got[i].completions[0].num_tokens, 5, "%s", what);
        cr_expect_str_eq(got[i].completions[0].text, expected[i].completions[0].text, "%s: \"%s\"",
                         what, prompts[i]);
        client_reset(&got[i]);
    }
}

static void forget(struct client *clients)
{
    for (int i = 0; i < NUM_PROMPTS; i++)
        client_reset(&clients[i]);
}

/* As F32, for the CPU's kernels round what they multiply quantised weights with. */
Test(cuda_runner, greedy_text_is_the_cpu_runners)
{
    struct client expected[NUM_PROMPTS], got[NUM_PROMPTS];
    nano_model *model = open_built_in();
    tiny_model_dequantize(&model->weights);
    struct nano_engine_params params = params_of("cpu");
    generate(model, &params, true, 0, expected);
    params.runner = "cuda";
    generate(model, &params, true, 0, got);
    expect_equal(got, expected, "F32");
    forget(expected);
    nano_model_close(model);
}

/* One after the other, together, by graphs or not; drawn on the device or, as logits, on the host.
 */
Test(cuda_runner, the_same_tokens_whatever_the_batch)
{
    nano_model *model = open_built_in();
    struct nano_engine_params params = params_of("cuda");
    for (int sampled = 0; sampled < 2; sampled++) {
        const float temperature = sampled ? 0.8f : 0;
        struct client alone[NUM_PROMPTS], got[NUM_PROMPTS];
        generate(model, &params, false, temperature, alone);
        fake_device.num_graph_launches = 0;
        generate(model, &params, true, temperature, got);
        expect_equal(got, alone, "together");
        cr_expect_gt(fake_device.num_graph_launches, 0);
        fake_device.num_graph_launches = 0;
        params.enforce_eager = true;
        generate(model, &params, true, temperature, got);
        expect_equal(got, alone, "eager");
        cr_expect_eq(fake_device.num_graph_launches, 0);
        params.enforce_eager = false;
        params.max_num_batched_tokens = 11; /* prompts in pieces */
        generate(model, &params, true, temperature, got);
        expect_equal(got, alone, "in pieces");
        params = params_of("cuda");
        forget(alone);
    }
    nano_model_close(model);
    cr_expect_eq(fake_device.live_allocations, 0);
}

/* ---- batches that are begun ---- */

static uint64_t generate_ahead(nano_model *model, const struct nano_engine_params *params,
                               float temperature, struct client *clients)
{
    nano_engine *engine = harness_engine(model, params);
    for (int i = 0; i < NUM_PROMPTS; i++) {
        clients[i] = client_of(prompts[i]);
        struct nano_sampling_params *p = &clients[i].request.sampling;
        p->max_tokens = NUM_TOKENS - 2 * i;
        p->temperature = i == 3 ? 0 : temperature;
        p->has_seed = true;
        p->seed = (uint64_t)i;
        p->n = i == 1 ? 2 : 1;
        harness_submit(&clients[i], engine);
    }
    nano_engine_wait_idle(engine);
    const uint64_t num_ahead = engine->num_steps_ahead;
    nano_engine_destroy(engine);
    return num_ahead;
}

/* Also when the device does nothing before it is waited for, and by no graph. */
Test(cuda_runner, steps_that_are_begun_ahead_change_no_token)
{
    nano_model *model = open_built_in();
    struct nano_engine_params params = params_of("cuda");
    params.block_size = 4;
    params.num_blocks = 60;
    for (int sampled = 0; sampled < 2; sampled++) {
        const float temperature = sampled ? 0.8f : 0;
        struct client expected[NUM_PROMPTS], got[NUM_PROMPTS];
        params.async_scheduling = false;
        cr_expect_eq(generate_ahead(model, &params, temperature, expected), 0);
        params.async_scheduling = true;
        for (int late = 0; late < 2; late++) {
            fake_device.is_late = late;
            const uint64_t num_ahead = generate_ahead(model, &params, temperature, got);
            fake_device.is_late = false;
            cr_expect_gt(num_ahead, 8, "%d", (int)num_ahead);
            for (int i = 0; i < NUM_PROMPTS; i++) {
                client_compare(&got[i], &expected[i], false);
                client_reset(&got[i]);
            }
        }
        for (int i = 0; i < NUM_PROMPTS; i++)
            client_reset(&expected[i]);
    }
    params.enforce_eager = true;
    struct client got[NUM_PROMPTS];
    cr_expect_eq(generate_ahead(model, &params, 0, got), 0);
    forget(got);
    nano_model_close(model);
    cr_expect_eq(fake_device.live_allocations, 0);
}

/* A runner and sequences of one token each; a step more for all of them is a batch. */
struct rows {
    void *state;
    int count;
    int32_t *tokens, *tables;
    struct nano_batch_seq *seqs;
    struct nano_batch_output *outputs;
};

static void rows_open(struct rows *rows, const struct nano_program *program, int count)
{
    struct nano_runner_config config = {.program = program,
                                        .num_threads = 1,
                                        .max_num_batched_tokens = count,
                                        .max_num_seqs = count,
                                        .max_model_len = 16,
                                        .block_size = 16,
                                        .kv_format = NANO_KV_FORMAT_F16,
                                        .batch_invariant = true};
    const size_t n = (size_t)count;
    *rows = (struct rows){.count = count,
                          .tokens = calloc(3 * n, sizeof(int32_t)),
                          .tables = calloc(n, sizeof(int32_t)),
                          .seqs = calloc(3 * n, sizeof *rows->seqs),
                          .outputs = calloc(3 * n, sizeof *rows->outputs)};
    cr_assert_eq(nano_runner_cuda.open(&rows->state, &config, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_runner_cuda.kv_alloc(rows->state, count, 0, &err), NANO_OK);
    for (int i = 0; i < count; i++)
        rows->tables[i] = i;
}

static void rows_close(struct rows *rows)
{
    nano_runner_cuda.close(rows->state);
    free(rows->tokens);
    free(rows->tables);
    free(rows->seqs);
    free(rows->outputs);
}

/* Step 0, 1 or 2. Tokens of the first are made up, later ones the last step's, as they are or, for
 * a batch that is begun, as they will be. */
static struct nano_batch rows_batch(struct rows *rows, int step, bool known)
{
    const int first = step * rows->count;
    for (int i = 0; i < rows->count; i++) {
        rows->tokens[first + i] = step == 0 ? 5 + i * 3 % 90
                                  : known   ? rows->outputs[first - rows->count + i].token
                                            : -1 - i;
        rows->seqs[first + i] = (struct nano_batch_seq){.first_token = i,
                                                        .num_tokens = 1,
                                                        .first_position = step,
                                                        .block_table = &rows->tables[i]};
        rows->outputs[first + i] =
            (struct nano_batch_output){.row = i, .greedy = i % 2 == 0, .draws = i % 2, .token = -9};
        rows->outputs[first + i].draw = (struct nano_draw){
            .temperature = 1, .top_p = 1, .uniform = (i * 7 + step) % 100 / 100.0};
    }
    return (struct nano_batch){.num_tokens = rows->count,
                               .tokens = rows->tokens + first,
                               .num_seqs = rows->count,
                               .seqs = rows->seqs + first,
                               .num_outputs = rows->count,
                               .outputs = rows->outputs + first};
}

/* As many as one pass of outputs takes, and more. */
Test(cuda_runner, what_is_begun_finds_tokens_on_the_device)
{
    static const int counts[] = {3, NANO_CUDA_OUTPUT_ROWS + 1};
    nano_model *model = open_built_in();
    struct nano_program *program;
    cr_assert_eq(nano_program_create(&program, &model->weights, &err), NANO_OK);
    for (int c = 0; c < 2; c++) {
        struct rows expected, got;
        struct nano_batch batch[3];
        rows_open(&expected, program, counts[c]);
        for (int step = 0; step < 3; step++) {
            batch[0] = rows_batch(&expected, step, true);
            cr_assert_eq(nano_runner_cuda.run(expected.state, &batch[0], &err), NANO_OK, "%s",
                         err.message);
        }
        rows_open(&got, program, counts[c]);
        fake_device.is_late = true;
        for (int step = 0; step < 3; step++)
            batch[step] = rows_batch(&got, step, false);
        cr_expect_eq(nano_runner_cuda.begin(got.state, &batch[1], &err),
                     NANO_ERR_INVALID_ARGUMENT); /* behind nothing */
        cr_assert_eq(nano_runner_cuda.begin(got.state, &batch[0], &err), NANO_OK);
        cr_expect_eq(nano_runner_cuda.run(got.state, &batch[0], &err), NANO_ERR_INVALID_ARGUMENT);
        cr_assert_eq(nano_runner_cuda.begin(got.state, &batch[1], &err), NANO_OK);
        cr_expect_eq(nano_runner_cuda.begin(got.state, &batch[2], &err),
                     NANO_ERR_INVALID_ARGUMENT); /* a third */
        cr_assert_eq(nano_runner_cuda.end(got.state, &batch[0], &err), NANO_OK);
        cr_assert_eq(nano_runner_cuda.begin(got.state, &batch[2], &err), NANO_OK);
        cr_assert_eq(nano_runner_cuda.end(got.state, &batch[1], &err), NANO_OK);
        cr_assert_eq(nano_runner_cuda.end(got.state, &batch[2], &err), NANO_OK);
        cr_expect_eq(nano_runner_cuda.end(got.state, &batch[2], &err), NANO_ERR_INVALID_ARGUMENT);
        for (int i = 0; i < 3 * counts[c]; i++)
            cr_assert_eq(got.outputs[i].token, expected.outputs[i].token, "%d rows: %d", counts[c],
                         i);
        rows_close(&got);
        fake_device.is_late = false;
        rows_close(&expected);
    }
    nano_program_destroy(program);
    nano_model_close(model);
    cr_expect_eq(fake_device.live_allocations, 0);
}

/* ---- logits ---- */

static float *logits_of(const struct nano_program *program, enum nano_kv_format kv_format,
                        bool batch_invariant, int num_tokens)
{
    struct nano_runner_config config = {.program = program,
                                        .num_threads = 1,
                                        .max_num_batched_tokens = num_tokens,
                                        .max_num_seqs = 1,
                                        .max_model_len = num_tokens,
                                        .block_size = 16,
                                        .kv_format = kv_format,
                                        .batch_invariant = batch_invariant};
    const int blocks = num_tokens / 16 + 1;
    void *state;
    cr_assert_eq(nano_runner_cuda.open(&state, &config, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_runner_cuda.kv_alloc(state, blocks, 1, &err), NANO_OK);
    int32_t *tokens = calloc((size_t)num_tokens, sizeof *tokens),
            *table = calloc((size_t)blocks, 4);
    float *hidden = calloc((size_t)program->config.vocab_size, sizeof *hidden);
    for (int i = 0; i < num_tokens; i++)
        tokens[i] = (int32_t)(i * 37 % program->config.vocab_size);
    for (int i = 0; i < blocks; i++)
        table[i] = blocks - 1 - i;
    struct nano_batch_seq seq = {.num_tokens = num_tokens, .block_table = table};
    struct nano_batch_output output = {.row = num_tokens - 1};
    struct nano_batch batch = {.num_tokens = num_tokens,
                               .tokens = tokens,
                               .num_seqs = 1,
                               .seqs = &seq,
                               .num_outputs = 1,
                               .outputs = &output,
                               .context = hidden};
    extern void test_cuda_take_logits(void *context, int index, float *logits);
    batch.on_logits = test_cuda_take_logits;
    cr_assert_eq(nano_runner_cuda.run(state, &batch, &err), NANO_OK, "%s", err.message);
    nano_runner_cuda.close(state);
    free(tokens);
    free(table);
    return hidden;
}

static int64_t taken_width;

void test_cuda_take_logits(void *context, int index, float *logits);
void test_cuda_take_logits(void *context, int index, float *logits)
{
    (void)index;
    memcpy(context, logits, (size_t)taken_width * sizeof *logits);
}

/* Largest change from a, by the largest of a. */
static double change(const float *a, const float *b)
{
    double largest = 0, difference = 0;
    for (int64_t i = 0; i < taken_width; i++) {
        largest = fmax(largest, fabs((double)a[i]));
        difference = fmax(difference, fabs((double)a[i] - (double)b[i]));
    }
    cr_expect_gt(largest, 1);
    return difference / largest;
}

/* E4M3 has 4 significant bits, Q8_0 up to 7 and a scale. */
Test(cuda_runner, a_kv_cache_of_8_bits_is_near)
{
    enum { TOKENS = 100 };
    nano_model *model = open_built_in();
    struct nano_program *program;
    cr_assert_eq(nano_program_create(&program, &model->weights, &err), NANO_OK);
    taken_width = program->config.vocab_size;
    float *f16 = logits_of(program, NANO_KV_FORMAT_F16, true, TOKENS),
          *q8_0 = logits_of(program, NANO_KV_FORMAT_Q8_0, true, TOKENS),
          *fp8 = logits_of(program, NANO_KV_FORMAT_FP8, true, TOKENS);
    printf("logits change by %.2g with Q8_0 and by %.2g with FP8\n", change(f16, q8_0),
           change(f16, fp8));
    cr_expect_leq(change(f16, q8_0), 2e-2);
    cr_expect_leq(change(f16, fp8), 1e-1);
    cr_expect_gt(change(f16, fp8), change(f16, q8_0));
    free(f16);
    free(q8_0);
    free(fp8);
    nano_program_destroy(program);
    nano_model_close(model);
}

/* ---- products by cuBLASLt ---- */

Test(cuda_runner, long_prompts_by_cublaslt_are_near)
{
    enum { TOKENS = 140 };
    static const enum nano_format formats[] = {NANO_FORMAT_BF16, NANO_FORMAT_F16, NANO_FORMAT_Q8_0};
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        nano_model *model = open_built_in();
        struct nano_program *program;
        tiny_model_dequantize(&model->weights);
        tiny_model_quantize(&model->weights, formats[f]);
        cr_assert_eq(nano_program_create(&program, &model->weights, &err), NANO_OK);
        taken_width = program->config.vocab_size;
        fake_device.num_gemms = 0;
        float *invariant = logits_of(program, NANO_KV_FORMAT_F16, true, TOKENS);
        cr_expect_eq(fake_device.num_gemms, 0);
        float *fast = logits_of(program, NANO_KV_FORMAT_F16, false, TOKENS);
        cr_expect_gt(fake_device.num_gemms, 0);
        const double difference = change(invariant, fast);
        cr_expect_leq(difference, f ? 5e-3 : 2e-2, "format %d: %g", (int)formats[f], difference);
        free(invariant);
        free(fast);
        nano_program_destroy(program);
        nano_model_close(model);
    }
    cr_expect_eq(fake_device.live_allocations, 0);
}

/* ---- memory ---- */

Test(cuda_runner, the_plan_is_what_is_taken)
{
    nano_model *model = open_built_in();
    struct nano_engine_params params = params_of("cuda");
    struct nano_memory_plan plan;
    params.num_blocks = 0;
    params.mem_budget_bytes = 24u << 20;
    cr_assert_eq(nano_engine_plan(model, &params, &plan, &err), NANO_OK, "%s", err.message);
    cr_expect_eq(plan.device_bytes, fake_device.total_bytes);
    cr_expect_leq(plan.total_bytes, plan.budget_bytes);
    cr_expect_eq(plan.total_bytes,
                 plan.weight_bytes + plan.kv_bytes + plan.activation_bytes + plan.states_bytes);
    fake_device.total_bytes = plan.total_bytes; /* not a byte more */
    nano_engine *engine = harness_engine(model, &params);
    nano_engine_destroy(engine);

    /* Without a budget: a share of the GPU's. */
    fake_device.total_bytes = 64u << 20;
    params.mem_budget_bytes = 0;
    params.gpu_memory_utilization = 0.5f;
    cr_assert_eq(nano_engine_plan(model, &params, &plan, &err), NANO_OK, "%s", err.message);
    cr_expect_eq(plan.budget_bytes, 32u << 20);

    fake_device.total_bytes = 2u << 20;
    cr_expect_eq(nano_engine_plan(model, &params, &plan, &err), NANO_ERR_NO_MEMORY);
    cr_expect(strstr(err.message, "GPU's memory"), "%s", err.message);
    nano_model_close(model);
}

/* A cache of 8 bits has room for twice the tokens. */
Test(cuda_runner, blocks_of_8_bits_are_half_as_large)
{
    static const enum nano_kv_dtype dtypes[] = {NANO_KV_F16, NANO_KV_FP8, NANO_KV_Q8_0};
    nano_model *model = open_built_in();
    struct nano_engine_params params = params_of("cuda");
    struct nano_memory_plan plans[3];
    for (int i = 0; i < 3; i++) {
        params.kv_cache_dtype = dtypes[i];
        cr_assert_eq(nano_engine_plan(model, &params, &plans[i], &err), NANO_OK, "%s", err.message);
    }
    cr_expect_eq(2 * plans[1].kv_block_bytes, plans[0].kv_block_bytes);
    cr_expect(plans[2].kv_block_bytes > plans[1].kv_block_bytes &&
              plans[2].kv_block_bytes < plans[0].kv_block_bytes);
    params.kv_cache_dtype = NANO_KV_FP8;
    params.mem_budget_bytes = fake_device.total_bytes = plans[1].total_bytes;
    struct client client = client_of(prompts[0]);
    nano_engine *engine = harness_engine(model, &params);
    client.request.sampling.max_tokens = NUM_TOKENS;
    harness_submit(&client, engine);
    nano_engine_wait_idle(engine);
    cr_expect_gt(client.completions[0].num_tokens, 5);
    client_reset(&client);
    nano_engine_destroy(engine);
    nano_model_close(model);
}

/* A GPU has larger steps than a CPU, as long as there is memory. */
Test(cuda_runner, tokens_of_a_step_that_nobody_asked_for)
{
    nano_model *model = open_built_in();
    struct nano_engine_params params = params_of("cpu");
    struct nano_memory_plan plan;
    params.max_num_batched_tokens = 0;
    params.num_blocks = 0;
    cr_assert_eq(nano_engine_plan(model, &params, &plan, &err), NANO_OK, "%s", err.message);
    cr_expect_eq(plan.max_num_batched_tokens, 512);

    params.runner = "cuda";
    cr_assert_eq(nano_engine_plan(model, &params, &plan, &err), NANO_OK, "%s", err.message);
    cr_expect_eq(plan.max_num_batched_tokens, 4096);
    fake_device.total_bytes = plan.activation_bytes * 6;
    cr_assert_eq(nano_engine_plan(model, &params, &plan, &err), NANO_OK, "%s", err.message);
    cr_expect_eq(plan.max_num_batched_tokens, 2048);
    cr_expect_leq(plan.activation_bytes, plan.budget_bytes / 8);
    fake_device.total_bytes = 24u << 20;
    cr_assert_eq(nano_engine_plan(model, &params, &plan, &err), NANO_OK, "%s", err.message);
    cr_expect_eq(plan.max_num_batched_tokens, 512);

    params.max_num_batched_tokens = 640;
    cr_assert_eq(nano_engine_plan(model, &params, &plan, &err), NANO_OK, "%s", err.message);
    cr_expect_eq(plan.max_num_batched_tokens, 640);

    /* Blocks that were asked for come first. */
    fake_device.total_bytes = 1ull << 36;
    params.max_num_batched_tokens = 1024;
    params.num_blocks = 20000;
    cr_assert_eq(nano_engine_plan(model, &params, &plan, &err), NANO_OK, "%s", err.message);
    params.mem_budget_bytes = plan.total_bytes;
    params.max_num_batched_tokens = 0;
    cr_assert_eq(nano_engine_plan(model, &params, &plan, &err), NANO_OK, "%s", err.message);
    cr_expect_eq(plan.max_num_batched_tokens, 1024);
    cr_expect_leq(8 * plan.activation_bytes * 4, plan.budget_bytes);
    params.mem_budget_bytes /= 2;
    cr_expect_neq(nano_engine_plan(model, &params, &plan, &err), NANO_OK);
    nano_model_close(model);
}

/* ---- what goes wrong ---- */

Test(cuda_runner, every_allocation_may_fail)
{
    nano_model *model = open_built_in();
    const struct nano_engine_params params = params_of("cuda");
    for (int n = 1;; n++) {
        nano_engine *engine;
        fake_device.fail_alloc = n;
        const enum nano_status status = nano_engine_create(&engine, model, &params, &err);
        const bool over = fake_device.fail_alloc > 0;
        fake_device.fail_alloc = 0;
        if (status == NANO_OK) {
            nano_engine_destroy(engine);
            cr_expect(over);
            cr_expect_gt(n, 5);
            break;
        }
        cr_expect_eq(status, NANO_ERR_NO_MEMORY, "%d: %s", n, err.message);
        cr_expect(*err.message && !strchr(err.message, '\n'));
        cr_expect_eq(fake_device.live_allocations, 0, "%d", n);
    }
    nano_model_close(model);
}

static void fail_at(nano_model *model, int n)
{
    const struct nano_engine_params params = params_of("cuda");
    struct client client = client_of(prompts[0]);
    nano_engine *engine = harness_engine(model, &params);
    client.request.sampling.max_tokens = NUM_TOKENS;
    fake_device.fail_work = n;
    harness_submit(&client, engine);
    nano_engine_wait_idle(engine);
    if (fake_device.fail_work == 0)
        cr_expect_eq(client.completions[0].reason, NANO_FINISH_ERROR, "%d", n);
    fake_device.fail_work = 0;
    cr_expect_eq(client.completions[0].num_finishes, 1);
    client_reset(&client);
    nano_engine_destroy(engine);
    cr_expect_eq(fake_device.live_allocations, 0);
}

Test(cuda_runner, a_gpu_that_fails_ends_requests_with_an_error)
{
    nano_model *model = open_built_in();
    for (int n = 1; n < 4000; n = n * 3 + 1) {
        fail_at(model, n);
        fake_device.is_late = true;
        fail_at(model, n + 1);
        fake_device.is_late = false;
    }
    nano_model_close(model);
}

static void expect_refused(nano_model *model, const struct nano_engine_params *params,
                           const char *message)
{
    nano_engine *engine;
    cr_expect_eq(nano_engine_create(&engine, model, params, &err), NANO_ERR_UNSUPPORTED, "%s",
                 message);
    cr_expect(strstr(err.message, message), "%s, expected %s", err.message, message);
}

Test(cuda_runner, what_it_cannot_do_is_refused)
{
    nano_model *model = open_built_in();
    struct nano_engine_params params = params_of("cuda");
    fake_device.is_missing = true;
    expect_refused(model, &params, "no CUDA device");
    params.runner = "cpu";
    nano_engine_destroy(harness_engine(model, &params));
    fake_device.is_missing = false;

    params = params_of("cuda");
    params.batch_invariant = false;
    fake_device.is_without_gemm = true;
    expect_refused(model, &params, "cuBLASLt");
    cr_expect_eq(fake_device.live_allocations, 0);
    nano_model_close(model);
}
