/* Machine: read bandwidth. */
#include "cli/machine.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"
#include "base/os.h"

#define MAX_BUFFER_BYTES ((uint64_t)1 << 30) /* no cache is larger */
#define MIN_BUFFER_BYTES ((uint64_t)32 << 20)
#define NUM_PASSES 5
#define UNROLL 8

struct slice {
    uint64_t *words;
    size_t num_words; /* a multiple of UNROLL */
    uint64_t sum;     /* keeps the compiler from dropping the reads */
};

static void *write_slice(void *argument)
{
    struct slice *slice = argument;
    for (size_t i = 0; i < slice->num_words; i++)
        slice->words[i] = i;
    return NULL;
}

/* Independent sums, so that additions do not wait for each other and only memory counts. */
static void *read_slice(void *argument)
{
    struct slice *slice = argument;
    const uint64_t *w = slice->words;
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (size_t i = 0; i < slice->num_words; i += UNROLL) {
        a += w[i] + w[i + 1];
        b += w[i + 2] + w[i + 3];
        c += w[i + 4] + w[i + 5];
        d += w[i + 6] + w[i + 7];
    }
    slice->sum += a + b + c + d;
    return NULL;
}

/* Runs one pass on all threads; false if threads are missing. */
static bool run_pass(void *(*pass)(void *), struct slice *slices, pthread_t *threads,
                     int num_threads)
{
    int started = 0;
    while (started < num_threads &&
           pthread_create(&threads[started], NULL, pass, &slices[started]) == 0)
        started++;
    for (int t = 0; t < started; t++)
        pthread_join(threads[t], NULL);
    return started == num_threads;
}

/* A sixteenth of the memory, so that a small machine survives it. */
static size_t choose_buffer_bytes(void)
{
    uint64_t share = nano_os_physical_bytes() / 16;
    if (share > MAX_BUFFER_BYTES)
        return (size_t)MAX_BUFFER_BYTES;
    return (size_t)(share < MIN_BUFFER_BYTES ? MIN_BUFFER_BYTES : share);
}

double nano_machine_read_gbps(int num_threads)
{
    size_t buffer_bytes = choose_buffer_bytes();
    size_t words_each = buffer_bytes / sizeof(uint64_t) / (size_t)num_threads / UNROLL * UNROLL;
    uint64_t *buffer = nano_mem_alloc_aligned(buffer_bytes);
    struct slice *slices = nano_mem_calloc((size_t)num_threads, sizeof *slices);
    pthread_t *threads = nano_mem_calloc((size_t)num_threads, sizeof *threads);
    uint64_t best_ns = 0;
    bool fine = buffer && slices && threads;
    for (int pass = 0; fine && pass <= NUM_PASSES; pass++) {
        for (int t = 0; t < num_threads; t++) {
            slices[t].words = buffer + (size_t)t * words_each;
            slices[t].num_words = words_each;
        }
        uint64_t start = nano_os_clock_ns();
        /* Writing first places the pages near the thread that will read them. */
        fine = run_pass(pass == 0 ? write_slice : read_slice, slices, threads, num_threads);
        uint64_t ns = nano_os_clock_ns() - start;
        if (pass > 0 && (best_ns == 0 || ns < best_ns))
            best_ns = ns;
    }
    nano_mem_free_aligned(buffer, buffer_bytes);
    nano_mem_free(slices);
    nano_mem_free(threads);
    size_t num_bytes = words_each * (size_t)num_threads * sizeof(uint64_t);
    return fine && best_ns ? (double)num_bytes / (double)best_ns : 0;
}
