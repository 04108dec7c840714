/* Random schedules on the mock, CPU and ONNX runners. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/engine_state.h"
#include "engine_harness.h"
#include "lora_fixture.h"
#include "random_schedules.h"

static void run(nano_model *model, const char *runner, int longest_prompt, int longest_output,
                int num_schedules)
{
    random_schedules_run(&(struct random_schedules){model, runner, longest_prompt, longest_output,
                                                    num_schedules, NULL, 0});
}

Test(random_schedules, mock)
{
    run(NULL, "mock-kv", 70, 80, 400);
}

Test(random_schedules, mock_with_windows)
{
    run(NULL, "mock-windows", 70, 80, 300);
    run(NULL, "mock-window", 70, 80, 300);
}

Test(random_schedules, mock_device)
{
    run(NULL, "mock-device-kv", 70, 80, 400);
    run(NULL, "mock-device-windows", 70, 80, 200);
}

Test(random_schedules, mock_with_recurrent_state)
{
    run(NULL, "mock-state", 70, 80, 300);
    run(NULL, "mock-hybrid", 70, 80, 300);
}

Test(random_schedules, built_in_model)
{
    nano_model *model;
    struct nano_error err = {0};
    cr_assert_eq(nano_model_open(&model, NULL, &err), NANO_OK, "%s", err.message);
    run(model, "cpu", 30, 50, 120);
    nano_model_close(model);
}

Test(random_schedules, with_adapters)
{
    static const struct lora_spec specs[] = {{.rank = 4, .alpha = 1, .seed = 1},
                                             {.rank = 17, .alpha = 2, .seed = 2}};
    char paths[2][LORA_PATH_BYTES];
    nano_model *model;
    struct nano_error err = {0};
    cr_assert_eq(nano_model_open(&model, NULL, &err), NANO_OK, "%s", err.message);
    struct nano_lora loras[2];
    for (int i = 0; i < 2; i++) {
        lora_write(paths[i], &model->weights, &specs[i]);
        loras[i] = (struct nano_lora){i ? "two" : "one", paths[i], 1};
    }
    random_schedules_run(&(struct random_schedules){model, "cpu", 30, 50, 60, loras, 2});
    for (int i = 0; i < 2; i++)
        unlink(paths[i]);
    nano_model_close(model);
}

static void run_zoo_model(const char *name, int num_schedules)
{
    nano_model *model;
    struct nano_error err = {0};
    const char *path = test_data_path(name);
    if (!path)
        cr_skip_test("NANOVLLM_TEST_DATA is not set");
    cr_assert_eq(nano_model_open(&model, path, &err), NANO_OK, "%s", err.message);
    run(model, "cpu", 30, 50, num_schedules);
    nano_model_close(model);
}

/* Its matrix products are not the same in every batch, so that only tokens and texts can be. */
Test(random_schedules, onnx)
{
    static const char *const names[] = {"concat", "shared", "packed", "merged", "none"};
    const char *folder = getenv("NANOVLLM_ONNX_MODELS");
    char skip[4096];
    snprintf(skip, sizeof skip, "%s/SKIP", folder ? folder : "");
    if (!folder || nano_os_file_exists(skip))
        cr_skip_test("there are no ONNX models in this build");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[4096];
        nano_model *model;
        struct nano_error err = {0};
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        cr_assert_eq(nano_model_open(&model, path, &err), NANO_OK, "%s", err.message);
        run(model, "onnx", 30, 50, 24);
        nano_model_close(model);
    }
}

Test(random_schedules, zoo_q4_k_m)
{
    run_zoo_model("zoo/gguf/llama-k256-Q4_K_M.gguf", 120);
}

Test(random_schedules, stories_q4_0)
{
    run_zoo_model("zoo/stories260K-Q4_0.gguf", 60);
}

Test(random_schedules, zoo_dense)
{
    run_zoo_model("zoo/gguf/llama.gguf", 40);
}

Test(random_schedules, zoo_experts)
{
    run_zoo_model("zoo/gguf/llama-moe.gguf", 40);
}

Test(random_schedules, zoo_windows)
{
    run_zoo_model("zoo/gguf/gemma3.gguf", 40);
    run_zoo_model("zoo/gguf/olmo3.gguf", 40);
}

Test(random_schedules, zoo_mamba2)
{
    run_zoo_model("zoo/gguf/mamba2.gguf", 40);
}

Test(random_schedules, zoo_mamba2_and_attention)
{
    run_zoo_model("zoo/gguf/granitehybrid.gguf", 40);
}

Test(random_schedules, zoo_delta_net)
{
    run_zoo_model("zoo/gguf/qwen35.gguf", 40);
}

Test(random_schedules, zoo_short_convolutions)
{
    run_zoo_model("zoo/gguf/lfm2.gguf", 40);
}

Test(random_schedules, zoo_sinks)
{
    run_zoo_model("zoo/gguf/gpt-oss.gguf", 40);
}

Test(random_schedules, zoo_mla)
{
    run_zoo_model("zoo/gguf/deepseek2.gguf", 40);
}
