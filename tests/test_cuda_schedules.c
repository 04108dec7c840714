/* Random schedules on the CUDA runner, whose GPU is emulated and does nothing before it is waited
 * for. */
#include <criterion/criterion.h>

#include "engine_harness.h"
#include "fake_device.h"
#include "nanovllm.h"
#include "random_schedules.h"

Test(cuda_schedules, zoo_dense)
{
    nano_model *model;
    struct nano_error err = {0};
    const char *path = test_data_path("zoo/gguf/llama.gguf");
    if (!path)
        cr_skip_test("NANOVLLM_TEST_DATA is not set");
    cr_assert_eq(nano_model_open(&model, path, &err), NANO_OK, "%s", err.message);
    fake_device.is_late = true;
    random_schedules_run(&(struct random_schedules){model, "cuda", 20, 30, 8, NULL, 0});
    fake_device.is_late = false;
    nano_model_close(model);
    cr_expect_eq(fake_device.live_allocations, 0);
}
