/* What the API stands on, without a network: exchanges that record their answer, and metrics that
 * count. It has no test framework, so that it runs under ThreadSanitizer too. */
#ifndef NANO_TESTS_API_HARNESS_H
#define NANO_TESTS_API_HARNESS_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "server/api.h"

struct nano_http_exchange {
    const char *method, *path, *body;
    size_t body_bytes;
    int writes_before_gone; /* then a write fails; 0: never */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    int status, num_answers; /* ended answers: must become 1 */
    int num_begins, num_writes;
    char content_type[64];
    char retry_after[16], allow[16];
    char *answer; /* zero-terminated */
    size_t answer_bytes;
    nano_http_gone_fn on_gone;
    void *gone_data;
    bool gone, gone_running;
    int num_prompt_tokens, num_cached_tokens, num_completion_tokens;
};

struct nano_metrics {
    atomic_int counts[NANO_NUM_METRICS];
    double sums[NANO_NUM_METRICS], least[NANO_NUM_METRICS]; /* of the engine's thread */
    atomic_int finished[8];
};

void exchange_init(struct nano_http_exchange *exchange, const char *path, const char *body);
void exchange_deinit(struct nano_http_exchange *exchange);

/* The client vanishes: calls on_gone as the server would. */
void exchange_vanish(struct nano_http_exchange *exchange);

/* Waits until the answer is ended. */
void exchange_wait(struct nano_http_exchange *exchange);

/* An API with the given engine and the built-in model's defaults; metrics are zeroed. */
void api_init(struct nano_api *api, nano_engine *engine, nano_model *model,
              struct nano_metrics *metrics);

#endif
