/* Engine threads: clients submit, cancel, look and wait from several threads and from callbacks
 * while the engine runs. Every completion must end exactly once, and what wait_idle promises must
 * hold when it returns. It has no test framework, so that it runs under ThreadSanitizer. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "nanovllm.h"
#include "tests/require.h"

enum { NUM_THREADS = 4, NUM_ROUNDS = 30, BURST = 8, MAX_N = 3, NUM_WAITS = 50 };

struct request {
    nano_engine *engine;
    uint64_t id;
    int n, num_tokens;
    bool cancels_itself;
    atomic_int num_finished[MAX_N];
    atomic_int num_left; /* completions without an end */
};

static atomic_ullong num_steps, num_submitted;

static void on_step(const struct nano_step *step, void *user_data)
{
    const struct timespec delay = {.tv_nsec = *(const long *)user_data};
    nanosleep(&delay, NULL);
    atomic_store(&num_steps, step->step + 1);
}

static void on_output(const struct nano_output *output, void *user_data)
{
    struct request *r = user_data;
    REQUIRE(output->request_id == r->id);
    r->num_tokens += output->num_tokens;
    if (r->cancels_itself && r->num_tokens > 5) {
        nano_engine_cancel(r->engine, r->id);
        nano_engine_cancel(r->engine, r->id - 1);
    }
    if (output->finish_reason == NANO_FINISH_NONE)
        return;
    REQUIRE(output->finish_reason != NANO_FINISH_ERROR);
    REQUIRE(output->queued_ns < 60000000000u && output->prefill_ns < 60000000000u);
    atomic_fetch_add(&r->num_finished[output->index], 1);
    atomic_fetch_sub(&r->num_left, 1); /* the last: the client may look from now on */
}

static bool submit(struct request *r, nano_engine *engine, int seed)
{
    static const int32_t prompt[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17};
    struct nano_request request = nano_request_default();
    r->engine = engine;
    r->n = 1 + seed % MAX_N;
    r->cancels_itself = seed % 5 == 0;
    atomic_store(&r->num_left, r->n);
    request.prompt_token_ids = prompt;
    request.num_prompt_token_ids = 3 + (size_t)seed % 14;
    request.sampling.n = r->n;
    request.sampling.max_tokens = seed % 40;
    request.sampling.detokenize = false;
    request.priority = seed % 3;
    request.on_output = on_output;
    request.user_data = r;
    return nano_engine_submit(engine, &request, &r->id, NULL) == NANO_OK;
}

static void *client(void *argument)
{
    nano_engine *engine = argument;
    struct nano_stats stats;
    struct nano_op_profile profile[4];
    for (int round = 0; round < NUM_ROUNDS; round++) {
        struct request *requests = calloc(BURST, sizeof *requests);
        for (int i = 0; i < BURST; i++)
            REQUIRE(submit(&requests[i], engine, round * BURST + i));
        nano_engine_cancel(engine, requests[round % BURST].id);
        nano_engine_get_stats(engine, &stats);
        nano_engine_get_profile(engine, profile, 4);
        if (round % 4 == 0)
            nano_engine_wait_idle(engine);
        for (int i = 0; i < BURST; i++) {
            while (atomic_load(&requests[i].num_left) > 0) {
                nano_engine_get_stats(engine, &stats);
                sched_yield();
            }
            for (int k = 0; k < requests[i].n; k++)
                REQUIRE(atomic_load(&requests[i].num_finished[k]) == 1);
        }
        atomic_fetch_add(&num_submitted, BURST);
        free(requests);
    }
    return NULL;
}

static nano_engine *make_engine(long step_delay_ns)
{
    static long delay_ns;
    struct nano_engine_params params = nano_engine_params_default();
    nano_engine *engine;
    params.runner = "mock-kv";
    params.max_model_len = 64;
    params.block_size = 4;
    params.num_blocks = 40;
    params.max_num_seqs = 12;
    params.max_num_batched_tokens = 30;
    params.on_step = on_step;
    params.on_step_user_data = &delay_ns;
    delay_ns = step_delay_ns;
    REQUIRE(nano_engine_create(&engine, NULL, &params, NULL) == NANO_OK);
    return engine;
}

static void many_clients(void)
{
    nano_engine *engine = make_engine(0);
    pthread_t threads[NUM_THREADS];
    struct nano_stats stats;
    for (int i = 0; i < NUM_THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, client, engine) == 0);
    for (int i = 0; i < NUM_THREADS; i++)
        pthread_join(threads[i], NULL);
    nano_engine_wait_idle(engine);
    nano_engine_get_stats(engine, &stats);
    REQUIRE(stats.num_requests_finished == atomic_load(&num_submitted));
    REQUIRE(stats.num_blocks_used == 0);
    nano_engine_destroy(engine);
}

/* When wait_idle returns, the last step is over: its numbers are there and on_step was called. */
static void wait_idle_sees_the_end(void)
{
    nano_engine *engine = make_engine(1000000);
    struct nano_stats stats;
    for (int i = 1; i <= NUM_WAITS; i++) {
        struct request r = {0};
        REQUIRE(submit(&r, engine, 6));
        while (atomic_load(&r.num_left) > 0)
            sched_yield();
        nano_engine_wait_idle(engine);
        unsigned long long steps = atomic_load(&num_steps);
        nano_engine_get_stats(engine, &stats);
        REQUIRE(stats.num_requests_finished == (uint64_t)i);
        REQUIRE(stats.num_steps_total == steps);
    }
    nano_engine_destroy(engine);
}

static void destroy_in_the_middle(void)
{
    for (int round = 0; round < NUM_ROUNDS; round++) {
        struct request requests[BURST] = {0};
        nano_engine *engine = make_engine(0);
        for (int i = 0; i < BURST; i++)
            REQUIRE(submit(&requests[i], engine, round + 30));
        nano_engine_destroy(engine);
        for (int i = 0; i < BURST; i++)
            REQUIRE(atomic_load(&requests[i].num_left) == 0);
    }
}

int main(void)
{
    many_clients();
    wait_idle_sees_the_end();
    destroy_in_the_middle();
    return 0;
}
