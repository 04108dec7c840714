/* The API on the built-in model, over exchanges that record: asking, and reading answers. Every
 * test program that includes it has an engine of its own, which is driven by hand. */
#ifndef NANO_TESTS_API_FIXTURE_H
#define NANO_TESTS_API_FIXTURE_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/api_harness.h"

#define COMPLETION "{\"prompt\":\"Once\",\"max_tokens\":2}"
#define CHAT "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"max_tokens\":2}"

static nano_model *model;
static nano_engine *engine;
static struct nano_metrics metrics;
static struct nano_api api;
static struct nano_http_exchange last; /* of the last call */

static inline struct nano_engine_params engine_params(void)
{
    struct nano_engine_params params = nano_engine_params_default();
    params.manual_step = true;
    params.num_threads = 1;
    params.kv_cache_dtype = NANO_KV_F32;
    return params;
}

static inline void start(const struct nano_engine_params *params)
{
    struct nano_error err;
    cr_assert_eq(nano_model_open(&model, NULL, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_engine_create(&engine, model, params, &err), NANO_OK, "%s", err.message);
    api_init(&api, engine, model, &metrics);
    exchange_init(&last, "", NULL);
}

static inline void open_template(const char *source)
{
    struct nano_error err;
    nano_chat_template *made;
    cr_assert_eq(nano_chat_template_create(&made, source, strlen(source), &err), NANO_OK, "%s",
                 err.message);
    nano_chat_template_destroy((nano_chat_template *)api.chat_template);
    api.chat_template = made;
}

static inline void setup(void)
{
    struct nano_engine_params params = engine_params();
    start(&params);
}

static inline void setup_chat(void)
{
    setup();
    open_template(nano_model_get_info(model)->chat_template);
}

static inline void teardown(void)
{
    struct nano_stats stats;
    nano_engine_get_stats(engine, &stats);
    cr_expect_eq(stats.num_blocks_used, 0);
    cr_expect_eq(stats.num_requests_finished, stats.num_requests_submitted);
    nano_engine_destroy(engine);
    nano_chat_template_destroy(api.chat_template);
    nano_model_close(model);
    exchange_deinit(&last);
}

static inline void post_raw(const char *path, const char *body, size_t num_bytes)
{
    exchange_deinit(&last);
    exchange_init(&last, path, body);
    last.body_bytes = num_bytes;
    cr_assert(nano_api_handle(&api, &last), "%s is a route", path);
}

/* Asks and lets the engine answer. */
static inline void post(const char *path, const char *body)
{
    post_raw(path, body, strlen(body));
    nano_engine_wait_idle(engine);
    cr_assert_eq(last.num_answers, 1, "%s: one answer", body);
}

static inline json_t *parse(const char *text, size_t num_bytes)
{
    json_error_t error;
    json_t *json = json_loadb(text, num_bytes, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    cr_assert_not_null(json, "%s in %.*s", error.text, (int)num_bytes, text);
    return json;
}

static inline json_t *ask(const char *path, const char *body)
{
    post(path, body);
    cr_assert_eq(last.status, 200, "%s: %d %s", body, last.status, last.answer);
    cr_assert_str_eq(last.content_type, "application/json");
    return parse(last.answer, last.answer_bytes);
}

/* The members of a path like "choices.0.text". */
static inline json_t *at(const json_t *json, const char *path)
{
    while (json && *path) {
        char name[64];
        size_t length = strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)length, path);
        json = json_is_array(json) ? json_array_get(json, (size_t)atoi(name))
                                   : json_object_get(json, name);
        path += length + (path[length] == '.');
    }
    return (json_t *)json;
}

static inline const char *string_at(const json_t *json, const char *path)
{
    const char *text = json_string_value(at(json, path));
    cr_assert_not_null(text, "%s is no string", path);
    return text;
}

static inline int int_at(const json_t *json, const char *path)
{
    cr_assert(json_is_integer(at(json, path)), "%s is no whole number", path);
    return (int)json_integer_value(at(json, path));
}

static inline void expect_error(int status, const char *param, const char *message)
{
    cr_expect_eq(last.status, status, "%s: %d %s", last.body, last.status, last.answer);
    json_t *json = parse(last.answer, last.answer_bytes);
    cr_expect(strstr(string_at(json, "error.message"), message) != NULL, "%s: '%s', expected '%s'",
              last.body, string_at(json, "error.message"), message);
    string_at(json, "error.type");
    const char *got = json_string_value(at(json, "error.param"));
    if (param)
        cr_expect(got && strcmp(got, param) == 0, "%s: param %s", last.body, got ? got : "null");
    json_decref(json);
}

/* Events of a stream, put together again as the answer in one piece. */
struct joined {
    char text[8][4000], reasoning[8][4000];
    char reason[8][16];
    int num_logprobs[8], num_ids[8], num_events, roles[8];
    json_t *usage; /* of the last chunk that has it */
    bool done, usage_null_elsewhere;
    char error[200];
};

static inline void join_choice(struct joined *joined, const json_t *choice)
{
    int i = int_at(choice, "index");
    cr_assert(i >= 0 && i < 8);
    const json_t *delta = at(choice, "delta");
    const char *text = json_string_value(delta ? at(delta, "content") : at(choice, "text"));
    const char *reasoning = json_string_value(at(delta, "reasoning_content"));
    cr_assert_eq(joined->reason[i][0], '\0', "nothing comes after the end");
    if (delta && at(delta, "role")) {
        cr_assert_eq(joined->text[i][0], '\0', "the role is first");
        joined->roles[i]++;
    }
    if (text)
        strcat(joined->text[i], text);
    if (reasoning)
        strcat(joined->reasoning[i], reasoning);
    const json_t *logprobs = at(choice, "logprobs");
    joined->num_logprobs[i] +=
        (int)json_array_size(at(logprobs, delta ? "content" : "token_logprobs"));
    joined->num_ids[i] += (int)json_array_size(at(choice, "token_ids"));
    const char *reason = json_string_value(at(choice, "finish_reason"));
    if (reason)
        snprintf(joined->reason[i], sizeof joined->reason[i], "%s", reason);
}

static inline void join_event(struct joined *joined, const json_t *event)
{
    joined->num_events++;
    if (at(event, "error")) {
        snprintf(joined->error, sizeof joined->error, "%s", string_at(event, "error.message"));
        return;
    }
    for (size_t i = 0; i < json_array_size(at(event, "choices")); i++)
        join_choice(joined, json_array_get(at(event, "choices"), i));
    const json_t *usage = at(event, "usage");
    joined->usage_null_elsewhere |= json_is_null(usage);
    if (json_is_object(usage)) {
        json_decref(joined->usage);
        joined->usage = json_deep_copy(usage);
    }
}

static inline void join(struct joined *joined)
{
    memset(joined, 0, sizeof *joined);
    cr_assert_eq(strncmp(last.content_type, "text/event-stream", 17), 0, "%s", last.answer);
    for (const char *rest = last.answer, *end; *rest; rest = end + 2) {
        end = strstr(rest, "\n\n");
        cr_assert_not_null(end);
        cr_assert_eq(strncmp(rest, "data: ", 6), 0);
        cr_assert_not(joined->done, "[DONE] is last");
        if (strncmp(rest + 6, "[DONE]", 6) == 0) {
            joined->done = true;
            continue;
        }
        json_t *event = parse(rest + 6, (size_t)(end - rest) - 6);
        join_event(joined, event);
        json_decref(event);
    }
}

#endif
