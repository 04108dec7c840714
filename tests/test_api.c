/* Answers: prompts of all forms, streams against answers in one piece, log-probabilities, chats,
 * and the ends that an answer can have. */
#include "base/memory.h"
#include "engine/engine_state.h"
#include "tests/api_fixture.h"

#define REASONING_TEMPLATE                                                                      \
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "               \
    "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ " \
    "'<|im_start|>assistant\\n<think>' }}{% endif %}{% if false %}</think>{% endif %}"

/* ---- Completions ----------------------------------------------------------------------------- */

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

/* ---- Chats ----------------------------------------------------------------------------------- */

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
    open_template("{{ word }}{{ other }}{{ reasoning_effort }}{{ (tools or []) | length }}");
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

/* ---- Ends ------------------------------------------------------------------------------------ */

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
    static const char body[] = "{\"prompt\":\"a b a b a b a b a b a b\",\"max_tokens\":100,"
                               "\"ignore_eos\":true,\"temperature\":0}";
    post_raw("/v1/completions", body, strlen(body));
    bool has_work = true;
    while (has_work) { /* what steps take on this machine must not decide how much is speculated */
        engine->step_time = (struct nano_step_time){0};
        cr_assert_eq(nano_engine_step(engine, &has_work, NULL), NANO_OK);
    }
    struct nano_stats stats;
    nano_engine_get_stats(engine, &stats);
    cr_assert_gt(stats.accepted_tokens_total, 0);
    cr_assert_eq(metrics.counts[NANO_METRIC_INTER_TOKEN_LATENCY], 99);
    cr_assert_gt(metrics.least[NANO_METRIC_INTER_TOKEN_LATENCY], 0);
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
