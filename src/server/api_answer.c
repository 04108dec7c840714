/* Answer: submission, callbacks, cancelling and the end; how it is written is in api_stream.c and
 * api_whole.c. */
#include "server/api_answer.h"

#include <string.h>

#include "base/memory.h"

void nano_api_prompts_destroy(struct nano_api_prompt *prompts, int num_prompts)
{
    for (int i = 0; i < num_prompts; i++) {
        struct nano_api_prompt *prompt = &prompts[i];
        nano_mem_free(prompt->text);
        nano_mem_free(prompt->token_ids);
        nano_api_logprobs_deinit(&prompt->echoed);
        nano_json_deinit(&prompt->prompt_logprobs);
    }
    nano_mem_free(prompts);
}

static void destroy(struct nano_api_answer *answer)
{
    int num_choices = answer->num_prompts * answer->n;
    for (int i = 0; answer->choices && i < num_choices; i++) {
        struct nano_api_choice *choice = &answer->choices[i];
        nano_json_deinit(&choice->text);
        nano_json_deinit(&choice->reasoning);
        nano_api_logprobs_deinit(&choice->logprobs);
        nano_json_deinit(&choice->token_ids);
        nano_json_deinit(&choice->stop_reason);
        nano_chat_parser_destroy(choice->parser);
    }
    nano_api_prompts_destroy(answer->prompts, answer->num_prompts);
    nano_mem_free(answer->choices);
    nano_json_deinit(&answer->head);
    nano_json_deinit(&answer->out);
    pthread_mutex_destroy(&answer->lock);
    nano_mem_free(answer);
}

/* ---- Under the lock -------------------------------------------------------------------------- */

static void cancel_all(struct nano_api_answer *answer)
{
    for (int i = 0; i < answer->num_submitted; i++)
        nano_engine_cancel(answer->api->engine, answer->prompts[i].id);
}

/* The answer becomes an error; nothing more is made of what still comes. */
static void fail(struct nano_api_answer *answer)
{
    nano_json_reset(&answer->out);
    answer->out.failed = false;
    cancel_all(answer);
}

static void fail_without_memory(struct nano_api_answer *answer)
{
    nano_api_refuse(&answer->problem, 503, NULL, "there is no memory for the answer");
    fail(answer);
}

/* Sends what is made of a stream that is open. */
static void flush(struct nano_api_answer *answer)
{
    if (!answer->open || !answer->stream || answer->gone || answer->out.num_bytes == 0)
        return;
    if (!nano_http_stream_write(answer->exchange, answer->out.data, answer->out.num_bytes)) {
        answer->gone = true;
        cancel_all(answer);
    }
    nano_json_reset(&answer->out);
}

/* One thing less to wait for; true when it was the last, and the answer is complete. */
static bool let_go(struct nano_api_answer *answer, int num)
{
    answer->num_left -= num;
    if (answer->num_left > 0 || answer->answered)
        return answer->num_left == 0;
    if (answer->stream && answer->open)
        nano_api_stream_tail(answer);
    else if (!answer->problem.status && !answer->gone && answer->kind == NANO_API_EMBEDDING)
        nano_api_embedding_print(answer);
    else if (!answer->problem.status && !answer->gone)
        nano_api_whole_print(answer);
    if (answer->out.failed)
        fail_without_memory(answer);
    return true;
}

/* ---- Ending ---------------------------------------------------------------------------------- */

/* By the thread that was last, without the lock. */
static void end(struct nano_api_answer *answer)
{
    struct nano_http_exchange *exchange = answer->exchange;
    int num_cached, num_completion;
    if (!answer->answered) {
        int num_prompt = nano_api_count_usage(answer, &num_cached, &num_completion);
        nano_http_note_usage(exchange, num_prompt, num_cached, num_completion);
        if (answer->stream && answer->open)
            nano_http_stream_end(exchange);
        else if (answer->problem.status || answer->gone)
            nano_api_reply_problem(exchange, &answer->problem);
        else
            nano_http_reply(exchange, 200, "application/json", answer->out.data,
                            answer->out.num_bytes);
    }
    destroy(answer);
}

static void on_gone(void *user_data)
{
    struct nano_api_answer *answer = user_data;
    pthread_mutex_lock(&answer->lock);
    if (answer->num_left > 0) { /* else it is being ended, and nobody may touch it */
        answer->gone = true;
        if (!answer->problem.status) /* nobody reads it, but an answer must have a status */
            nano_api_refuse(&answer->problem, 503, NULL, "the client has gone");
        cancel_all(answer);
    }
    pthread_mutex_unlock(&answer->lock);
}

/* ---- Callbacks ------------------------------------------------------------------------------- */

/* Splits the new text; false when the answer has failed. */
static bool split(struct nano_api_answer *answer, struct nano_api_news *news)
{
    const struct nano_output *output = news->output;
    struct nano_chat_delta delta;
    struct nano_error err;
    news->content = output->text;
    news->content_bytes = output->text_bytes;
    if (!news->choice->parser)
        return true;
    if (nano_chat_parser_push(news->choice->parser, output->text, output->text_bytes,
                              output->finish_reason != NANO_FINISH_NONE, &delta, &err) != NANO_OK) {
        nano_api_refuse_error(&answer->problem, NULL, &err);
        fail(answer);
        return false;
    }
    news->content = delta.content;
    news->content_bytes = delta.content_bytes;
    news->reasoning = delta.reasoning;
    news->reasoning_bytes = delta.reasoning_bytes;
    return true;
}

static void set_reason(const struct nano_api_answer *answer, struct nano_api_choice *choice,
                       const struct nano_output *output)
{
    const nano_tokenizer *tokenizer = answer->api->tokenizer;
    choice->reason = output->finish_reason;
    if (output->stop_reason)
        nano_json_cstring(&choice->stop_reason, output->stop_reason);
    else if (output->stop_token_id >= 0 &&
             !(tokenizer && nano_tokenizer_is_eog(tokenizer, output->stop_token_id)))
        nano_json_int(&choice->stop_reason, output->stop_token_id);
}

/* Takes an output into the answer; under the lock. */
static void take(struct nano_api_answer *answer, struct nano_api_news *news)
{
    const struct nano_output *output = news->output;
    news->choice->num_tokens = output->num_completion_tokens;
    if (output->index == 0)
        news->prompt->num_cached_tokens = output->num_cached_tokens;
    if (output->finish_reason != NANO_FINISH_NONE)
        set_reason(answer, news->choice, output);
    if (answer->gone || answer->answered || answer->problem.status)
        return;
    if (output->finish_reason == NANO_FINISH_ERROR ||
        output->finish_reason == NANO_FINISH_CANCELLED) {
        bool failed = output->finish_reason == NANO_FINISH_ERROR;
        nano_api_refuse(&answer->problem, failed ? 500 : 503, NULL, "%s",
                        failed ? output->error->message : "the server is stopping");
        fail(answer);
        return;
    }
    if (output->prompt_logprobs && answer->echo && answer->logprobs >= 0)
        nano_api_logprobs_echo(news->prompt, answer, output);
    if (output->prompt_logprobs && answer->num_prompt_logprobs >= 0)
        nano_api_logprobs_prompt(news->prompt, answer, output);
    if (!split(answer, news))
        return;
    if (answer->kind == NANO_API_EMBEDDING)
        nano_api_embedding_news(answer, news);
    else if (answer->stream)
        nano_api_stream_news(answer, news);
    else
        nano_api_whole_news(answer, news);
    if (answer->out.failed)
        fail_without_memory(answer);
}

static void on_output(const struct nano_output *output, void *user_data)
{
    struct nano_api_prompt *prompt = user_data;
    struct nano_api_answer *answer = prompt->answer;
    int index = (int)(prompt - answer->prompts) * answer->n + output->index;
    struct nano_api_news news = {.output = output,
                                 .prompt = prompt,
                                 .choice = &answer->choices[index],
                                 .index = index,
                                 .content = "",
                                 .reasoning = ""};
    bool is_last = false;
    if (output->num_tokens > 0)
        nano_api_count_tokens(answer, news.choice, output);
    if (output->finish_reason != NANO_FINISH_NONE)
        nano_api_count_finish(answer, news.choice, output);
    pthread_mutex_lock(&answer->lock);
    take(answer, &news);
    if (output->finish_reason != NANO_FINISH_NONE)
        is_last = let_go(answer, 1);
    flush(answer);
    pthread_mutex_unlock(&answer->lock);
    if (is_last)
        end(answer);
}

/* ---- The handler's side ---------------------------------------------------------------------- */

static struct nano_api_answer *create(const struct nano_api *api,
                                      struct nano_http_exchange *exchange,
                                      const struct nano_api_params *params,
                                      struct nano_api_prompt *prompts, int num_prompts)
{
    int n = params->sampling.n;
    struct nano_api_answer *answer = nano_mem_calloc(1, sizeof *answer);
    struct nano_api_choice *choices =
        nano_mem_calloc((size_t)num_prompts * (size_t)n, sizeof *choices);
    if (!answer || !choices) {
        nano_mem_free(answer);
        nano_mem_free(choices);
        return NULL;
    }
    *answer = (struct nano_api_answer){
        .api = api,
        .exchange = exchange,
        .arrival_ns = nano_http_arrival_ns(exchange),
        .kind = params->kind,
        .served_name = params->served_name,
        .stream = params->stream,
        .include_usage = params->include_usage,
        .continuous_usage = params->include_usage && params->continuous_usage,
        .echo = params->echo,
        .return_token_ids = params->return_token_ids,
        .base64 = params->base64,
        .n = n,
        .logprobs = params->logprobs,
        .num_prompt_logprobs = params->prompt_logprobs,
        .prompts = prompts,
        .num_prompts = num_prompts,
        .choices = choices,
        .num_left = num_prompts * n + 1,
    };
    pthread_mutex_init(&answer->lock, NULL);
    nano_api_print_head(answer);
    for (int i = 0; i < num_prompts; i++)
        prompts[i].answer = answer;
    return answer;
}

/* What depends on a prompt's text: where its completions begin, and who splits them. */
static bool prepare(struct nano_api_answer *answer, struct nano_api_prompt *prompt)
{
    const struct nano_api *api = answer->api;
    struct nano_api_choice *choices = &answer->choices[(prompt - answer->prompts) * answer->n];
    bool splits = answer->kind == NANO_API_CHAT && nano_api_splits_reasoning(api);
    struct nano_error err;
    if (answer->echo)
        prompt->num_characters = nano_api_count_characters(prompt->text, prompt->text_bytes);
    for (int i = 0; i < answer->n; i++) {
        choices[i].text_offset = prompt->num_characters;
        if (splits && nano_chat_parser_create(&choices[i].parser, api->chat_template, prompt->text,
                                              prompt->text_bytes, &err) != NANO_OK)
            return nano_api_refuse_error(&answer->problem, NULL, &err);
    }
    if (!answer->echo) { /* long prompts of many clients would add up */
        nano_mem_free(prompt->text);
        prompt->text = NULL;
        prompt->text_bytes = 0;
    }
    return true;
}

static bool submit(struct nano_api_answer *answer, const struct nano_api_params *params,
                   struct nano_api_prompt *prompt)
{
    struct nano_request request = nano_request_default();
    struct nano_error err;
    uint64_t id;
    request.prompt_token_ids = prompt->token_ids;
    request.num_prompt_token_ids = prompt->num_token_ids;
    request.sampling = params->sampling;
    if (answer->kind == NANO_API_EMBEDDING)
        request.embedding = &params->embedding;
    request.priority = params->priority;
    request.cache_salt = params->cache_salt;
    request.lora = params->lora;
    request.on_output = on_output;
    request.user_data = prompt;
    enum nano_status status = nano_engine_submit(answer->api->engine, &request, &id, &err);
    pthread_mutex_lock(&answer->lock);
    bool go_on = status == NANO_OK && !answer->problem.status;
    if (status == NANO_OK) {
        prompt->id = id;
        answer->num_submitted++;
        if (answer->gone || answer->problem.status)
            nano_engine_cancel(answer->api->engine, id);
    } else {
        nano_api_refuse_error(&answer->problem, NULL, &err);
    }
    pthread_mutex_unlock(&answer->lock);
    if (!answer->return_token_ids && !(answer->echo && answer->logprobs >= 0)) {
        nano_mem_free(prompt->token_ids); /* the engine has its own */
        prompt->token_ids = NULL;
    }
    return go_on;
}

/* All are submitted: from here on callbacks write themselves. */
static void open_answer(struct nano_api_answer *answer)
{
    pthread_mutex_lock(&answer->lock);
    if (answer->stream)
        nano_http_stream_begin(answer->exchange, 200, "text/event-stream; charset=utf-8");
    answer->open = true;
    bool is_last = let_go(answer, 1);
    flush(answer);
    pthread_mutex_unlock(&answer->lock);
    if (is_last)
        end(answer);
}

/* Not all could be submitted: answers with the problem and cancels the others. */
static void refuse(struct nano_api_answer *answer)
{
    pthread_mutex_lock(&answer->lock);
    answer->answered = true;
    cancel_all(answer);
    struct nano_api_problem problem = answer->problem;
    pthread_mutex_unlock(&answer->lock);
    nano_api_reply_problem(answer->exchange, &problem); /* on_gone has come or never comes */
    pthread_mutex_lock(&answer->lock);
    bool is_last = let_go(answer, (answer->num_prompts - answer->num_submitted) * answer->n + 1);
    pthread_mutex_unlock(&answer->lock);
    if (is_last)
        end(answer);
}

void nano_api_answer(const struct nano_api *api, struct nano_http_exchange *exchange,
                     const struct nano_api_params *params, struct nano_api_prompt *prompts,
                     int num_prompts)
{
    struct nano_api_answer *answer = create(api, exchange, params, prompts, num_prompts);
    if (!answer) {
        struct nano_api_problem problem;
        nano_api_refuse(&problem, 503, NULL, "there is no memory for the request");
        nano_api_reply_problem(exchange, &problem);
        nano_api_prompts_destroy(prompts, num_prompts);
        return;
    }
    bool ok = true;
    for (int i = 0; i < num_prompts && ok; i++)
        ok = prepare(answer, &prompts[i]);
    if (ok)
        nano_http_on_gone(exchange, on_gone, answer);
    for (int i = 0; i < num_prompts && ok; i++)
        ok = submit(answer, params, &prompts[i]);
    if (ok)
        open_answer(answer);
    else
        refuse(answer);
}
