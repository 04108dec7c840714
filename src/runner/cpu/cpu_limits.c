/* What the machine does at best: memory read, and multiply-adds in registers, with as many threads
 * as an engine would use and the kernels of the same instruction set.
 *
 * Each number is the median of several short runs: on a machine with other work it says what could
 * be had at this time, as the timings beside it do. */
#include <omp.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/os.h"
#include "nanovllm.h"
#include "simd/kernels.h"

#define MAX_BUFFER_BYTES ((uint64_t)512 << 20) /* no cache is larger */
#define MIN_BUFFER_BYTES ((uint64_t)32 << 20)
#define MEMORY_SHARE 16 /* of physical memory at most, so that a small machine survives it */
#define NUM_RUNS 5
#define MIN_RUN_NS 5000000 /* of a run of a loop */

static int compare_u64(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t median(uint64_t ns[NUM_RUNS])
{
    qsort(ns, NUM_RUNS, sizeof *ns, compare_u64);
    return ns[NUM_RUNS / 2];
}

/* Of one run, by all threads; *ns is the time from when all have begun until all are done. */
static void begin_run(uint64_t *ns)
{
#pragma omp barrier
#pragma omp master
    *ns = nano_os_clock_ns();
}

static void end_run(uint64_t *ns)
{
#pragma omp barrier
#pragma omp master
    *ns = nano_os_clock_ns() - *ns;
}

/* So that no compiler drops what `result` came from. */
static void keep(uint64_t result)
{
    volatile uint64_t sink = result;
    (void)sink;
}

/* Multiply-adds per ns of all threads together. */
static double measure_loop(struct nano_peak_loop loop, int num_threads)
{
    if (!loop.run)
        return 0;
    uint64_t num_rounds = 1000, ns[NUM_RUNS], result = 0, start, first_ns;
    do {
        num_rounds *= 2;
        start = nano_os_clock_ns();
        result += loop.run(num_rounds);
        first_ns = nano_os_clock_ns() - start;
    } while (first_ns < MIN_RUN_NS);
#pragma omp parallel num_threads(num_threads) reduction(+ : result)
    for (int run = 0; run < NUM_RUNS; run++) {
        begin_run(&ns[run]);
        result += loop.run(num_rounds);
        end_run(&ns[run]);
    }
    keep(result);
    return (double)num_rounds * (double)loop.macs_per_round * num_threads / (double)median(ns);
}

static size_t choose_slice_bytes(int num_threads)
{
    uint64_t bytes = nano_os_physical_bytes() / MEMORY_SHARE;
    bytes = bytes < MIN_BUFFER_BYTES ? MIN_BUFFER_BYTES : bytes;
    bytes = bytes > MAX_BUFFER_BYTES ? MAX_BUFFER_BYTES : bytes;
    bytes = bytes / (uint64_t)num_threads / NANO_PEAK_READ_BYTES;
    return (size_t)(bytes ? bytes : 1) * NANO_PEAK_READ_BYTES;
}

/* Bytes per ns. Each thread first writes what it will read, so that the pages lie near it. */
static enum nano_status measure_read(const struct nano_peak_kernels *peak, int num_threads,
                                     double *out, struct nano_error *err)
{
    const size_t slice_bytes = choose_slice_bytes(num_threads);
    const size_t num_bytes = slice_bytes * (size_t)num_threads;
    unsigned char *buffer = nano_mem_alloc_aligned(num_bytes);
    if (!buffer)
        return nano_error_no_memory(err, "measuring the memory", num_bytes);
    uint64_t ns[NUM_RUNS], result = 0;
#pragma omp parallel num_threads(num_threads) reduction(+ : result)
    {
        unsigned char *slice = buffer + (size_t)omp_get_thread_num() * slice_bytes;
        for (size_t i = 0; i < slice_bytes; i += NANO_PEAK_READ_BYTES)
            slice[i] = 1;
        for (int run = 0; run < NUM_RUNS; run++) {
            begin_run(&ns[run]);
            result += peak->read(slice, slice_bytes);
            end_run(&ns[run]);
        }
    }
    keep(result);
    nano_mem_free_aligned(buffer, num_bytes);
    *out = (double)num_bytes / (double)median(ns);
    return NANO_OK;
}

enum nano_status nano_measure_machine(struct nano_machine_limits *out, int num_threads,
                                      struct nano_error *err)
{
    struct nano_kernels kernels;
    struct nano_machine_limits limits;
    if (num_threads < 0)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "num_threads is %d, expected at least 0", num_threads);
    if (num_threads == 0)
        num_threads = nano_os_num_cpus();
    nano_kernels_init(&kernels, nano_cpu_detect());
    enum nano_status status = measure_read(&kernels.peak, num_threads, &limits.read_gbps, err);
    if (status != NANO_OK)
        return status;
    limits.int8_gmacs = measure_loop(kernels.peak.int8, num_threads);
    limits.bf16_gmacs = measure_loop(kernels.peak.bf16, num_threads);
    limits.f32_gmacs = measure_loop(kernels.peak.f32, num_threads);
    *out = limits;
    return NANO_OK;
}
