/* The API under threads: clients ask, read and vanish at any moment while the engine answers. Every
 * exchange must end exactly once, and in the end the engine must hold nothing. It has no test
 * framework, so that it runs under ThreadSanitizer. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/api_harness.h"
#include "tests/require.h"

enum { NUM_THREADS = 4, NUM_ROUNDS = 40, BURST = 6 };

static const char *const bodies[] = {
    "{\"prompt\":[[1,2,3],[4,5],[6]],\"n\":2,\"max_tokens\":9,\"stream\":true}",
    ("{\"prompt\":[1,2,3],\"max_tokens\":20,\"stream\":true,"
     "\"stream_options\":{\"include_usage\":true}}"),
    "{\"prompt\":[[1,2,3],[7,8,9,10]],\"n\":3,\"max_tokens\":5}",
    "{\"prompt\":[5],\"max_tokens\":0}",
    "{\"prompt\":[[1],[2],[3],[4],[5],[6],[7],[8]],\"max_tokens\":50,\"stream\":true}",
    "{\"prompt\":[[1],[999999]],\"max_tokens\":30}",
    "{\"prompt\":[1,2],\"max_tokens\":12,\"logprobs\":2,\"return_token_ids\":true,\"stream\":true}",
};

struct worker {
    struct nano_api *api;
    unsigned seed;
    int num_ok, num_refused, num_vanished;
};

static void pause_a_moment(unsigned *seed)
{
    const struct timespec delay = {.tv_nsec = (long)(rand_r(seed) % 300) * 1000};
    nanosleep(&delay, NULL);
}

static void check(struct worker *worker, struct nano_http_exchange *exchange, bool vanished)
{
    exchange_wait(exchange);
    REQUIRE(exchange->num_answers == 1);
    REQUIRE(exchange->on_gone == NULL);
    worker->num_vanished += vanished;
    if (vanished)
        return;
    bool is_stream = exchange->num_begins > 0;
    const char *end = is_stream ? "data: [DONE]\n\n" : "}";
    size_t length = strlen(end);
    REQUIRE(exchange->answer_bytes >= length);
    REQUIRE(strcmp(exchange->answer + exchange->answer_bytes - length, end) == 0);
    REQUIRE(exchange->status == 200 || exchange->status == 429 || exchange->status == 400);
    worker->num_ok += exchange->status == 200;
    worker->num_refused += exchange->status == 429;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    for (int round = 0; round < NUM_ROUNDS; round++) {
        struct nano_http_exchange exchanges[BURST];
        bool vanishes[BURST];
        for (int i = 0; i < BURST; i++) {
            unsigned choice = (unsigned)rand_r(&worker->seed);
            exchange_init(&exchanges[i], "/v1/completions",
                          bodies[choice % (sizeof bodies / sizeof *bodies)]);
            if (choice / 16 % 5 == 0)
                exchanges[i].writes_before_gone = 1 + (int)(choice / 1024 % 5);
            vanishes[i] = choice / 64 % 3 == 0;
            if (vanishes[i] && choice / 256 % 2)
                exchange_vanish(&exchanges[i]); /* before it is handled */
            REQUIRE(nano_api_handle(worker->api, &exchanges[i]));
        }
        for (int i = 0; i < BURST; i++) {
            if (!vanishes[i])
                continue;
            pause_a_moment(&worker->seed);
            exchange_vanish(&exchanges[i]);
        }
        for (int i = 0; i < BURST; i++) {
            check(worker, &exchanges[i], vanishes[i] || exchanges[i].writes_before_gone > 0);
            exchange_deinit(&exchanges[i]);
        }
    }
    return NULL;
}

int main(void)
{
    static struct nano_metrics metrics;
    struct nano_engine_params params = nano_engine_params_default();
    struct nano_stats stats;
    struct nano_api api;
    nano_engine *engine;
    pthread_t threads[NUM_THREADS];
    struct worker workers[NUM_THREADS] = {0};
    int num_ok = 0, num_refused = 0, num_vanished = 0;
    params.runner = "mock-kv";
    params.max_model_len = 128;
    params.block_size = 4;
    params.num_blocks = 200;
    params.max_num_seqs = 16;
    params.max_num_queued_reqs = 30;
    REQUIRE(nano_engine_create(&engine, NULL, &params, NULL) == NANO_OK);
    api_init(&api, engine, NULL, &metrics);
    for (int i = 0; i < NUM_THREADS; i++) {
        workers[i] = (struct worker){.api = &api, .seed = (unsigned)i + 1};
        REQUIRE(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < NUM_THREADS; i++) {
        pthread_join(threads[i], NULL);
        num_ok += workers[i].num_ok;
        num_refused += workers[i].num_refused;
        num_vanished += workers[i].num_vanished;
    }
    nano_engine_wait_idle(engine);
    nano_engine_get_stats(engine, &stats);
    printf("%d answered, %d refused, %d vanished\n", num_ok, num_refused, num_vanished);
    REQUIRE(num_ok > 0 && num_refused > 0 && num_vanished > 0);
    REQUIRE(stats.num_blocks_used == 0);
    REQUIRE(stats.num_requests_finished == stats.num_requests_submitted);
    nano_engine_destroy(engine);
    return 0;
}
