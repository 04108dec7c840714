/* What the machine does at best: memory read, and multiply-adds in registers, with as many threads
 * as an engine would use and the kernels of the same instruction set.
 *
 * Each number is the best of many runs of a few milliseconds: other work on the machine can only
 * make them slower. */
#include <omp.h>

#include "base/memory.h"
#include "base/os.h"
#include "nanovllm.h"
#include "simd/kernels.h"

#define MAX_BUFFER_BYTES ((uint64_t)512 << 20) /* no cache is larger */
#define MIN_BUFFER_BYTES ((uint64_t)32 << 20)
#define MEMORY_SHARE 16 /* of physical memory at most, so that a small machine survives it */
#define NUM_RUNS 16
#define NUM_ATTEMPTS 8
#define NUM_PARTS 16 /* of the buffer, read in turn: a run is one of them */
#define FIRST_ROUNDS 4096
#define MIN_RUN_NS 1000000 /* of a run of a loop */

/* By all threads, before and after a run; it lasts from when all have begun until all are done. */
static void begin_run(uint64_t *start_ns)
{
#pragma omp barrier
#pragma omp master
    *start_ns = nano_os_clock_ns();
}

static void end_run(const uint64_t *start_ns, uint64_t *best_ns)
{
#pragma omp barrier
#pragma omp master
    {
        const uint64_t ns = nano_os_clock_ns() - *start_ns;
        if (ns < *best_ns)
            *best_ns = ns;
    }
}

/* So that no compiler drops what `result` came from. */
static void keep(uint64_t result)
{
    volatile uint64_t sink = result;
    (void)sink;
}

/* How many rounds last MIN_RUN_NS on one thread, and how long that is. Too many would do no harm,
 * too few would. */
static uint64_t choose_num_rounds(struct nano_peak_loop loop, uint64_t *alone_ns)
{
    uint64_t num_rounds = FIRST_ROUNDS;
    do {
        num_rounds *= 2;
        *alone_ns = UINT64_MAX;
        for (int i = 0; i < 3; i++) { /* one may have been interrupted */
            const uint64_t start_ns = nano_os_clock_ns();
            keep(loop.run(num_rounds));
            const uint64_t ns = nano_os_clock_ns() - start_ns;
            *alone_ns = ns < *alone_ns ? ns : *alone_ns;
        }
    } while (*alone_ns < MIN_RUN_NS);
    return num_rounds;
}

/* Multiply-adds per ns of all threads together. On a busy machine threads may share a core for a
 * while; what takes much longer than on one thread is tried again. */
static double measure_loop(struct nano_peak_loop loop, int num_threads)
{
    if (!loop.run)
        return 0;
    uint64_t alone_ns, start_ns, best_ns = UINT64_MAX;
    const uint64_t num_rounds = choose_num_rounds(loop, &alone_ns);
    for (int attempt = 0; attempt < NUM_ATTEMPTS && best_ns / 4 > alone_ns / 3; attempt++) {
#pragma omp parallel num_threads(num_threads)
        for (int run = 0; run < NUM_RUNS; run++) {
            begin_run(&start_ns);
            keep(loop.run(num_rounds));
            end_run(&start_ns, &best_ns);
        }
    }
    return (double)num_rounds * (double)loop.macs_per_round * num_threads / (double)best_ns;
}

/* What one thread reads in a run. */
static size_t choose_part_bytes(int num_threads)
{
    uint64_t bytes = nano_os_physical_bytes() / MEMORY_SHARE;
    bytes = bytes < MIN_BUFFER_BYTES ? MIN_BUFFER_BYTES : bytes;
    bytes = bytes > MAX_BUFFER_BYTES ? MAX_BUFFER_BYTES : bytes;
    bytes = bytes / (uint64_t)num_threads / NUM_PARTS / NANO_PEAK_READ_BYTES;
    return (size_t)(bytes ? bytes : 1) * NANO_PEAK_READ_BYTES;
}

/* The best of some runs, one part of each slice by all threads. */
static uint64_t time_reads(const struct nano_peak_kernels *peak, const unsigned char *buffer,
                           size_t part_bytes, int num_threads)
{
    uint64_t start_ns, best_ns = UINT64_MAX;
#pragma omp parallel num_threads(num_threads)
    {
        const unsigned char *slice = buffer + (size_t)omp_get_thread_num() * part_bytes * NUM_PARTS;
        for (int run = 0; run < NUM_RUNS; run++) {
            begin_run(&start_ns);
            keep(peak->read(slice + (size_t)(run % NUM_PARTS) * part_bytes, part_bytes));
            end_run(&start_ns, &best_ns);
        }
    }
    return best_ns;
}

/* Bytes per ns. Each thread first writes what it will read, so that the pages lie near it. Less
 * than one thread has alone is tried again. */
static enum nano_status measure_read(const struct nano_peak_kernels *peak, int num_threads,
                                     double *out, struct nano_error *err)
{
    const size_t part_bytes = choose_part_bytes(num_threads);
    const size_t run_bytes = part_bytes * (size_t)num_threads, num_bytes = run_bytes * NUM_PARTS;
    unsigned char *buffer = nano_mem_alloc_aligned(num_bytes);
    if (!buffer)
        return nano_error_no_memory(err, "measuring the memory", num_bytes);
#pragma omp parallel for num_threads(num_threads) schedule(static)
    for (int t = 0; t < num_threads; t++)
        for (size_t i = 0; i < part_bytes * NUM_PARTS; i += NANO_PEAK_READ_BYTES)
            buffer[(size_t)t * part_bytes * NUM_PARTS + i] = 1;
    const uint64_t alone_ns = time_reads(peak, buffer, part_bytes, 1);
    uint64_t best_ns = UINT64_MAX;
    for (int attempt = 0; attempt < NUM_ATTEMPTS && best_ns / (uint64_t)num_threads > alone_ns;
         attempt++) {
        const uint64_t ns = time_reads(peak, buffer, part_bytes, num_threads);
        best_ns = ns < best_ns ? ns : best_ns;
    }
    nano_mem_free_aligned(buffer, num_bytes);
    *out = (double)run_bytes / (double)best_ns;
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
