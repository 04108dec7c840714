/* The runners of this build. */
#include <string.h>

#include "runner/cpu/cpu_runner.h"
#include "runner/mock/mock_runner.h"
#include "runner/runner.h"

static const struct nano_runner *const runners[] = {
    &nano_runner_cpu,         &nano_runner_mock,         &nano_runner_mock_kv,
    &nano_runner_mock_window, &nano_runner_mock_windows, &nano_runner_mock_state,
    &nano_runner_mock_hybrid};

enum nano_status nano_runner_find(const struct nano_runner **out, const char *name,
                                  struct nano_error *err)
{
    char known[128] = "";
    *out = NULL;
    for (size_t i = 0; i < sizeof runners / sizeof *runners; i++) {
        if (strcmp(runners[i]->name, name) == 0) {
            *out = runners[i];
            return NANO_OK;
        }
        strcat(known, i ? ", " : "");
        strcat(known, runners[i]->name);
    }
    return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                          "runner '%s' is unknown, expected one of: %s", name, known);
}
