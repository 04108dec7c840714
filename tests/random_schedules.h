/* Same tokens whatever the batch, for any runner. */
#ifndef TESTS_RANDOM_SCHEDULES_H
#define TESTS_RANDOM_SCHEDULES_H

#include "nanovllm.h"

struct random_schedules {
    nano_model *model; /* NULL: a mock runner that remembers */
    const char *runner;
    int longest_prompt, longest_output; /* tokens */
    int num_schedules;
    const struct nano_lora *loras; /* that some requests run with; at most 2 */
    int num_loras;
};

/* Runs every request alone, and then in many schedules; asserts that nothing differs, and that the
 * schedules have met preemption, shared prefixes and what else the runner can. */
void random_schedules_run(const struct random_schedules *schedules);

#endif
