/* ONNX runner: graphs that tools/onnx makes of the built-in model against the CPU runner on the
 * same weights, graphs that others published, what happens to KV between steps, and what goes
 * wrong. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine_state.h"
#include "engine_harness.h"
#include "format/onnx_folder.h"
#include "runner/onnx/onnx_state.h"
#include "tests/runner_harness.h"
#include "tests/tiny_model.h"

static struct nano_error err;

/* FOLDER/NAME of what make_onnx_models.sh made; without them the test is skipped. */
static const char *model_path(const char *name)
{
    static char path[4096];
    const char *folder = getenv("NANOVLLM_ONNX_MODELS");
    if (!folder)
        cr_skip_test("NANOVLLM_ONNX_MODELS is not set");
    snprintf(path, sizeof path, "%s/SKIP", folder);
    if (nano_os_file_exists(path))
        cr_skip_test("there are no ONNX models: see SKIP in $NANOVLLM_ONNX_MODELS");
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static nano_model *open_model(const char *path)
{
    nano_model *model;
    cr_assert_eq(nano_model_open(&model, path, &err), NANO_OK, "%s", err.message);
    return model;
}

static struct nano_engine_params manual_params(void)
{
    struct nano_engine_params params = nano_engine_params_default();
    params.manual_step = true;
    params.num_threads = 2;
    return params;
}

/* ---- the same as the CPU runner ---- */

static const char *const prompts[] = {"Once upon a time",
                                      "Lily and Tom",
                                      "The little dog",
                                      "Hello!",
                                      "One day, a boy named Tim",
                                      "What is your name?",
                                      "The sun was",
                                      "There was a big tree",
                                      "Mia loved",
                                      "In the forest",
                                      "\"Can I help you?\" asked",
                                      "The cat",
                                      "It was a cold day",
                                      "Sam had a red ball",
                                      "Mom said",
                                      "A bird sat",
                                      "They went to the park",
                                      "The end of",
                                      "Ben was sad because",
                                      "Every morning"};
enum { NUM_PROMPTS = sizeof prompts / sizeof *prompts };

static void generate(nano_model *model, struct client *clients)
{
    struct nano_engine_params params = manual_params();
    params.max_num_seqs = 8;
    nano_engine *engine = harness_engine(model, &params);
    for (int i = 0; i < NUM_PROMPTS; i++) {
        clients[i] = (struct client){.request = {.prompt = prompts[i],
                                                 .prompt_bytes = strlen(prompts[i]),
                                                 .encode_flags = NANO_ENCODE_ADD_SPECIAL,
                                                 .sampling = nano_sampling_params_default()}};
        clients[i].request.sampling.temperature = 0;
        clients[i].request.sampling.max_tokens = 60;
        harness_submit(&clients[i], engine);
    }
    nano_engine_wait_idle(engine);
    nano_engine_destroy(engine);
}

Test(onnx, text_of_20_prompts_is_the_cpu_runners)
{
    static const char *const names[] = {"concat", "packed", "none", "shared", "merged", "external"};
    struct client expected[NUM_PROMPTS], got[NUM_PROMPTS];
    nano_model *model = open_model(model_path("f32.gguf")); /* the same weights */
    generate(model, expected);
    nano_model_close(model);
    for (size_t m = 0; m < sizeof names / sizeof *names; m++) {
        model = open_model(model_path(names[m]));
        generate(model, got);
        for (int i = 0; i < NUM_PROMPTS; i++) {
            cr_assert_gt(got[i].completions[0].num_tokens, 5);
            cr_assert_str_eq(got[i].completions[0].text, expected[i].completions[0].text,
                             "%s: \"%s\"", names[m], prompts[i]);
            client_reset(&got[i]);
        }
        nano_model_close(model);
    }
    for (int i = 0; i < NUM_PROMPTS; i++)
        client_reset(&expected[i]);
}

enum { NUM_TOKENS = 70 };

/* Logits [NUM_TOKENS, vocab_size] in chunks of so many tokens. */
static float *onnx_logits(const char *path, const int32_t *tokens, int chunk, int64_t *vocab_size)
{
    const struct harness_config config = {
        .num_threads = 2, .block_size = 16, .max_num_batched_tokens = 128, .max_num_seqs = 2};
    nano_model *model = open_model(path);
    struct harness h;
    struct harness_seq seq;
    *vocab_size = model->config.vocab_size;
    harness_open_onnx(&h, model->weights.onnx, *vocab_size, 256, &config);
    harness_seq_begin(&h, &seq, tokens, NUM_TOKENS);
    while (seq.num_computed < NUM_TOKENS) {
        const int left = NUM_TOKENS - seq.num_computed;
        harness_step(&h, &seq, &(int){left < chunk ? left : chunk}, 1);
    }
    harness_close(&h);
    nano_model_close(model);
    free(seq.block_table);
    return seq.logits;
}

static float *cpu_logits(const char *path, const int32_t *tokens)
{
    const struct harness_config config = {.num_threads = 2,
                                          .block_size = 16,
                                          .max_num_batched_tokens = 128,
                                          .max_num_seqs = 2,
                                          .kv_format = NANO_KV_FORMAT_F32};
    nano_model *model = open_model(path);
    struct nano_program *program;
    cr_assert_eq(nano_program_create(&program, &model->weights, &err), NANO_OK, "%s", err.message);
    float *logits = harness_logits(program, &config, tokens, NUM_TOKENS, 128);
    nano_program_destroy(program);
    nano_model_close(model);
    return logits;
}

static float largest_difference(const float *a, const float *b, int64_t count)
{
    float worst = 0;
    for (int64_t i = 0; i < count; i++)
        worst = fabsf(a[i] - b[i]) <= worst ? worst : fabsf(a[i] - b[i]); /* NaN stays */
    return worst;
}

static void make_tokens(int32_t *tokens, int count, uint32_t vocab_size, uint64_t seed)
{
    for (int i = 0; i < count; i++)
        tokens[i] = (int32_t)harness_random(&seed, vocab_size);
}

/* Logits are about -20 to 20; the halves' error is theirs, not the runner's. */
Test(onnx, logits_of_every_layout_type_and_chunk_are_the_cpu_runners)
{
    static const struct {
        const char *name, *reference;
        float tolerance;
    } cases[] = {
        {"concat", "f32.gguf", 1e-3f},         {"packed", "f32.gguf", 1e-3f},
        {"none", "f32.gguf", 1e-3f},           {"shared", "f32.gguf", 1e-3f},
        {"merged", "f32.gguf", 1e-3f},         {"external", "f32.gguf", 1e-3f},
        {"concat-f16", "f32.gguf", 0.05f},     {"shared-f16", "f32.gguf", 0.05f},
        {"concat-bf16", "f32.gguf", 0.4f},     {"shared-bf16", "f32.gguf", 0.4f},
        {"concat-int4", "concat-q4_0", 1e-3f},
    };
    static const int chunks[] = {1, 7, 128};
    int32_t tokens[NUM_TOKENS];
    make_tokens(tokens, NUM_TOKENS, 1000, 3);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int64_t vocab_size;
        const char *path = model_path(cases[c].reference);
        float *expected = strstr(path, ".gguf") ? cpu_logits(path, tokens)
                                                : onnx_logits(path, tokens, 128, &vocab_size);
        for (size_t k = 0; k < sizeof chunks / sizeof *chunks; k++) {
            float *got = onnx_logits(model_path(cases[c].name), tokens, chunks[k], &vocab_size);
            const float worst = largest_difference(got, expected, NUM_TOKENS * vocab_size);
            cr_log_info("%s, chunks of %d: %g", cases[c].name, chunks[k], (double)worst);
            cr_assert(worst <= cases[c].tolerance, "%s, chunks of %d: logits differ by %g",
                      cases[c].name, chunks[k], (double)worst);
            free(got);
        }
        free(expected);
    }
}

/* Made with ONNX Runtime 1.30.0 alone: one run of the graph on the CPU over all 24 tokens, i * 37 +
 * 11 mod 1000, with a past of no columns. Logits of every 125th token at three positions. */
Test(onnx, golden_logits_of_a_published_graph)
{
    static const struct {
        int position, best;
        float logits[8];
    } golden[] = {
        {0,
         667,
         {0.00653457f, -0.010382f, -0.220856f, -0.0862132f, 0.0229438f, -0.0591283f, -0.0231194f,
          -0.0555178f}},
        {11,
         487,
         {-0.0160501f, 0.106579f, 0.0580391f, -0.150019f, -0.0862501f, -0.0694512f, 0.157032f,
          -0.0764856f}},
        {23,
         503,
         {0.0640349f, 0.102666f, -0.0393834f, 0.171937f, -0.0204349f, -0.00910816f, 0.140232f,
          0.0364461f}},
    };
    enum { NUM = 24 };
    const char *path = test_data_path("onnx/tiny-random-gpt2-fp32");
    int32_t tokens[NUM];
    const struct harness_config config = {
        .num_threads = 1, .block_size = 4, .max_num_batched_tokens = 64, .max_num_seqs = 2};
    if (!path)
        cr_skip_test("NANOVLLM_TEST_DATA is not set");
    nano_model *model = open_model(path);
    for (int i = 0; i < NUM; i++)
        tokens[i] = (i * 37 + 11) % 1000;
    for (int chunk = 1; chunk <= NUM; chunk += 23) {
        struct harness h;
        struct harness_seq seq;
        harness_open_onnx(&h, model->weights.onnx, 1000, 512, &config);
        harness_seq_begin(&h, &seq, tokens, NUM);
        while (seq.num_computed < NUM)
            harness_step(&h, &seq, &chunk, 1);
        for (size_t g = 0; g < sizeof golden / sizeof *golden; g++) {
            const float *row = seq.logits + golden[g].position * 1000;
            int best = 0;
            for (int i = 0; i < 1000; i++)
                best = row[i] > row[best] ? i : best;
            cr_assert_eq(best, golden[g].best);
            for (int i = 0; i < 8; i++)
                cr_assert_float_eq(row[125 * i], golden[g].logits[i], 1e-5);
        }
        harness_seq_end(&seq);
        harness_close(&h);
    }
    nano_model_close(model);
}

/* ---- batches ---- */

/* Eight requests of different lengths at once, each as if alone; and with proposals. */
static void check_eight_at_once(const char *path, int longest, float tolerance)
{
    enum { NUM = 8 };
    nano_model *model = open_model(path);
    const int32_t vocab_size = (int32_t)model->config.vocab_size;
    struct client together[NUM], alone[NUM];
    for (int num_proposed = 0; num_proposed <= 4; num_proposed += 4) {
        struct nano_engine_params params = manual_params();
        params.block_size = 8;
        params.num_speculative_tokens = num_proposed;
        nano_engine *engine = harness_engine(model, &params);
        for (int i = 0; i < NUM; i++) {
            client_init(&together[i], 1 + i * longest / NUM, vocab_size, (uint64_t)i, 7);
            together[i].request.sampling.max_tokens = 10 + 5 * i;
            together[i].request.sampling.logprobs = 1;
            together[i].request.sampling.ignore_eos = true;
            together[i].request.sampling.detokenize = false;
            harness_submit(&together[i], engine);
        }
        nano_engine_wait_idle(engine);
        nano_engine_destroy(engine);
        params = manual_params();
        params.max_num_seqs = 1;
        params.enable_prefix_caching = false;
        engine = harness_engine(model, &params);
        for (int i = 0; i < NUM; i++) {
            alone[i] = (struct client){.request = together[i].request};
            harness_submit(&alone[i], engine);
            nano_engine_wait_idle(engine);
            client_compare_within(&together[i], &alone[i], false, tolerance);
            client_reset(&alone[i]);
            client_deinit(&together[i]);
        }
        nano_engine_destroy(engine);
    }
    nano_model_close(model);
}

Test(onnx, eight_sequences_of_different_lengths_at_once)
{
    static const char *const names[] = {"concat", "packed", "none", "shared", "merged", "gpt2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_eight_at_once(model_path(names[i]), 150, 1e-3f);
}

Test(onnx, published_graphs_in_batches)
{
    if (!test_data_path(""))
        cr_skip_test("NANOVLLM_TEST_DATA is not set");
    check_eight_at_once(test_data_path("onnx/tiny-random-gpt2-fp32"), 150, 1e-3f);
    check_eight_at_once(test_data_path("onnx/tiny-qwen35-cuda"), 60, 1e-2f);
}

static const struct nano_onnx_runner *runner_of(const nano_engine *engine)
{
    return engine->runner_state;
}

static void step(nano_engine *engine)
{
    bool has_work;
    cr_assert_eq(nano_engine_step(engine, &has_work, &err), NANO_OK, "%s", err.message);
    cr_assert(has_work);
}

/* If the blocks were read in a step that only goes on, their content would matter. */
static void check_nothing_is_copied(const char *name)
{
    enum { NUM = 4 };
    nano_model *model = open_model(model_path(name));
    struct nano_engine_params params = manual_params();
    params.max_model_len = 256;
    struct client clients[2][NUM];
    for (int spoil = 0; spoil < 2; spoil++) {
        nano_engine *engine = harness_engine(model, &params);
        for (int i = 0; i < NUM; i++) {
            struct client *c = &clients[spoil][i];
            client_init(c, 20 + 9 * i, 1000, (uint64_t)i, 5);
            c->request.sampling.max_tokens = 30;
            c->request.sampling.ignore_eos = true;
            harness_submit(c, engine);
        }
        for (int s = 0; s < 3; s++)
            step(engine);
        const struct nano_onnx_runner *r = runner_of(engine);
        cr_assert_eq(r->kv.kept.num_rows, NUM, "%s: %d rows are kept", name, r->kv.kept.num_rows);
        for (int k = 0; spoil && k < r->decoder.num_kv; k++)
            memset(r->kv.blocks[k], 0x7f,
                   (size_t)(r->kv.lane_columns * r->decoder.kv[k].token_bytes));
        nano_engine_wait_idle(engine);
        nano_engine_destroy(engine);
    }
    for (int i = 0; i < NUM; i++) {
        client_compare(&clients[1][i], &clients[0][i], false);
        client_deinit(&clients[0][i]);
        client_deinit(&clients[1][i]);
    }
    nano_model_close(model);
}

Test(onnx, a_step_that_goes_on_copies_no_past)
{
    check_nothing_is_copied("concat");
    check_nothing_is_copied("packed");
    check_nothing_is_copied("shared");
}

Test(onnx, a_prefix_is_computed_once)
{
    enum { PREFIX = 96, OWN = 9 };
    nano_model *model = open_model(model_path("concat"));
    struct nano_engine_params params = manual_params();
    nano_engine *engine = harness_engine(model, &params);
    struct client first, second, both[2];
    client_init(&first, PREFIX + OWN, 1000, 1, 2);
    client_init(&second, PREFIX + OWN, 1000, 1, 3);
    memcpy(second.prompt, first.prompt, PREFIX * sizeof *first.prompt);
    first.request.sampling.max_tokens = second.request.sampling.max_tokens = 20;
    harness_submit(&first, engine);
    nano_engine_wait_idle(engine);
    harness_submit(&second, engine);
    nano_engine_wait_idle(engine);
    cr_assert_eq(second.completions[0].num_cached_tokens, PREFIX);
    nano_engine_destroy(engine);
    engine = harness_engine(model, &params); /* and while both run */
    for (int i = 0; i < 2; i++) {
        both[i] = (struct client){.request = i ? second.request : first.request};
        harness_submit(&both[i], engine);
    }
    nano_engine_wait_idle(engine);
    cr_assert_eq(both[1].completions[0].num_cached_tokens, PREFIX);
    client_compare_within(&both[0], &first, false, 1e-3f);
    client_compare_within(&both[1], &second, false, 1e-3f);
    for (int i = 0; i < 2; i++)
        client_reset(&both[i]);
    client_deinit(&first);
    client_deinit(&second);
    nano_engine_destroy(engine);
    nano_model_close(model);
}

/* ---- what the graphs can do ---- */

Test(onnx, what_a_graph_can_do_is_found_out)
{
    static const struct {
        const char *name;
        struct nano_onnx_traits traits;
        bool in_place;
    } cases[] = {
        {"concat", {true, true, true}, false},      {"shared", {true, true, true}, true},
        {"packed", {true, true, true}, false},      {"merged", {true, false, true}, false},
        {"none", {true, false, true}, false},       {"concat-f16", {true, true, true}, false},
        {"concat-int4", {true, true, true}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nano_model *model = open_model(model_path(cases[i].name));
        struct nano_engine_params params = manual_params();
        nano_engine *engine = harness_engine(model, &params);
        const struct nano_onnx_runner *r = runner_of(engine);
        cr_assert_eq(r->traits.prompts, cases[i].traits.prompts, "%s", cases[i].name);
        cr_assert_eq(r->traits.chunks, cases[i].traits.chunks, "%s", cases[i].name);
        cr_assert_eq(r->traits.batches, cases[i].traits.batches, "%s", cases[i].name);
        cr_assert_eq(r->kv.in_place, cases[i].in_place, "%s", cases[i].name);
        nano_engine_destroy(engine);
        nano_model_close(model);
    }
}

/* ---- memory ---- */

Test(onnx, kv_and_lanes_are_in_the_budget)
{
    nano_model *model = open_model(model_path("concat"));
    struct nano_engine_params params = manual_params();
    struct nano_memory_plan plan;
    params.max_model_len = 512;
    params.mem_budget_bytes = (uint64_t)64 << 20;
    cr_assert_eq(nano_engine_plan(model, &params, &plan, &err), NANO_OK, "%s", err.message);
    cr_assert_leq(plan.total_bytes, params.mem_budget_bytes);
    /* 5 layers of 2 heads of 32, keys and values, in blocks and in two lanes */
    cr_assert_geq(plan.kv_block_bytes, 3u * 32 * 5 * 2 * 2 * 32 * sizeof(float));
    nano_engine *engine = harness_engine(model, &params);
    struct nano_stats stats;
    nano_engine_get_stats(engine, &stats);
    cr_assert_leq(stats.memory_used_bytes, params.mem_budget_bytes);
    nano_engine_destroy(engine);
    params.mem_budget_bytes = (uint64_t)30 << 20;
    cr_assert_eq(nano_engine_create(&engine, model, &params, &err), NANO_ERR_NO_MEMORY);
    cr_assert(strstr(err.message, "memory budget 30.0 MiB is too small"), "%s", err.message);
    nano_model_close(model);
}

/* ---- what goes wrong ---- */

static void expect_refusal(nano_model *model, const struct nano_engine_params *params,
                           const char *words)
{
    nano_engine *engine;
    cr_assert_neq(nano_engine_create(&engine, model, params, &err), NANO_OK, "expected: %s", words);
    cr_assert(strstr(err.message, words), "%s\nexpected: %s", err.message, words);
    cr_assert_null(strchr(err.message, '\n'));
}

Test(onnx, graphs_that_are_no_decoders_are_named)
{
    static const struct {
        const char *name, *words;
    } cases[] = {
        {"no-logits", "has no output 'logits', which a decoder has; its outputs are "},
        {"no-ids", "has no input 'input_ids', which a decoder has; its inputs are "},
        {"head-mismatch", "is FLOAT [?, 2, ?, 32], expected FLOAT [?, 2, ?, 64] as its past, "
                          "but longer"},
        {"missing-present", "has no output 'present."},
        {"missing-past", "has no input 'past_key_values."},
        {"not-decoder", "has no input 'input_ids'"},
        {"int8-past", "is INT8 ["},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[64];
        snprintf(name, sizeof name, "damage-%s", cases[i].name);
        nano_model *model = open_model(model_path(name));
        struct nano_engine_params params = manual_params();
        expect_refusal(model, &params, cases[i].words);
        nano_model_close(model);
    }
}

Test(onnx, runner_and_model_must_fit)
{
    nano_model *graph = open_model(model_path("concat")), *other = open_model(NULL);
    struct nano_engine_params params = manual_params();
    params.runner = "cpu";
    expect_refusal(graph, &params, "concat/model.onnx is an ONNX graph, the runner is cpu");
    params.runner = "onnx";
    expect_refusal(other, &params, "tinymodel.gguf is no ONNX graph, the runner is onnx");
    expect_refusal(NULL, &params, "runner onnx needs a model");
    params.kv_cache_dtype = NANO_KV_FP8;
    expect_refusal(graph, &params, "kv_cache_dtype fp8: the KV cache of an ONNX graph");
    params.kv_cache_dtype = NANO_KV_F16;
    struct nano_lora lora = {"a", "a.gguf", 1};
    params.loras = &lora;
    params.num_loras = 1;
    expect_refusal(graph, &params, "LoRA adapters do not go with ONNX graphs");
    struct nano_model_params model_params = {.quantization = "q8_0"};
    nano_model *quantized;
    cr_assert_eq(nano_model_open_with(&quantized, model_path("concat"), &model_params, &err),
                 NANO_ERR_UNSUPPORTED);
    cr_assert(strstr(err.message, "cannot be quantised"), "%s", err.message);
    nano_model_close(graph);
    nano_model_close(other);
}

Test(onnx, requests_for_what_a_graph_does_not_give)
{
    nano_model *model = open_model(model_path("concat"));
    struct nano_engine_params params = manual_params();
    nano_engine *engine = harness_engine(model, &params);
    struct nano_embedding_params embedding = nano_embedding_params_default();
    struct client client;
    client_init(&client, 5, 1000, 1, 2);
    client.request.embedding = &embedding;
    cr_assert_eq(client_submit(&client, engine, &err), NANO_ERR_UNSUPPORTED);
    cr_assert(strstr(err.message, "embeddings are made of hidden states"), "%s", err.message);
    client_deinit(&client);
    nano_engine_destroy(engine);
    nano_model_close(model);
}

Test(onnx, providers_that_are_not_there)
{
    nano_model *model = open_model(model_path("concat"));
    struct nano_engine_params params = manual_params();
    params.onnx_providers = "abacus,cpu";
    expect_refusal(model, &params, "execution provider 'abacus' is not in ONNX Runtime ");
    cr_assert(strstr(err.message, "which has "), "%s", err.message);
    params.onnx_providers = "cpu,,cpu";
    expect_refusal(model, &params, "onnx_providers: ',cpu' is no list");
    params.onnx_providers = "CPU";
    nano_engine_destroy(harness_engine(model, &params));
    nano_model_close(model);
}

/* Each test is a process of its own, in which nothing is loaded yet. */
static void expect_no_library(const char *path, const char *words)
{
    nano_model *model = open_model(model_path("concat"));
    struct nano_engine_params params = manual_params();
    setenv("NANOVLLM_ONNXRUNTIME", path, 1);
    expect_refusal(model, &params, words);
    unsetenv("NANOVLLM_ONNXRUNTIME");
    nano_engine_destroy(harness_engine(model, &params)); /* and it is looked for again */
    nano_model_close(model);
}

Test(onnx, library_is_missing)
{
    expect_no_library("/nonexistent/libonnxruntime.so",
                      "ONNX Runtime cannot be loaded: /nonexistent/libonnxruntime.so");
}

Test(onnx, library_is_another_one)
{
    expect_no_library("libm.so.6", "libm.so.6 is no ONNX Runtime");
}

Test(onnx, library_is_too_old)
{
    const char *path = getenv("NANOVLLM_OLD_ONNXRUNTIME");
    if (!path)
        cr_skip_test("NANOVLLM_OLD_ONNXRUNTIME is not set");
    expect_no_library(path, "is ONNX Runtime 1.10.0, expected 1.14 or newer");
}

Test(onnx, graph_that_the_runtime_refuses)
{
    /* Well-formed at its edge, with nodes of a kind that there is not. */
    char command[8192], path[128];
    snprintf(path, sizeof path, "/tmp/nano-onnx-%ld.onnx", (long)getpid());
    snprintf(command, sizeof command, "sed 's/Softmax/Hardmix/g' %s/model.onnx >%s",
             model_path("concat"), path);
    cr_assert_eq(system(command), 0);
    nano_model *model = open_model(path);
    struct nano_engine_params params = manual_params();
    expect_refusal(model, &params, path);
    nano_model_close(model);
    unlink(path);
}
