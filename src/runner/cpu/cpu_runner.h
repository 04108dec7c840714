/* CPU runner: interprets the program with the kernels of this processor.
 *
 * The config.num_threads threads of a pool walk the list of ops together. Values do not depend on
 * how many threads share the work. The threads flush denormals to zero while they run, also during
 * on_logits. */
#ifndef NANO_RUNNER_CPU_RUNNER_H
#define NANO_RUNNER_CPU_RUNNER_H

#include "runner/runner.h"

extern const struct nano_runner nano_runner_cpu;

#endif
