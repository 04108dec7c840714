/* Pool: the threads of a CPU runner, from open to close.
 *
 * Not OpenMP's, because a step's threads must wait for each other in ways that suit both an idle
 * machine (spin: a step of a small model takes less time than a wake-up) and a busy one (sleep: the
 * one that all wait for needs the processor), between steps too. */
#ifndef NANO_RUNNER_CPU_POOL_H
#define NANO_RUNNER_CPU_POOL_H

#include "base/error.h"
#include "runner/cpu/cpu_barrier.h"

/* Thread `index` of the pool's num_threads; 0 is the one that called nano_cpu_pool_run. */
typedef void nano_cpu_job_fn(void *context, int index);

struct nano_cpu_pool {
    int num_threads;
    struct nano_cpu_pool_thread *threads; /* [num_threads - 1] */
    nano_cpu_job_fn *job;                 /* NULL: the threads end */
    void *context;
    _Atomic uint32_t started; /* 1: num_threads is final */
    _Alignas(64) struct nano_cpu_barrier barrier;
};

/* Starts num_threads - 1 threads. On failure nothing is left in *pool, which nano_cpu_pool_close
 * takes as it takes a zeroed one. */
enum nano_status nano_cpu_pool_open(struct nano_cpu_pool *pool, int num_threads,
                                    struct nano_error *err);
void nano_cpu_pool_close(struct nano_cpu_pool *pool);

/* Calls job(context, 0 … num_threads - 1), each on its thread; returns when all have returned. What
 * the caller wrote before is visible to them, and what they wrote to the caller after. One call at
 * a time, from any thread. Allocates nothing. */
void nano_cpu_pool_run(struct nano_cpu_pool *pool, nano_cpu_job_fn *job, void *context);

/* Inside a job: waits until all threads are here; writes become visible likewise. */
void nano_cpu_pool_sync(struct nano_cpu_pool *pool);

#endif
