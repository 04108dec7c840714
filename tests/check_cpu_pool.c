/* Pool of the CPU runner: every thread does every job once, sees what was written before a barrier,
 * and sleeps when there is nothing to do. It has no test framework, so that it runs under
 * ThreadSanitizer. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/memory.h"
#include "runner/cpu/cpu_pool.h"
#include "tests/require.h"

enum { MAX_THREADS = 9, NUM_JOBS = 200, NUM_ROUNDS = 5 };

struct state {
    struct nano_cpu_pool pool;
    int base;
    int value[MAX_THREADS]; /* plain: the barriers alone keep their accesses apart */
    int count[MAX_THREADS];
    pthread_t thread[MAX_THREADS];
};

/* Everybody writes his own value, and after a barrier reads his neighbour's. */
static void job(void *context, int index)
{
    struct state *s = context;
    const int num_threads = s->pool.num_threads;
    s->thread[index] = pthread_self();
    s->count[index]++;
    for (int round = 0; round < NUM_ROUNDS; round++) {
        s->value[index] = s->base + round * MAX_THREADS + index;
        nano_cpu_pool_sync(&s->pool);
        const int neighbour = (index + 1) % num_threads;
        REQUIRE(s->value[neighbour] == s->base + round * MAX_THREADS + neighbour);
        nano_cpu_pool_sync(&s->pool);
    }
    s->value[index] = -index;
}

/* Runs jobs; may be called from any thread. */
static void *run_jobs(void *context)
{
    struct state *s = context;
    for (int i = 0; i < NUM_JOBS; i++) {
        s->base = i;
        nano_cpu_pool_run(&s->pool, job, s);
        for (int t = 0; t < s->pool.num_threads; t++)
            REQUIRE(s->value[t] == -t);
        REQUIRE(pthread_equal(s->thread[0], pthread_self()));
        for (int t = 1; t < s->pool.num_threads; t++)
            REQUIRE(!pthread_equal(s->thread[t], s->thread[t - 1]));
    }
    return NULL;
}

static double cpu_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

int main(void)
{
    static struct state s;
    for (int num_threads = 1; num_threads <= MAX_THREADS; num_threads += num_threads < 4 ? 1 : 5) {
        struct nano_error err;
        s = (struct state){0};
        REQUIRE(nano_cpu_pool_open(&s.pool, num_threads, &err) == NANO_OK);
        run_jobs(&s);
        pthread_t other;
        REQUIRE(pthread_create(&other, NULL, run_jobs, &s) == 0);
        pthread_join(other, NULL);
        for (int t = 0; t < MAX_THREADS; t++)
            REQUIRE(s.count[t] == (t < num_threads ? 2 * NUM_JOBS : 0));
        const double before = cpu_seconds();
        nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
        REQUIRE(cpu_seconds() - before < 0.1);
        nano_cpu_pool_close(&s.pool);
        nano_cpu_pool_close(&s.pool);
    }
    nano_mem_fail_after(1);
    REQUIRE(nano_cpu_pool_open(&s.pool, 2, NULL) == NANO_ERR_NO_MEMORY);
    nano_mem_fail_after(0);
    nano_cpu_pool_close(&s.pool);
    printf("pool: every thread did every job\n");
    return 0;
}
