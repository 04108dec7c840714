/* What the machine does at best: memory read, and multiply-adds in registers, with as many threads
 * as an engine would use and the kernels of the same instruction set.
 *
 * Each number is the best of many runs of a few milliseconds: other work on the machine can only
 * make them slower. */
#include "base/memory.h"
#include "base/os.h"
#include "nanovllm.h"
#include "runner/cpu/cpu_pool.h"
#include "simd/kernels.h"

#define MAX_BUFFER_BYTES ((uint64_t)512 << 20) /* no cache is larger */
#define MIN_BUFFER_BYTES ((uint64_t)32 << 20)
#define MEMORY_SHARE 16 /* of physical memory at most, so that a small machine survives it */
#define NUM_RUNS 16
#define NUM_ATTEMPTS 8
#define NUM_PARTS 16 /* of the buffer, read in turn: a run is one of them */
#define FIRST_ROUNDS 4096
#define MIN_RUN_NS 1000000 /* of a run of a loop */

/* What all threads of a pool run together, NUM_RUNS times: the loop, or without one the buffer. */
struct probe {
    struct nano_cpu_pool *pool;
    struct nano_peak_loop loop;
    uint64_t num_rounds;
    const struct nano_peak_kernels *peak;
    unsigned char *buffer; /* [num_threads][NUM_PARTS][part_bytes] */
    size_t part_bytes;
    uint64_t start_ns, best_ns; /* thread 0's */
};

/* So that no compiler drops what `result` came from. */
static void keep(uint64_t result)
{
    volatile uint64_t sink = result;
    (void)sink;
}

static unsigned char *slice_of(const struct probe *p, int index)
{
    return p->buffer + (size_t)index * p->part_bytes * NUM_PARTS;
}

/* A run lasts from when all threads have begun until all are done. */
static void run_probe(void *context, int index)
{
    struct probe *p = context;
    for (int run = 0; run < NUM_RUNS; run++) {
        nano_cpu_pool_sync(p->pool);
        if (index == 0)
            p->start_ns = nano_os_clock_ns();
        keep(p->loop.run
                 ? p->loop.run(p->num_rounds)
                 : p->peak->read(slice_of(p, index) + (size_t)run % NUM_PARTS * p->part_bytes,
                                 p->part_bytes));
        nano_cpu_pool_sync(p->pool);
        if (index == 0) {
            const uint64_t ns = nano_os_clock_ns() - p->start_ns;
            p->best_ns = ns < p->best_ns ? ns : p->best_ns;
        }
    }
}

/* The best of the probe's runs, which begin anew. */
static uint64_t best_of(struct probe *p, struct nano_cpu_pool *pool)
{
    p->pool = pool;
    p->best_ns = UINT64_MAX;
    nano_cpu_pool_run(pool, run_probe, p);
    return p->best_ns;
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
static double measure_loop(struct nano_peak_loop loop, struct nano_cpu_pool *pool)
{
    if (!loop.run)
        return 0;
    uint64_t alone_ns, best_ns = UINT64_MAX;
    struct probe probe = {.loop = loop, .num_rounds = choose_num_rounds(loop, &alone_ns)};
    for (int attempt = 0; attempt < NUM_ATTEMPTS && best_ns / 4 > alone_ns / 3; attempt++) {
        const uint64_t ns = best_of(&probe, pool);
        best_ns = ns < best_ns ? ns : best_ns;
    }
    return (double)probe.num_rounds * (double)loop.macs_per_round * pool->num_threads /
           (double)best_ns;
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

/* Each thread writes what it will read, so that the pages lie near it. */
static void touch_slice(void *context, int index)
{
    const struct probe *p = context;
    for (size_t i = 0; i < p->part_bytes * NUM_PARTS; i += NANO_PEAK_READ_BYTES)
        slice_of(p, index)[i] = 1;
}

/* Bytes per ns. Less than one thread has alone is tried again. */
static enum nano_status measure_read(const struct nano_peak_kernels *peak,
                                     struct nano_cpu_pool *pool, struct nano_cpu_pool *alone,
                                     double *out, struct nano_error *err)
{
    const size_t part_bytes = choose_part_bytes(pool->num_threads);
    const size_t run_bytes = part_bytes * (size_t)pool->num_threads;
    const size_t num_bytes = run_bytes * NUM_PARTS;
    struct probe probe = {
        .peak = peak, .part_bytes = part_bytes, .buffer = nano_mem_alloc_aligned(num_bytes)};
    if (!probe.buffer)
        return nano_error_no_memory(err, "measuring the memory", num_bytes);
    nano_cpu_pool_run(pool, touch_slice, &probe);
    const uint64_t alone_ns = best_of(&probe, alone);
    uint64_t best_ns = UINT64_MAX;
    for (int attempt = 0;
         attempt < NUM_ATTEMPTS && best_ns / (uint64_t)pool->num_threads > alone_ns; attempt++) {
        const uint64_t ns = best_of(&probe, pool);
        best_ns = ns < best_ns ? ns : best_ns;
    }
    nano_mem_free_aligned(probe.buffer, num_bytes);
    *out = (double)run_bytes / (double)best_ns;
    return NANO_OK;
}

enum nano_status nano_measure_machine(struct nano_machine_limits *out, int num_threads,
                                      struct nano_error *err)
{
    struct nano_kernels kernels;
    struct nano_machine_limits limits;
    struct nano_cpu_pool pool = {0}, alone = {0};
    enum nano_status status;
    if (num_threads < 0)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "num_threads is %d, expected at least 0", num_threads);
    if (num_threads == 0)
        num_threads = nano_os_num_cpus();
    nano_kernels_init(&kernels, nano_cpu_detect());
    NANO_TRY(nano_cpu_pool_open(&pool, num_threads, err));
    NANO_TRY(nano_cpu_pool_open(&alone, 1, err));
    NANO_TRY(measure_read(&kernels.peak, &pool, &alone, &limits.read_gbps, err));
    limits.int8_gmacs = measure_loop(kernels.peak.int8, &pool);
    limits.bf16_gmacs = measure_loop(kernels.peak.bf16, &pool);
    limits.f32_gmacs = measure_loop(kernels.peak.f32, &pool);
    *out = limits;
fail:
    nano_cpu_pool_close(&alone);
    nano_cpu_pool_close(&pool);
    return status;
}
