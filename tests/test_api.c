/* The API on the built-in model, over exchanges that record: what is refused and how, the forms of
 * answers, streams against answers in one piece, and the ends that an answer can have. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "server/json_out.h"
#include "tests/api_harness.h"

#define REASONING_TEMPLATE                                                                      \
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "               \
    "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ " \
    "'<|im_start|>assistant\\n<think>' }}{% endif %}"

static nano_model *model;
static nano_engine *engine;
static struct nano_metrics metrics;
static struct nano_api api;
static struct nano_http_exchange last; /* of the last call */

static struct nano_engine_params engine_params(void)
{
    struct nano_engine_params params = nano_engine_params_default();
    params.manual_step = true;
    params.num_threads = 1;
    params.kv_cache_dtype = NANO_KV_F32;
    return params;
}

static void start(const struct nano_engine_params *params)
{
    struct nano_error err;
    cr_assert_eq(nano_model_open(&model, NULL, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_engine_create(&engine, model, params, &err), NANO_OK, "%s", err.message);
    api_init(&api, engine, model, &metrics);
    exchange_init(&last, "", NULL);
}

static void open_template(const char *source)
{
    struct nano_error err;
    nano_chat_template *made;
    cr_assert_eq(nano_chat_template_create(&made, source, strlen(source), &err), NANO_OK, "%s",
                 err.message);
    nano_chat_template_destroy((nano_chat_template *)api.chat_template);
    api.chat_template = made;
}

static void setup(void)
{
    struct nano_engine_params params = engine_params();
    start(&params);
}

static void setup_chat(void)
{
    setup();
    open_template(nano_model_get_info(model)->chat_template);
}

static void teardown(void)
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

static void post_raw(const char *path, const char *body, size_t num_bytes)
{
    exchange_deinit(&last);
    exchange_init(&last, path, body);
    last.body_bytes = num_bytes;
    cr_assert(nano_api_handle(&api, &last), "%s is a route", path);
}

/* Asks and lets the engine answer. */
static void post(const char *path, const char *body)
{
    post_raw(path, body, strlen(body));
    nano_engine_wait_idle(engine);
    cr_assert_eq(last.num_answers, 1, "%s: one answer", body);
}

static json_t *parse(const char *text, size_t num_bytes)
{
    json_error_t error;
    json_t *json = json_loadb(text, num_bytes, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    cr_assert_not_null(json, "%s in %.*s", error.text, (int)num_bytes, text);
    return json;
}

static json_t *ask(const char *path, const char *body)
{
    post(path, body);
    cr_assert_eq(last.status, 200, "%s: %d %s", body, last.status, last.answer);
    cr_assert_str_eq(last.content_type, "application/json");
    return parse(last.answer, last.answer_bytes);
}

/* The members of a path like "choices.0.text". */
static json_t *at(const json_t *json, const char *path)
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

static const char *string_at(const json_t *json, const char *path)
{
    const char *text = json_string_value(at(json, path));
    cr_assert_not_null(text, "%s is no string", path);
    return text;
}

static int int_at(const json_t *json, const char *path)
{
    cr_assert(json_is_integer(at(json, path)), "%s is no whole number", path);
    return (int)json_integer_value(at(json, path));
}

static void expect_error(int status, const char *param, const char *message)
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

/* ---- Fields ------------------------------------------------------------------------------------
 */

struct wrong_case {
    const char *field, *value, *message;
};

static const struct wrong_case wrong_common[] = {
    {"model", "5", "model: expected a string, got 5"},
    {"max_tokens", "\"9\"", "max_tokens: expected a whole number of at least 0, got a string"},
    {"max_tokens", "-1", "got -1"},
    {"max_tokens", "1.5", "got 1.5"},
    {"max_tokens", "1e300", "got 1e+300"},
    {"n_predict", "-2", "n_predict: expected a whole number of at least -1"},
    {"min_tokens", "true", "min_tokens: expected a whole number"},
    {"n", "0", "n: expected a whole number between 1 and 64, got 0"},
    {"n", "65", "got 65"},
    {"temperature", "\"hot\"", "temperature: expected a number between 0 and 2, got a string"},
    {"temperature", "2.1", "got 2.1"},
    {"temperature", "-0.1", "got -0.1"},
    {"top_p", "0", "top_p: expected a number above 0 and at most 1, got 0"},
    {"top_p", "1e-60", "top_p: expected a number above 0"},
    {"top_p", "[]", "got an array"},
    {"top_k", "-2", "top_k: expected a whole number of at least -1"},
    {"min_p", "1.5", "min_p: expected a number between 0 and 1"},
    {"repetition_penalty", "0", "repetition_penalty: expected a number above 0"},
    {"presence_penalty", "3", "presence_penalty: expected a number between -2 and 2"},
    {"frequency_penalty", "{}",
     "frequency_penalty: expected a number between -2 and 2, got an object"},
    {"seed", "1.5", "seed: expected a whole number"},
    {"stop", "5", "stop: expected a string or a list"},
    {"stop", "[\"\"]", "stop: expected"},
    {"stop", "[\"a\\u0000\"]", "stop: expected"},
    {"stop", "[\"a\",null]", "got null"},
    {"stop_token_ids", "[\"a\"]", "stop_token_ids: expected token ids, got a string at index 0"},
    {"stop_token_ids", "[-1]", "got -1"},
    {"stop_token_ids", "[99999999]", "stop_token_ids"},
    {"logit_bias", "[]", "logit_bias: expected an object"},
    {"logit_bias", "{\"x\":1}", "logit_bias: expected token ids as keys, got \"x\""},
    {"logit_bias", "{\"1\":101}", "logit_bias: expected numbers between -100 and 100, got 101"},
    {"ignore_eos", "1", "ignore_eos: expected true or false, got 1"},
    {"skip_special_tokens", "\"no\"", "skip_special_tokens: expected true or false"},
    {"include_stop_str_in_output", "0", "include_stop_str_in_output: expected true or false"},
    {"prompt_logprobs", "-1", "prompt_logprobs: expected a whole number of at least 0"},
    {"prompt_logprobs", "21", "prompt_logprobs: expected at most 20, got 21"},
    {"priority", "\"high\"", "priority: expected a whole number"},
    {"cache_salt", "7", "cache_salt: expected a string"},
    {"stream", "\"yes\"", "stream: expected true or false"},
    {"stream_options", "true", "stream_options: expected an object, got true"},
    {"stream_options", "{}", "stream_options: expected stream to be true with it"},
    {"return_token_ids", "[]", "return_token_ids: expected true or false"},
    {"add_special_tokens", "2", "add_special_tokens: expected true or false"},
    {"response_format", "{\"type\":\"json_object\"}", "response_format: answers cannot be"},
    {"guided_json", "{}", "guided_json"},
    {"grammar", "\"root ::= x\"", "grammar"},
    {"use_beam_search", "true", "use_beam_search: expected false"},
};

static const struct wrong_case wrong_completion[] = {
    {"prompt", "5", "prompt: expected a string, a list of strings, or token ids, got 5"},
    {"prompt", "null", "prompt: expected a string, a list of strings, or token ids"},
    {"prompt", "[]", "prompt: expected at least one"},
    {"prompt", "[\"a\",5]", "got a list with 5"},
    {"prompt", "[5,\"a\"]", "prompt: expected token ids, got a string at index 1"},
    {"prompt", "[[5],[1.5]]", "prompt: expected token ids, got 1.5 at index 0"},
    {"prompt", "[999999]", "token id 999999"},
    {"prompt", "[[]]", "the prompt is empty"},
    {"echo", "1", "echo: expected true or false"},
    {"logprobs", "true", "logprobs: expected a whole number of at least 0, got true"},
    {"logprobs", "21", "logprobs: expected at most 20, got 21"},
    {"best_of", "3", "best_of: expected it to be equal to n"},
    {"suffix", "\"x\"", "suffix: text cannot be inserted"},
};

static const struct wrong_case wrong_chat[] = {
    {"max_completion_tokens", "[]", "max_completion_tokens: expected a whole number"},
    {"logprobs", "5", "logprobs: expected true or false, got 5"},
    {"top_logprobs", "5", "top_logprobs: expected logprobs to be true with it"},
    {"messages", "\"x\"", "messages: expected an array, got a string"},
    {"messages", "[]", "messages: expected a list of at least one message"},
    {"messages", "[5]", "messages[0]: expected an object, got 5"},
    {"messages", "[{\"content\":\"x\"}]", "messages[0].role: expected a string, got nothing"},
    {"messages", "[{\"role\":\"user\"}]", "messages[0].content: expected a string or a list"},
    {"messages", "[{\"role\":\"user\",\"content\":[5]}]", "messages[0].content[0]: expected"},
    {"messages", "[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]", "takes text"},
    {"messages", "[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]", "content[0].text"},
    {"tools", "{}", "tools: expected an array"},
    {"tools", "[5]", "tools: expected a list of objects"},
    {"tool_choice", "\"required\"", "tool_choice: the model cannot be made to call a tool"},
    {"tool_choice", "{\"type\":\"function\"}", "tool_choice: the model cannot be made"},
    {"chat_template_kwargs", "[]", "chat_template_kwargs: expected an object"},
    {"add_generation_prompt", "1", "add_generation_prompt: expected true or false"},
    {"reasoning_effort", "1", "reasoning_effort: expected a string"},
    {"functions", "[]", "functions: expected tools instead"},
};

/* A request that is fine, with one member set. */
static void post_with(const char *path, const char *base, const char *field, const char *value)
{
    json_error_t error;
    json_t *json = json_loads(base, 0, NULL);
    json_t *bad = json_loads(value, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    cr_assert_not_null(bad, "%s: %s", value, error.text);
    json_object_set_new(json, field, bad);
    char *body = json_dumps(json, 0);
    post(path, body);
    last.body = "";
    json_decref(json);
    free(body);
}

#define COMPLETION "{\"prompt\":\"Once\",\"max_tokens\":2}"
#define CHAT "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"max_tokens\":2}"

static void check_wrong(const char *path, const char *base, const struct wrong_case *cases,
                        size_t num_cases)
{
    for (size_t i = 0; i < num_cases; i++) {
        post_with(path, base, cases[i].field, cases[i].value);
        expect_error(400, NULL, cases[i].message);
        post_with(path, base, cases[i].field, "null");
        bool required =
            strcmp(cases[i].field, "prompt") == 0 || strcmp(cases[i].field, "messages") == 0;
        cr_expect_eq(last.status, required ? 400 : 200, "%s null: %s", cases[i].field, last.answer);
    }
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

Test(api, wrong_fields_are_named, .init = setup, .fini = teardown)
{
    check_wrong("/v1/completions", COMPLETION, wrong_common, COUNT(wrong_common));
    check_wrong("/v1/completions", COMPLETION, wrong_completion, COUNT(wrong_completion));
}

Test(api_chat, wrong_fields_are_named, .init = setup_chat, .fini = teardown)
{
    check_wrong("/v1/chat/completions", CHAT, wrong_common, COUNT(wrong_common));
    check_wrong("/v1/chat/completions", CHAT, wrong_chat, COUNT(wrong_chat));
}

Test(api, bodies_that_are_no_object, .init = setup, .fini = teardown)
{
    post("/v1/completions", "{\"prompt\":\n  oops}");
    expect_error(400, NULL, "line 2, column ");
    post("/v1/completions", "[1]");
    expect_error(400, NULL, "the body: expected an object, got an array");
    post("/v1/completions", "");
    expect_error(400, NULL, "the body is not JSON");
    post("/v1/completions", "{\"prompt\":\"\xff\"}");
    expect_error(400, NULL, "line 1, column 11: unable to decode byte 0xff");
    post("/v1/completions", "{\"prompt\":\"\\ud800\"}");
    expect_error(400, NULL, "the body is not JSON");
}

Test(api, routes, .init = setup, .fini = teardown)
{
    exchange_deinit(&last);
    exchange_init(&last, "/v1/completions", NULL);
    cr_assert(nano_api_handle(&api, &last));
    cr_assert_eq(last.status, 405);
    cr_assert_str_eq(last.allow, "POST");
    exchange_deinit(&last);
    exchange_init(&last, "/v1/completion", "{}");
    cr_assert_not(nano_api_handle(&api, &last));
    cr_assert_eq(last.num_answers, 0);
    post("/v1/embeddings", "{\"input\":\"x\"}");
    expect_error(400, "model", "embeddings");
    post("/v1/completions", "{\"prompt\":\"a\",\"model\":\"gpt-4\"}");
    expect_error(404, "model", "there is no 'gpt-4' here, expected 'tiny'");
    cr_assert(strstr(last.answer, "\"code\":\"model_not_found\"") != NULL);
    post("/v1/chat/completions", CHAT);
    expect_error(400, "messages", "no chat template");
    post("/v1/completions", "{\"prompt\":\"a\",\"model\":\"alias\",\"max_tokens\":1,\"what\":{}}");
    cr_assert_eq(last.status, 200);
}

static json_t *get(const char *path, int status)
{
    exchange_deinit(&last);
    exchange_init(&last, path, NULL);
    cr_assert(nano_api_handle(&api, &last));
    cr_assert_eq(last.status, status, "%s", last.answer);
    return parse(last.answer, last.answer_bytes);
}

Test(api, models, .init = setup, .fini = teardown)
{
    struct nano_memory_plan plan;
    nano_engine_get_plan(engine, &plan);
    json_t *list = get("/v1/models", 200);
    cr_assert_eq(json_array_size(at(list, "data")), 2);
    cr_assert_str_eq(string_at(list, "data.1.id"), "alias");
    cr_assert_eq(int_at(list, "data.0.max_model_len"), plan.max_model_len);
    cr_assert_eq(int_at(list, "data.0.created"), 1700000000);
    json_decref(list);
    json_t *one = get("/v1/models/alias", 200);
    cr_assert_str_eq(string_at(one, "object"), "model");
    cr_assert_str_eq(string_at(one, "id"), "alias");
    json_decref(one);
    json_decref(get("/v1/models/other", 404));
}

/* ---- Completions -------------------------------------------------------------------------------
 */

Test(api, all_forms_of_prompts_give_the_same_text, .init = setup, .fini = teardown)
{
    json_t *tokens = ask("/tokenize", "{\"prompt\":\"Once upon a time\"}");
    char *ids = json_dumps(at(tokens, "tokens"), JSON_COMPACT), body[1000];
    json_t *answers[4];
    const char *const forms[] = {"\"Once upon a time\"", "[\"Once upon a time\",\"The dog\"]", ids,
                                 "[%s,%s]"};
    for (int i = 0; i < 4; i++) {
        char prompt[600];
        snprintf(prompt, sizeof prompt, i == 3 ? "[%s,%s]" : "%s", i == 3 ? ids : forms[i], ids);
        snprintf(body, sizeof body,
                 "{\"prompt\":%s,\"temperature\":0,\"max_tokens\":12,\"n\":%d,"
                 "\"return_token_ids\":true}",
                 prompt, i == 2 ? 3 : 1);
        answers[i] = ask("/v1/completions", body);
        cr_assert_str_eq(string_at(answers[i], "choices.0.text"),
                         string_at(answers[0], "choices.0.text"));
        cr_assert_eq(json_array_size(at(answers[i], "choices")), i == 0 ? 1 : i == 2 ? 3 : 2);
        cr_assert(json_equal(at(answers[i], "choices.0.prompt_token_ids"), at(tokens, "tokens")));
        cr_assert_eq(json_array_size(at(answers[i], "choices.0.token_ids")), 12);
    }
    cr_assert_str_eq(string_at(answers[0], "object"), "text_completion");
    cr_assert_str_eq(string_at(answers[0], "id"), "cmpl-r\"1");
    cr_assert_str_eq(string_at(answers[0], "model"), "tiny");
    cr_assert_str_eq(string_at(answers[0], "choices.0.finish_reason"), "length");
    cr_assert_str_neq(string_at(answers[1], "choices.1.text"),
                      string_at(answers[1], "choices.0.text"));
    cr_assert_str_eq(string_at(answers[3], "choices.1.text"),
                     string_at(answers[0], "choices.0.text"));
    int num_prompt = (int)json_array_size(at(tokens, "tokens"));
    cr_assert_eq(int_at(answers[2], "usage.prompt_tokens"), num_prompt, "n share a prompt");
    cr_assert_eq(int_at(answers[2], "usage.completion_tokens"), 36);
    cr_assert_eq(int_at(answers[3], "usage.prompt_tokens"), 2 * num_prompt);
    cr_assert_eq(last.num_prompt_tokens, 2 * num_prompt);
    cr_assert_eq(last.num_completion_tokens, 24);
    for (int i = 0; i < 4; i++)
        json_decref(answers[i]);
    json_decref(tokens);
    free(ids);
}

Test(api, sixteen_tokens_without_max_tokens, .init = setup, .fini = teardown)
{
    json_t *answer = ask("/v1/completions", "{\"prompt\":\"Once\",\"ignore_eos\":true}");
    cr_assert_eq(int_at(answer, "usage.completion_tokens"), 16);
    json_decref(answer);
    answer = ask("/v1/completions", "{\"prompt\":\"Once\",\"ignore_eos\":true,\"n_predict\":3}");
    cr_assert_eq(int_at(answer, "usage.completion_tokens"), 3);
    json_decref(answer);
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

static void join_choice(struct joined *joined, const json_t *choice)
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

static void join_event(struct joined *joined, const json_t *event)
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

static void join(struct joined *joined)
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

Test(api, a_stream_gives_the_same_as_one_piece, .init = setup, .fini = teardown)
{
    static struct joined joined;
    static const char fields[] = "\"prompt\":[\"Once upon\",\"The little dog\"],\"n\":2,"
                                 "\"max_tokens\":40,\"seed\":5,\"logprobs\":2,\"echo\":%s,"
                                 "\"return_token_ids\":true,\"stop\":[\" he\"]";
    for (int echo = 0; echo < 2; echo++) {
        char body[600], inner[500];
        snprintf(inner, sizeof inner, fields, "false");
        if (echo)
            snprintf(inner, sizeof inner,
                     "\"prompt\":[\"Once\",\"The little dog\"],\"echo\":true,\"logprobs\":2,"
                     "\"max_tokens\":20,\"seed\":7");
        snprintf(body, sizeof body, "{%s}", inner);
        json_t *whole = ask("/v1/completions", body);
        snprintf(body, sizeof body,
                 "{%s,\"stream\":true,\"stream_options\":{\"include_usage\":true}}", inner);
        post("/v1/completions", body);
        join(&joined);
        cr_assert(joined.done);
        cr_assert(joined.usage_null_elsewhere);
        for (size_t i = 0; i < json_array_size(at(whole, "choices")); i++) {
            const json_t *choice = json_array_get(at(whole, "choices"), i);
            cr_assert_str_eq(joined.text[i], string_at(choice, "text"));
            cr_assert_str_eq(joined.reason[i], string_at(choice, "finish_reason"));
            cr_assert_eq(joined.num_logprobs[i],
                         (int)json_array_size(at(choice, "logprobs.token_logprobs")));
            cr_assert_eq(joined.num_ids[i], (int)json_array_size(at(choice, "token_ids")));
        }
        json_t *details = at(whole, "usage.prompt_tokens_details");
        cr_assert_not_null(details);
        cr_assert_eq(int_at(joined.usage, "completion_tokens"),
                     int_at(whole, "usage.completion_tokens"));
        cr_assert_eq(int_at(joined.usage, "total_tokens"), int_at(whole, "usage.total_tokens"));
        json_decref(joined.usage);
        json_decref(whole);
    }
}

Test(api, a_stream_says_usage_only_when_asked, .init = setup, .fini = teardown)
{
    static struct joined joined;
    post("/v1/completions", "{\"prompt\":\"Once\",\"stream\":true,\"max_tokens\":3}");
    join(&joined);
    cr_assert(joined.done && !joined.usage && !joined.usage_null_elsewhere);
    post("/v1/completions",
         "{\"prompt\":\"Once\",\"stream\":true,\"max_tokens\":3,\"ignore_eos\":true,"
         "\"stream_options\":{\"include_usage\":true,\"continuous_usage_stats\":true}}");
    join(&joined);
    cr_assert_not(joined.usage_null_elsewhere);
    cr_assert_eq(int_at(joined.usage, "completion_tokens"), 3);
    json_decref(joined.usage);
    post("/v1/completions", "{\"prompt\":\"Once\",\"stream\":true,"
                            "\"stream_options\":{\"include_usage\":1}}");
    expect_error(400, "stream_options.include_usage", "expected true or false, got 1");
}

Test(api, logprobs_of_completions, .init = setup, .fini = teardown)
{
    json_t *answer = ask("/v1/completions", "{\"prompt\":\"Once upon\",\"temperature\":0,"
                                            "\"max_tokens\":10,\"logprobs\":3}");
    const json_t *choice = at(answer, "choices.0");
    const char *text = string_at(choice, "text");
    size_t num = json_array_size(at(choice, "logprobs.tokens"));
    char joined[1000] = "";
    cr_assert_eq(num, 10);
    for (size_t i = 0; i < num; i++) {
        const char *token = json_string_value(json_array_get(at(choice, "logprobs.tokens"), i));
        double logprob = json_real_value(json_array_get(at(choice, "logprobs.token_logprobs"), i));
        json_t *top = json_array_get(at(choice, "logprobs.top_logprobs"), i);
        cr_assert_eq(json_integer_value(json_array_get(at(choice, "logprobs.text_offset"), i)),
                     (json_int_t)strlen(joined));
        strcat(joined, token);
        cr_assert_eq(json_object_size(top), 3, "greedy: the chosen one is among them");
        cr_assert_float_eq(json_real_value(json_object_get(top, token)), logprob, 0);
        cr_assert(logprob <= 0);
    }
    cr_assert_str_eq(joined, text);
    json_decref(answer);
    answer = ask("/v1/completions", "{\"prompt\":\"Once\",\"max_tokens\":1,\"logprobs\":0}");
    cr_assert_eq(json_object_size(at(answer, "choices.0.logprobs.top_logprobs.0")), 1);
    json_decref(answer);
}

Test(api, echo_with_logprobs_scores_a_prompt, .init = setup, .fini = teardown)
{
    json_t *echoed = ask("/v1/completions", "{\"prompt\":\"Once upon a time\",\"echo\":true,"
                                            "\"max_tokens\":0,\"logprobs\":1,\"n\":2}");
    json_t *listed = ask("/v1/completions", "{\"prompt\":\"Once upon a time\",\"max_tokens\":1,"
                                            "\"prompt_logprobs\":1,\"return_token_ids\":true}");
    json_t *ids = at(listed, "choices.0.prompt_token_ids");
    json_t *values = at(echoed, "choices.1.logprobs.token_logprobs");
    cr_assert_str_eq(string_at(echoed, "choices.1.text"), "Once upon a time");
    cr_assert_eq(json_array_size(values), json_array_size(ids));
    cr_assert(json_is_null(json_array_get(values, 0)));
    cr_assert(json_is_null(at(listed, "choices.0.prompt_logprobs.0")));
    size_t num_characters = 0;
    for (size_t i = 0; i < json_array_size(ids); i++) {
        char path[80];
        int id = (int)json_integer_value(json_array_get(ids, i));
        snprintf(path, sizeof path, "choices.0.prompt_logprobs.%zu.%d.logprob", i, id);
        if (i > 0)
            cr_assert_float_eq(json_real_value(at(listed, path)),
                               json_real_value(json_array_get(values, i)), 1e-6);
        num_characters = (size_t)json_integer_value(
            json_array_get(at(echoed, "choices.1.logprobs.text_offset"), i));
        cr_assert_leq(num_characters, strlen("Once upon a time"));
    }
    cr_assert_gt(num_characters, 5);
    json_decref(echoed);
    json_decref(listed);
    post("/v1/completions", "{\"prompt\":\"a\",\"prompt_logprobs\":1,\"stream\":true}");
    expect_error(400, "prompt_logprobs", "expected stream to be false");
    post("/v1/completions",
         "{\"prompt\":\"a\",\"logprobs\":1,\"echo\":true,\"n\":2,\"stream\":true}");
    expect_error(400, "n", "expected 1 with echo, logprobs and stream");
}

/* They are spelled in bytes; an offset counts the characters that have begun before it. */
Test(api, tokens_that_are_parts_of_characters, .init = setup, .fini = teardown)
{
    json_t *answer = ask("/v1/completions", "{\"prompt\":\"x\\u20ac!\",\"echo\":true,"
                                            "\"max_tokens\":0,\"logprobs\":0}");
    const json_t *tokens = at(answer, "choices.0.logprobs.tokens");
    const json_t *offsets = at(answer, "choices.0.logprobs.text_offset");
    size_t num = json_array_size(tokens), num_bytes = 0;
    for (size_t i = 0; i < num; i++)
        num_bytes += strncmp(json_string_value(json_array_get(tokens, i)), "bytes:\\x", 8) == 0;
    cr_assert_eq(num_bytes, 3, "the built-in model has no token for the euro sign");
    cr_assert_str_eq(json_string_value(json_array_get(tokens, num - 4)), "bytes:\\xe2");
    cr_assert_eq(json_integer_value(json_array_get(offsets, num - 4)), 1);
    cr_assert_eq(json_integer_value(json_array_get(offsets, num - 2)), 2);
    cr_assert_eq(json_integer_value(json_array_get(offsets, num - 1)), 2);
    json_decref(answer);
}

Test(api, what_is_refused_may_be_said_to_be_off, .init = setup, .fini = teardown)
{
    post("/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":1,\"suffix\":\"\",\"best_of\":1,"
                            "\"use_beam_search\":false,\"response_format\":{\"type\":\"text\"}}");
    cr_assert_eq(last.status, 200, "%s", last.answer);
}

static int cached_tokens(const char *salt)
{
    char body[2000], prompt[1200] = "";
    for (int i = 0; i < 60; i++)
        strcat(prompt, "Once upon a time ");
    snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"max_tokens\":1,\"cache_salt\":%s}", prompt,
             salt);
    json_t *answer = ask("/v1/completions", body);
    int num = int_at(answer, "usage.prompt_tokens_details.cached_tokens");
    cr_assert_eq(last.num_cached_tokens, num);
    json_decref(answer);
    return num;
}

Test(api, cached_tokens_are_told_and_salts_do_not_share, .init = setup, .fini = teardown)
{
    cr_assert_eq(cached_tokens("null"), 0);
    int num = cached_tokens("null");
    cr_assert_gt(num, 0);
    cr_assert_eq(cached_tokens("\"a\""), 0);
    cr_assert_eq(cached_tokens("\"b\""), 0);
    cr_assert_eq(cached_tokens("\"a\""), num);
}

Test(api, stops, .init = setup, .fini = teardown)
{
    json_t *free_run = ask("/v1/completions", "{\"prompt\":\"Once upon\",\"temperature\":0,"
                                              "\"max_tokens\":10,\"return_token_ids\":true}");
    const char *text = string_at(free_run, "choices.0.text");
    int fifth = int_at(free_run, "choices.0.token_ids.4");
    char stop[8], body[300];
    snprintf(stop, sizeof stop, "%.3s", text + 6);
    for (int include = 0; include < 2; include++) {
        snprintf(body, sizeof body,
                 "{\"prompt\":\"Once upon\",\"temperature\":0,\"max_tokens\":10,\"stop\":\"%s\","
                 "\"include_stop_str_in_output\":%s}",
                 stop, include ? "true" : "false");
        json_t *answer = ask("/v1/completions", body);
        const char *cut = string_at(answer, "choices.0.text");
        cr_assert_eq(strncmp(cut, text, strlen(cut)), 0);
        cr_assert_eq(strstr(cut, stop) != NULL, include);
        cr_assert_str_eq(string_at(answer, "choices.0.finish_reason"), "stop");
        cr_assert_str_eq(string_at(answer, "choices.0.stop_reason"), stop);
        json_decref(answer);
    }
    snprintf(body, sizeof body,
             "{\"prompt\":\"Once upon\",\"temperature\":0,\"max_tokens\":10,"
             "\"stop_token_ids\":[%d]}",
             fifth);
    json_t *answer = ask("/v1/completions", body);
    cr_assert_eq(int_at(answer, "choices.0.stop_reason"), fifth);
    json_decref(answer);
    snprintf(body, sizeof body,
             "{\"prompt\":\"Once upon\",\"temperature\":0,\"max_tokens\":10,"
             "\"return_token_ids\":true,\"logit_bias\":{\"%d\":-100}}",
             fifth);
    answer = ask("/v1/completions", body);
    for (size_t i = 0; i < json_array_size(at(answer, "choices.0.token_ids")); i++)
        cr_assert_neq(json_integer_value(json_array_get(at(answer, "choices.0.token_ids"), i)),
                      fifth);
    json_decref(answer);
    json_decref(free_run);
}

Test(api, prompts_that_are_too_long, .init = setup, .fini = teardown)
{
    struct nano_memory_plan plan;
    nano_engine_get_plan(engine, &plan);
    char expected[100], *body = malloc(9000000);
    snprintf(expected, sizeof expected, "maximum context length is %d tokens, but the prompt has ",
             plan.max_model_len);
    for (int huge = 0; huge < 2; huge++) { /* the huge one is not even encoded */
        char *end = body + sprintf(body, "{\"prompt\":\"");
        for (int i = 0; i < (huge ? 1600000 : plan.max_model_len); i++)
            end += sprintf(end, "%d ", i % 1000);
        sprintf(end, "\"}");
        post("/v1/completions", body);
        expect_error(400, "prompt", expected);
        cr_assert_eq(strstr(last.answer, "at least ") != NULL, huge);
        cr_assert(strstr(last.answer, "\"code\":\"context_length_exceeded\"") != NULL);
        last.body = "";
    }
    char *end = body + sprintf(body, "{\"prompt\":[1");
    for (int i = 1; i < plan.max_model_len; i++)
        end += sprintf(end, ",1");
    sprintf(end, "]}");
    post("/v1/completions", body);
    expect_error(400, "prompt", "which leaves none for the answer");
    last.body = "";
    free(body);
}

/* ---- Chats -------------------------------------------------------------------------------------
 */

Test(api_chat, a_stream_gives_the_same_as_one_piece, .init = setup_chat, .fini = teardown)
{
    static struct joined joined;
    static const char inner[] = "\"messages\":[{\"role\":\"system\",\"content\":\"Be nice\"},"
                                "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
                                "\"Hello\"}]}],\"n\":3,\"max_completion_tokens\":30,\"seed\":3,"
                                "\"logprobs\":true,\"top_logprobs\":2,\"return_token_ids\":true";
    char body[600];
    snprintf(body, sizeof body, "{%s}", inner);
    json_t *whole = ask("/v1/chat/completions", body);
    snprintf(body, sizeof body, "{%s,\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
             inner);
    post("/v1/chat/completions", body);
    join(&joined);
    cr_assert(joined.done);
    cr_assert_str_eq(string_at(whole, "object"), "chat.completion");
    cr_assert_str_eq(string_at(whole, "choices.0.message.role"), "assistant");
    cr_assert_eq(json_array_size(at(whole, "prompt_token_ids")),
                 (size_t)int_at(whole, "usage.prompt_tokens"));
    for (int i = 0; i < 3; i++) {
        const json_t *choice = json_array_get(at(whole, "choices"), (size_t)i);
        cr_assert_eq(joined.roles[i], 1);
        cr_assert_str_eq(joined.text[i], string_at(choice, "message.content"));
        cr_assert_str_eq(joined.reason[i], string_at(choice, "finish_reason"));
        cr_assert_eq(joined.num_ids[i], (int)json_array_size(at(choice, "token_ids")));
        cr_assert_eq(joined.num_logprobs[i], joined.num_ids[i]);
        cr_assert_eq(json_array_size(at(choice, "logprobs.content")),
                     (size_t)joined.num_logprobs[i]);
        cr_assert_eq(json_array_size(at(choice, "logprobs.content.0.top_logprobs")), 2);
        const char *token = string_at(choice, "logprobs.content.0.token");
        cr_assert_eq(json_array_size(at(choice, "logprobs.content.0.bytes")), strlen(token));
        cr_assert_eq(int_at(choice, "logprobs.content.0.bytes.0"), (unsigned char)token[0]);
    }
    cr_assert(json_equal(at(whole, "usage.total_tokens"), at(joined.usage, "total_tokens")));
    json_decref(joined.usage);
    json_decref(whole);
}

Test(api_chat, reasoning_is_split_from_content, .init = setup_chat, .fini = teardown)
{
    static struct joined joined;
    open_template(REASONING_TEMPLATE);
    api.reasoning = true;
    json_t *whole =
        ask("/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}],"
                                    "\"max_tokens\":12,\"temperature\":0}");
    cr_assert_gt(strlen(string_at(whole, "choices.0.message.reasoning_content")), 0,
                 "the template opens it");
    cr_assert_str_eq(string_at(whole, "choices.0.message.content"), "");
    post("/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}],"
                                 "\"max_tokens\":12,\"temperature\":0,\"stream\":true}");
    join(&joined);
    cr_assert_str_eq(joined.reasoning[0], string_at(whole, "choices.0.message.reasoning_content"));
    cr_assert_str_eq(joined.text[0], "");
    json_decref(whole);
    api.reasoning = false;
    whole = ask("/v1/chat/completions", CHAT);
    cr_assert_null(at(whole, "choices.0.message.reasoning_content"));
    json_decref(whole);
}

static void expect_prompt(const char *members, const char *expected)
{
    char body[600];
    snprintf(body, sizeof body, "{%s}", members);
    json_t *answer = ask("/apply-template", body);
    cr_expect_str_eq(string_at(answer, "prompt"), expected);
    json_decref(answer);
    json_t *tokens = ask("/tokenize", body);
    char *ids = json_dumps(at(tokens, "tokens"), 0), text[1200];
    snprintf(text, sizeof text, "{\"tokens\":%s}", ids);
    json_t *back = ask("/detokenize", text);
    cr_expect_str_eq(string_at(back, "prompt"), expected);
    json_decref(back);
    json_decref(tokens);
    free(ids);
}

Test(api_chat, conversations_become_prompts, .init = setup_chat, .fini = teardown)
{
    expect_prompt("\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]",
                  "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    expect_prompt("\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],"
                  "\"add_generation_prompt\":false",
                  "<|im_start|>user\nHi<|im_end|>\n");
    expect_prompt("\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},"
                  "{\"role\":\"assistant\",\"content\":\"The dog\"}],"
                  "\"continue_final_message\":true",
                  "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nThe dog");
    post("/apply-template", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"\"}],"
                            "\"continue_final_message\":true}");
    expect_error(400, "continue_final_message", "expected the last message to have content");
    post("/apply-template", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
                            "\"continue_final_message\":true,\"add_generation_prompt\":true}");
    expect_error(400, "continue_final_message", "expected add_generation_prompt to be false");
}

Test(api_chat, the_operator_gives_variables_and_a_request_overrides_them, .init = setup_chat,
     .fini = teardown)
{
    open_template("{{ word }}{{ other }}{{ reasoning_effort }}{{ tools | length }}");
    api.chat_template_kwargs = "{\"word\":\"one \",\"other\":\"two \"}";
    json_t *answer =
        ask("/apply-template",
            "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"tools\":[{}],"
            "\"reasoning_effort\":\"low \",\"chat_template_kwargs\":{\"other\":\"three \"}}");
    cr_assert_str_eq(string_at(answer, "prompt"), "one three low 1");
    json_decref(answer);
    answer = ask("/apply-template", "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],"
                                    "\"tools\":[{}],\"tool_choice\":\"none\"}");
    cr_assert_str_eq(string_at(answer, "prompt"), "one two 0");
    json_decref(answer);
}

/* ---- Tokens ------------------------------------------------------------------------------------
 */

Test(api, tokens_both_ways, .init = setup, .fini = teardown)
{
    json_t *llama = ask("/tokenize", "{\"content\":\"The dog\\u0000\",\"with_pieces\":true}");
    json_t *vllm = ask("/tokenize", "{\"prompt\":\"The dog\\u0000\",\"add_special_tokens\":false,"
                                    "\"return_token_strs\":true}");
    size_t num = json_array_size(at(vllm, "tokens"));
    cr_assert_eq(json_array_size(at(llama, "tokens")), num);
    cr_assert_eq(json_array_size(at(vllm, "token_strs")), num);
    cr_assert_eq((size_t)int_at(vllm, "count"), num);
    cr_assert_gt(int_at(vllm, "max_model_len"), 0);
    for (size_t i = 0; i < num; i++)
        cr_assert(json_equal(json_object_get(json_array_get(at(llama, "tokens"), i), "id"),
                             json_array_get(at(vllm, "tokens"), i)));
    json_t *request = json_pack("{sO}", "tokens", at(vllm, "tokens"));
    char *body = json_dumps(request, 0);
    json_t *back = ask("/detokenize", body);
    cr_assert_eq(json_string_length(at(back, "content")), 8);
    cr_assert_eq(memcmp(string_at(back, "content"), "The dog", 8), 0);
    cr_assert(json_equal(at(back, "content"), at(back, "prompt")));
    last.body = "";
    json_decref(back);
    json_decref(request);
    json_decref(llama);
    json_decref(vllm);
    free(body);
    post("/tokenize", "{}");
    expect_error(400, "prompt", "expected a string (or messages), got nothing");
    post("/tokenize", "{\"content\":5}");
    expect_error(400, "content", "expected a string (or messages), got 5");
    post("/detokenize", "{\"tokens\":5}");
    expect_error(400, "tokens", "expected a list of token ids");
    post("/detokenize", "{\"tokens\":[5,99999999]}");
    expect_error(400, "tokens", "token id 99999999");
}

/* ---- Bytes -------------------------------------------------------------------------------------
 */

Test(json_out, every_byte_gives_json)
{
    struct nano_json_out out = {0};
    char text[300];
    for (int i = 0; i < 256; i++)
        text[i] = (char)i;
    memcpy(text + 256, "\xe2\x82\xac\xf0\x9f", 5); /* a whole character and half of one */
    nano_json_string(&out, text, 261);
    json_error_t error;
    json_t *json = json_loadb(out.data, out.num_bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    cr_assert_not_null(json, "%s", error.text);
    const char *back = json_string_value(json);
    cr_assert_eq(memcmp(back, text, 128), 0);
    cr_assert_eq(json_string_length(json), 128 + 3 * 128 + 3 + 3 * 2);
    cr_assert_eq(memcmp(back + 128 + 3 * 128, "\xe2\x82\xac\xef\xbf\xbd", 6), 0);
    json_decref(json);
    nano_json_reset(&out);
    nano_json_int(&out, INT64_MIN);
    cr_assert_eq(out.num_bytes, 20);
    cr_assert_eq(memcmp(out.data, "-9223372036854775808", 20), 0);
    nano_json_deinit(&out);
}

/* Any body gets one answer: an error or text. */
Test(api_chat, damaged_bodies, .init = setup_chat, .fini = teardown)
{
    static const char *const routes[] = {"/v1/completions", "/v1/chat/completions", "/tokenize",
                                         "/detokenize", "/apply-template"};
    static const char good[] =
        "{\"prompt\":[\"Once\",\"\\u00e9\"],\"n\":2,\"temperature\":0.5,\"stop\":[\"a\"],"
        "\"logit_bias\":{\"5\":1},\"stream\":true,\"stream_options\":{\"include_usage\":true},"
        "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}],"
        "\"tools\":[{}],\"tokens\":[1,2,3],\"seed\":1,\"min_p\":0.1,\"priority\":-1}";
    static const char parts[] = "{}[]\",:0123456789.e-ntf\\u\xff\x01";
    unsigned seed = 1;
    int num_ok = 0, num_refused = 0;
    api.sampling.max_tokens = 2;
    for (int round = 0; round < 3000; round++) {
        char body[sizeof good];
        memcpy(body, good, sizeof good);
        size_t num_bytes = sizeof good - 1;
        for (int k = 0; k < 1 + round % 2; k++)
            body[(size_t)rand_r(&seed) % num_bytes] =
                parts[(size_t)rand_r(&seed) % (sizeof parts - 1)];
        if (round % 7 == 0)
            num_bytes = (size_t)rand_r(&seed) % num_bytes;
        post_raw(routes[round % 5], body, num_bytes);
        nano_engine_wait_idle(engine);
        cr_assert_eq(last.num_answers, 1);
        cr_assert(last.status == 200 || last.status == 400, "%d: %s", last.status, last.answer);
        num_ok += last.status == 200;
        num_refused += last.status == 400;
    }
    cr_assert(num_ok > 100 && num_refused > 1000, "%d and %d", num_ok, num_refused);
}

/* ---- Ends --------------------------------------------------------------------------------------
 */

static void step(int num)
{
    bool has_work;
    while (num-- > 0)
        nano_engine_step(engine, &has_work, NULL);
}

#define LONG_STREAM \
    "{\"prompt\":[\"Once\",\"The\"],\"n\":2,\"max_tokens\":200,\"ignore_eos\":true,\"stream\":%s}"

Test(api, a_client_that_goes_cancels_everything, .init = setup, .fini = teardown)
{
    for (int stream = 0; stream < 2; stream++) {
        char body[200];
        snprintf(body, sizeof body, LONG_STREAM, stream ? "true" : "false");
        post_raw("/v1/completions", body, strlen(body));
        step(5);
        cr_assert_eq(last.num_answers, 0);
        exchange_vanish(&last);
        step(1);
        cr_assert_eq(last.num_answers, 1, "within a step");
        cr_assert_eq(metrics.finished[NANO_FINISH_CANCELLED], 4 * (stream + 1));
        cr_assert_lt(last.num_completion_tokens, 40);
    }
    exchange_deinit(&last); /* gone before it is even submitted */
    exchange_init(&last, "/v1/completions", COMPLETION);
    last.gone = true;
    cr_assert(nano_api_handle(&api, &last));
    nano_engine_wait_idle(engine);
    cr_assert_eq(last.num_answers, 1);
}

Test(api, a_client_that_does_not_read_is_cancelled, .init = setup, .fini = teardown)
{
    char body[200];
    snprintf(body, sizeof body, LONG_STREAM, "true");
    exchange_deinit(&last);
    exchange_init(&last, "/v1/completions", body);
    last.writes_before_gone = 10;
    cr_assert(nano_api_handle(&api, &last));
    nano_engine_wait_idle(engine);
    cr_assert_eq(last.num_answers, 1);
    cr_assert_eq(last.num_writes, 11);
    cr_assert_eq(metrics.finished[NANO_FINISH_CANCELLED], 4);
}

Test(api, of_several_prompts_all_are_taken_or_none)
{
    struct nano_engine_params params = engine_params();
    params.max_num_queued_reqs = 2;
    start(&params);
    static const char body[] = "{\"prompt\":[\"a\",\"b\",\"c\"],\"n\":2,\"stream\":true}";
    post_raw("/v1/completions", body, sizeof body - 1);
    cr_assert_eq(last.num_answers, 1);
    expect_error(429, NULL, "2 requests are waiting, the limit is 2");
    cr_assert_str_eq(last.retry_after, "1");
    nano_engine_wait_idle(engine);
    cr_assert_eq(metrics.finished[NANO_FINISH_CANCELLED], 4, "the two that were taken");
    post("/v1/completions", "{\"prompt\":[\"a\",\"b\"],\"max_tokens\":2}");
    cr_assert_eq(last.status, 200);
    teardown();
}

Test(api, an_engine_that_stops_ends_its_streams, .init = setup)
{
    static struct joined joined;
    char body[200];
    snprintf(body, sizeof body, LONG_STREAM, "true");
    post_raw("/v1/completions", body, strlen(body));
    step(3);
    nano_engine_destroy(engine);
    cr_assert_eq(last.num_answers, 1);
    join(&joined);
    cr_assert(joined.done);
    cr_assert_str_eq(joined.error, "the server is stopping");
    exchange_deinit(&last);
    nano_model_close(model);
}

Test(api, metrics_count_what_happened, .init = setup, .fini = teardown)
{
    post("/v1/completions", "{\"prompt\":[\"Once\",\"The\"],\"n\":2,\"max_tokens\":10,"
                            "\"ignore_eos\":true,\"stream\":true}");
    cr_assert_eq(metrics.counts[NANO_METRIC_TIME_TO_FIRST_TOKEN], 4);
    cr_assert_eq(metrics.counts[NANO_METRIC_INTER_TOKEN_LATENCY], 4 * 9);
    cr_assert_eq(metrics.counts[NANO_METRIC_E2E_LATENCY], 4);
    cr_assert_eq(metrics.counts[NANO_METRIC_QUEUE_TIME], 4);
    cr_assert_eq(metrics.counts[NANO_METRIC_PREFILL_TIME], 4);
    cr_assert_eq(metrics.counts[NANO_METRIC_DECODE_TIME], 4);
    cr_assert_eq(metrics.counts[NANO_METRIC_PROMPT_TOKENS], 2);
    cr_assert_float_eq(metrics.sums[NANO_METRIC_GENERATION_TOKENS], 40, 0);
    cr_assert_eq(metrics.finished[NANO_FINISH_LENGTH], 4);
    double gaps = metrics.sums[NANO_METRIC_INTER_TOKEN_LATENCY];
    cr_assert(gaps > 0 && gaps <= metrics.sums[NANO_METRIC_E2E_LATENCY]);
}

Test(api, tokens_of_one_step_share_its_time)
{
    struct nano_engine_params params = engine_params();
    params.num_speculative_tokens = 8;
    start(&params);
    post("/v1/completions", "{\"prompt\":\"a b a b a b a b a b a b\",\"max_tokens\":100,"
                            "\"ignore_eos\":true,\"temperature\":0}");
    cr_assert_eq(metrics.counts[NANO_METRIC_INTER_TOKEN_LATENCY], 99);
    teardown();
}

/* Whichever allocation fails, there is one answer, and it is whole or an error. */
Test(api, without_memory_there_is_still_one_answer, .init = setup, .fini = teardown)
{
    static const char *const bodies[] = {
        ("{\"prompt\":[\"Once\",[1,2]],\"max_tokens\":3,\"n\":2,\"echo\":true,\"logprobs\":2,"
         "\"return_token_ids\":true,\"stop\":\"x\",\"logit_bias\":{\"5\":1}}"),
        ("{\"prompt\":[\"Once\",[1,2]],\"max_tokens\":3,\"echo\":true,\"logprobs\":2,"
         "\"return_token_ids\":true,\"stream\":true,\"stop_token_ids\":[1]}")};
    for (int i = 0; i < 2; i++) {
        bool complete = false;
        for (uint64_t n = 1; !complete; n++) {
            cr_assert_lt(n, 2000);
            nano_mem_fail_after(n);
            post_raw("/v1/completions", bodies[i], strlen(bodies[i]));
            nano_engine_wait_idle(engine);
            complete = nano_mem_fail_after(0) < n;
            cr_assert_eq(last.num_answers, 1, "allocation %d", (int)n);
            cr_assert(last.status == 200 || last.status == 503, "%d: %s", last.status, last.answer);
            if (complete)
                cr_assert_eq(last.status, 200);
        }
    }
}
