/* The runners of this build. */
#include <string.h>

#include "config.h"

#include "runner/cpu/cpu_runner.h"
#include "runner/mock/mock_runner.h"
#ifdef NANO_HAVE_CUDA
#include "runner/cuda/cuda_runner.h"
#endif
#ifdef NANO_HAVE_ONNXRUNTIME
#include "runner/onnx/onnx_runner.h"
#endif
#include "runner/runner.h"

static const struct nano_runner *const runners[] = {
    &nano_runner_cpu,
#ifdef NANO_HAVE_CUDA
    &nano_runner_cuda,
#endif
#ifdef NANO_HAVE_ONNXRUNTIME
    &nano_runner_onnx,
#endif
    &nano_runner_mock,         &nano_runner_mock_kv,        &nano_runner_mock_window,
    &nano_runner_mock_windows, &nano_runner_mock_state,     &nano_runner_mock_hybrid,
    &nano_runner_mock_device,  &nano_runner_mock_device_kv, &nano_runner_mock_device_windows};

enum nano_status nano_runner_find(const struct nano_runner **out, const char *name,
                                  struct nano_error *err)
{
    char known[256] = "";
    *out = NULL;
    for (size_t i = 0; i < sizeof runners / sizeof *runners; i++) {
        if (strcmp(runners[i]->name, name) == 0) {
            *out = runners[i];
            return NANO_OK;
        }
        strcat(known, i ? ", " : "");
        strcat(known, runners[i]->name);
    }
    if (strcmp(name, "cuda") == 0)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "runner 'cuda' is not in this build: ./configure --with-cuda");
    if (strcmp(name, "onnx") == 0)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "runner 'onnx' is not in this build: ./configure --with-onnxruntime");
    return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                          "runner '%s' is unknown, expected one of: %s", name, known);
}
