/* Memory plan: from parameters and a program to fixed sizes, before anything is allocated.
 *
 *   budget = weights + mapped file + activations + engine (queues, tables, sampler, tokenizer,
 *            the process itself) + recurrent states + KV blocks, which take what is left
 */
#ifndef NANO_ENGINE_MEMORY_PLAN_H
#define NANO_ENGINE_MEMORY_PLAN_H

#include "engine/adapters.h"
#include "engine/model.h"
#include "engine/scheduler.h"
#include "runner/runner.h"

/* The parameters with every default decided. */
struct nano_engine_setup {
    const struct nano_runner *runner;
    struct nano_runner_config runner_config;
    struct nano_scheduler_config scheduler_config;
    struct nano_memory_plan plan;
    uint64_t request_bytes; /* part of the plan's engine_bytes: what queued requests may hold */
    bool has_budget;        /* one that was asked for */
    float gpu_memory_utilization;
};

/* The runner that was asked for, or that the model needs. */
const char *nano_engine_runner_name(const nano_model *model, const char *runner);

/* Fills *out. `program` and `model` are NULL with the mock runner, `program` with ONNX graphs too,
 * `adapters` where there are none; their files must be open as long as runner_config is used. When it
 * does not fit the budget the plan is filled all the same. */
enum nano_status nano_engine_setup_make(struct nano_engine_setup *out, const nano_model *model,
                                        const struct nano_program *program,
                                        const struct nano_adapters *adapters,
                                        const struct nano_engine_params *params,
                                        struct nano_error *err);

#endif
