/* Machine: what this computer can do at best, to set beside what a model reaches. */
#ifndef NANO_CLI_MACHINE_H
#define NANO_CLI_MACHINE_H

/* Bytes per nanosecond that `num_threads` threads read together from a buffer larger than caches;
 * 0 if it cannot be measured (no memory, no threads). */
double nano_machine_read_gbps(int num_threads);

#endif
