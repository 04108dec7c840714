/* Checks of a batch that do not depend on what computes it. */
#ifndef NANO_RUNNER_BATCH_CHECK_H
#define NANO_RUNNER_BATCH_CHECK_H

#include "runner/runner.h"

struct nano_batch_limits {
    const struct nano_runner_config *config; /* with a program */
    int num_blocks, num_states;
    int num_coming_tokens; /* of the batch that is begun and not ended, which ids may stand for */
};

/* NANO_ERR_INVALID_ARGUMENT, with what is wrong. */
enum nano_status nano_batch_check(const struct nano_batch *batch,
                                  const struct nano_batch_limits *limits, struct nano_error *err);

#endif
