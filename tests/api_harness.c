/* API harness. */
#include "tests/api_harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "tests/require.h"

void exchange_init(struct nano_http_exchange *exchange, const char *path, const char *body)
{
    memset(exchange, 0, sizeof *exchange);
    exchange->method = body ? "POST" : "GET";
    exchange->path = path;
    exchange->body = body ? body : "";
    exchange->body_bytes = strlen(exchange->body);
    exchange->answer = calloc(1, 1);
    pthread_mutex_init(&exchange->lock, NULL);
    pthread_cond_init(&exchange->changed, NULL);
}

void exchange_deinit(struct nano_http_exchange *exchange)
{
    free(exchange->answer);
    pthread_cond_destroy(&exchange->changed);
    pthread_mutex_destroy(&exchange->lock);
}

static void call_gone(struct nano_http_exchange *exchange)
{
    pthread_mutex_lock(&exchange->lock);
    nano_http_gone_fn on_gone = exchange->num_answers == 0 ? exchange->on_gone : NULL;
    exchange->gone = true;
    exchange->on_gone = NULL;
    exchange->gone_running = on_gone != NULL;
    pthread_mutex_unlock(&exchange->lock);
    if (!on_gone)
        return;
    on_gone(exchange->gone_data);
    pthread_mutex_lock(&exchange->lock);
    exchange->gone_running = false;
    pthread_cond_broadcast(&exchange->changed);
    pthread_mutex_unlock(&exchange->lock);
}

void exchange_vanish(struct nano_http_exchange *exchange)
{
    call_gone(exchange);
}

void exchange_wait(struct nano_http_exchange *exchange)
{
    pthread_mutex_lock(&exchange->lock);
    while (exchange->num_answers == 0 || exchange->gone_running)
        pthread_cond_wait(&exchange->changed, &exchange->lock);
    pthread_mutex_unlock(&exchange->lock);
}

void api_init(struct nano_api *api, nano_engine *engine, nano_model *model,
              struct nano_metrics *metrics)
{
    static const char *const names[] = {"tiny", "alias"};
    memset(metrics, 0, sizeof *metrics);
    *api = (struct nano_api){.engine = engine,
                             .model = model,
                             .tokenizer = model ? nano_model_get_tokenizer(model, NULL) : NULL,
                             .metrics = metrics,
                             .served_model_names = names,
                             .num_served_model_names = 2,
                             .max_logprobs = 20,
                             .created_s = 1700000000,
                             .sampling = nano_sampling_params_default()};
}

/* ---- http.h ---------------------------------------------------------------------------------- */

const char *nano_http_method(const struct nano_http_exchange *exchange)
{
    return exchange->method;
}

const char *nano_http_path(const struct nano_http_exchange *exchange)
{
    return exchange->path;
}

const char *nano_http_body(const struct nano_http_exchange *exchange, size_t *num_bytes)
{
    *num_bytes = exchange->body_bytes;
    return exchange->body;
}

const char *nano_http_header(const struct nano_http_exchange *exchange, const char *name)
{
    (void)exchange, (void)name;
    return NULL;
}

const char *nano_http_request_id(const struct nano_http_exchange *exchange)
{
    (void)exchange;
    return "r\"1"; /* a client may send anything */
}

uint64_t nano_http_arrival_ns(const struct nano_http_exchange *exchange)
{
    (void)exchange;
    return nano_os_clock_ns();
}

void nano_http_add_header(struct nano_http_exchange *exchange, const char *name, const char *value)
{
    REQUIRE(exchange->num_begins == 0 && exchange->num_answers == 0);
    if (strcmp(name, "Retry-After") == 0)
        snprintf(exchange->retry_after, sizeof exchange->retry_after, "%s", value);
    if (strcmp(name, "Allow") == 0)
        snprintf(exchange->allow, sizeof exchange->allow, "%s", value);
}

static void append(struct nano_http_exchange *exchange, const char *data, size_t num_bytes)
{
    exchange->answer = realloc(exchange->answer, exchange->answer_bytes + num_bytes + 1);
    memcpy(exchange->answer + exchange->answer_bytes, data, num_bytes);
    exchange->answer_bytes += num_bytes;
    exchange->answer[exchange->answer_bytes] = '\0';
}

/* As http.h promises, the end waits for on_gone. */
static void end_locked(struct nano_http_exchange *exchange)
{
    while (exchange->gone_running)
        pthread_cond_wait(&exchange->changed, &exchange->lock);
    exchange->on_gone = NULL;
    exchange->num_answers++;
    REQUIRE(exchange->num_answers == 1);
    pthread_cond_broadcast(&exchange->changed);
}

void nano_http_reply(struct nano_http_exchange *exchange, int status, const char *content_type,
                     const char *body, size_t num_bytes)
{
    pthread_mutex_lock(&exchange->lock);
    REQUIRE(exchange->num_begins == 0);
    exchange->status = status;
    snprintf(exchange->content_type, sizeof exchange->content_type, "%s", content_type);
    append(exchange, body, num_bytes);
    end_locked(exchange);
    pthread_mutex_unlock(&exchange->lock);
}

void nano_http_reply_static(struct nano_http_exchange *exchange, int status,
                            const char *content_type, const char *body, size_t num_bytes)
{
    nano_http_reply(exchange, status, content_type, body, num_bytes);
}

void nano_http_stream_begin(struct nano_http_exchange *exchange, int status,
                            const char *content_type)
{
    pthread_mutex_lock(&exchange->lock);
    REQUIRE(exchange->num_begins == 0 && exchange->num_answers == 0);
    exchange->num_begins++;
    exchange->status = status;
    snprintf(exchange->content_type, sizeof exchange->content_type, "%s", content_type);
    pthread_mutex_unlock(&exchange->lock);
}

bool nano_http_stream_write(struct nano_http_exchange *exchange, const char *data, size_t num_bytes)
{
    pthread_mutex_lock(&exchange->lock);
    REQUIRE(exchange->num_begins == 1 && exchange->num_answers == 0);
    exchange->num_writes++;
    bool ok = !exchange->gone && (exchange->writes_before_gone == 0 ||
                                  exchange->num_writes <= exchange->writes_before_gone);
    if (ok)
        append(exchange, data, num_bytes);
    pthread_mutex_unlock(&exchange->lock);
    return ok;
}

void nano_http_stream_end(struct nano_http_exchange *exchange)
{
    pthread_mutex_lock(&exchange->lock);
    REQUIRE(exchange->num_begins == 1);
    end_locked(exchange);
    pthread_mutex_unlock(&exchange->lock);
}

void nano_http_on_gone(struct nano_http_exchange *exchange, nano_http_gone_fn on_gone,
                       void *user_data)
{
    pthread_mutex_lock(&exchange->lock);
    bool gone = exchange->gone;
    exchange->on_gone = on_gone;
    exchange->gone_data = user_data;
    pthread_mutex_unlock(&exchange->lock);
    if (gone)
        call_gone(exchange);
}

void nano_http_note_usage(struct nano_http_exchange *exchange, int num_prompt_tokens,
                          int num_cached_tokens, int num_completion_tokens)
{
    REQUIRE(exchange->num_answers == 0);
    exchange->num_prompt_tokens = num_prompt_tokens;
    exchange->num_cached_tokens = num_cached_tokens;
    exchange->num_completion_tokens = num_completion_tokens;
}

/* ---- metrics.h ------------------------------------------------------------------------------- */

void nano_metrics_observe(struct nano_metrics *metrics, enum nano_metric metric, double value)
{
    REQUIRE(value >= 0);
    int num = atomic_fetch_add(&metrics->counts[metric], 1);
    if (num == 0 || value < metrics->least[metric])
        metrics->least[metric] = value;
    metrics->sums[metric] += value;
}

void nano_metrics_finished(struct nano_metrics *metrics, enum nano_finish_reason reason)
{
    atomic_fetch_add(&metrics->finished[reason], 1);
}
