/* Pool: threads that stand at a barrier, which whoever has a job for them completes. */
#include "runner/cpu/cpu_pool.h"

#include <pthread.h>

#include "base/memory.h"
#include "base/os.h"

struct nano_cpu_pool_thread {
    struct nano_cpu_pool *pool;
    int index;
    pthread_t id;
};

void nano_cpu_pool_sync(struct nano_cpu_pool *pool)
{
    nano_cpu_barrier_wait(&pool->barrier, (uint32_t)pool->num_threads);
}

static void *thread_main(void *argument)
{
    const struct nano_cpu_pool_thread *thread = argument;
    struct nano_cpu_pool *pool = thread->pool;
    while (!atomic_load_explicit(&pool->started, memory_order_acquire))
        nano_os_wait_while(&pool->started, 0);
    for (;;) {
        nano_cpu_pool_sync(pool);
        if (!pool->job)
            return NULL;
        pool->job(pool->context, thread->index);
        nano_cpu_pool_sync(pool);
    }
}

enum nano_status nano_cpu_pool_open(struct nano_cpu_pool *pool, int num_threads,
                                    struct nano_error *err)
{
    *pool = (struct nano_cpu_pool){.num_threads = 1};
    nano_cpu_barrier_init(&pool->barrier, num_threads <= nano_os_num_cpus());
    pool->threads = nano_mem_calloc((size_t)num_threads, sizeof *pool->threads);
    if (!pool->threads)
        return nano_error_no_memory(err, "threads", (size_t)num_threads * sizeof *pool->threads);
    for (; pool->num_threads < num_threads; pool->num_threads++) {
        struct nano_cpu_pool_thread *thread = &pool->threads[pool->num_threads - 1];
        *thread = (struct nano_cpu_pool_thread){.pool = pool, .index = pool->num_threads};
        if (pthread_create(&thread->id, NULL, thread_main, thread) != 0)
            break;
    }
    const int started = pool->num_threads;
    atomic_store_explicit(&pool->started, 1, memory_order_release);
    nano_os_wake_all(&pool->started);
    if (started == num_threads)
        return NANO_OK;
    nano_cpu_pool_close(pool);
    return nano_error_set(err, NANO_ERR_NO_MEMORY, "thread %d of %d cannot be started", started + 1,
                          num_threads);
}

void nano_cpu_pool_close(struct nano_cpu_pool *pool)
{
    if (!pool->threads)
        return;
    pool->job = NULL;
    nano_cpu_pool_sync(pool);
    for (int i = 0; i < pool->num_threads - 1; i++)
        pthread_join(pool->threads[i].id, NULL);
    nano_mem_free(pool->threads);
    *pool = (struct nano_cpu_pool){0};
}

void nano_cpu_pool_run(struct nano_cpu_pool *pool, nano_cpu_job_fn *job, void *context)
{
    pool->job = job;
    pool->context = context;
    nano_cpu_pool_sync(pool);
    job(context, 0);
    nano_cpu_pool_sync(pool);
}
