/* What runners of programs have in common beside the checks of a batch. */
#ifndef NANO_RUNNER_PROGRAM_PARTS_H
#define NANO_RUNNER_PROGRAM_PARTS_H

#include "runner/runner.h"

/* Learned positions reach max_model_len; else NANO_ERR_INVALID_ARGUMENT. */
enum nano_status nano_program_check_positions(const struct nano_runner_config *config,
                                              struct nano_error *err);

/* One of the kv layers that lie in a slot: all have the same shape. */
int nano_program_layer_of_slot(const struct nano_program *program, int slot);

/* Index of the entry of an op's kind and label among the *num_entries of `profile`, a new one if
 * there is none; its name is put at *next_name, which moves behind it. */
int nano_program_profile_entry(struct nano_op_profile *profile, int *num_entries,
                               const struct nano_op *op, char **next_name);

#endif
