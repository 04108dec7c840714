/* Machine: what this computer could do while a bench ran, measured in short slices between its
 * parts, so that drift shows. */
#ifndef NANO_CLI_MACHINE_H
#define NANO_CLI_MACHINE_H

#include <stdint.h>

#include "base/error.h"

struct nano_machine {
    int num_threads; /* of all slices but one_thread */
    int num_slices;
    uint64_t last_ns; /* when the last one was measured */
    struct nano_machine_limits one_thread, first, last, best;
};

/* Measures the first slice, and one with a single thread. */
enum nano_status nano_machine_init(struct nano_machine *machine, int num_threads,
                                   struct nano_error *err);

/* Another slice, unless there was one a moment ago. Bandwidth is shared with whatever else runs and
 * drifts, so *read_gbps is the better of this slice and the one before it; what a core computes
 * does not, so its peak is the best of all. */
enum nano_status nano_machine_update(struct nano_machine *machine, double *read_gbps,
                                     struct nano_error *err);

/* The multiply-adds that a weight format is computed with. */
enum nano_machine_peak { NANO_MACHINE_INT8, NANO_MACHINE_BF16, NANO_MACHINE_F32 };
extern const char *const nano_machine_peak_names[]; /* "int8", "bf16", "f32" */

/* `quantization` as in nano_model_info. */
enum nano_machine_peak nano_machine_peak_of(const struct nano_machine_limits *limits,
                                            const char *quantization);

/* 1e9 multiplications and additions per second, two for a multiply-add. */
double nano_machine_gops(const struct nano_machine_limits *limits, enum nano_machine_peak peak);

#endif
