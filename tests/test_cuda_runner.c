/* CUDA runner on the emulated GPU: engines with it, what it takes of memory, graphs, products by
 * cuBLASLt, and what goes wrong. Goldens and architectures are other tests', built for it too. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_state.h"
#include "runner/cuda/cuda_runner.h"
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

Test(cuda_runner, a_gpu_that_fails_ends_requests_with_an_error)
{
    nano_model *model = open_built_in();
    const struct nano_engine_params params = params_of("cuda");
    for (int n = 1; n < 4000; n = n * 3 + 1) {
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
