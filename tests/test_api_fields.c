/* What requests may say: every field's wrong types, bodies that are damaged, routes, models,
 * tokens. */
#include "server/json_out.h"
#include "tests/api_fixture.h"

/* ---- Fields ---------------------------------------------------------------------------------- */

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

/* ---- Tokens ---------------------------------------------------------------------------------- */

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

/* ---- Bytes ----------------------------------------------------------------------------------- */

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
