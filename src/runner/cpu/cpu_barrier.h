/* Barrier of a step's threads, hundreds of times per step.
 *
 * Its threads spin for as long as a wake-up takes and then sleep; where that turns out to happen
 * often, as on a busy machine, they sleep at once. */
#ifndef NANO_RUNNER_CPU_BARRIER_H
#define NANO_RUNNER_CPU_BARRIER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct nano_cpu_barrier {
    bool spin;        /* false: sleep at once, because there are more threads than processors */
    uint32_t penalty; /* barriers_to_sleep after the next failure */
    uint32_t barriers_to_sleep; /* for so many more nobody spins */
    _Atomic uint32_t arrived;
    _Atomic uint32_t generation; /* grows when all have arrived */
    _Atomic uint32_t sleepers;
};

void nano_cpu_barrier_init(struct nano_cpu_barrier *barrier, bool spin);

/* Returns when num_threads threads have called it; what they wrote before is visible after. */
void nano_cpu_barrier_wait(struct nano_cpu_barrier *barrier, uint32_t num_threads);

#endif
