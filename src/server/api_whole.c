/* Answers in one piece, and the parts of an answer that streams have too. */
#include <string.h>
#include <time.h>

#include "server/api_answer.h"

void nano_api_print_head(struct nano_api_answer *answer)
{
    struct nano_json_out *out = &answer->head;
    const char *id = nano_http_request_id(answer->exchange);
    bool is_chat = answer->kind == NANO_API_CHAT;
    if (answer->stream)
        NANO_JSON_LIT(out, "data: ");
    NANO_JSON_LIT(out, "{\"id\":\"");
    nano_json_raw(out, is_chat ? "chatcmpl-" : "cmpl-", is_chat ? 9 : 5);
    nano_json_escaped(out, id, strlen(id));
    NANO_JSON_LIT(out, "\",\"object\":");
    nano_json_cstring(out, !is_chat         ? "text_completion"
                           : answer->stream ? "chat.completion.chunk"
                                            : "chat.completion");
    NANO_JSON_LIT(out, ",\"created\":");
    nano_json_int(out, (int64_t)time(NULL));
    NANO_JSON_LIT(out, ",\"model\":");
    nano_json_cstring(out, answer->served_name);
    NANO_JSON_LIT(out, ",\"choices\":[");
}

int nano_api_count_usage(const struct nano_api_answer *answer, int *num_cached_tokens,
                         int *num_completion_tokens)
{
    size_t num_prompt_tokens = 0;
    *num_cached_tokens = *num_completion_tokens = 0;
    for (int i = 0; i < answer->num_prompts; i++) {
        num_prompt_tokens += answer->prompts[i].num_token_ids;
        *num_cached_tokens += answer->prompts[i].num_cached_tokens;
    }
    for (int i = 0; i < answer->num_prompts * answer->n; i++)
        *num_completion_tokens += answer->choices[i].num_tokens;
    return (int)num_prompt_tokens;
}

void nano_api_print_usage(const struct nano_api_answer *answer, struct nano_json_out *out)
{
    int num_cached, num_completion;
    int num_prompt = nano_api_count_usage(answer, &num_cached, &num_completion);
    NANO_JSON_LIT(out, "{\"prompt_tokens\":");
    nano_json_int(out, num_prompt);
    NANO_JSON_LIT(out, ",\"completion_tokens\":");
    nano_json_int(out, num_completion);
    NANO_JSON_LIT(out, ",\"total_tokens\":");
    nano_json_int(out, (int64_t)num_prompt + num_completion);
    NANO_JSON_LIT(out, ",\"prompt_tokens_details\":{\"cached_tokens\":");
    nano_json_int(out, num_cached);
    NANO_JSON_LIT(out, "}}");
}

void nano_api_print_reasons(const struct nano_api_choice *choice, struct nano_json_out *out)
{
    NANO_JSON_LIT(out, ",\"finish_reason\":");
    nano_json_cstring(out, nano_finish_reason_name(choice->reason));
    NANO_JSON_LIT(out, ",\"stop_reason\":");
    if (choice->stop_reason.num_bytes > 0)
        nano_json_append(out, &choice->stop_reason);
    else
        NANO_JSON_LIT(out, "null");
}

void nano_api_whole_news(struct nano_api_answer *answer, const struct nano_api_news *news)
{
    struct nano_api_choice *choice = news->choice;
    const struct nano_output *output = news->output;
    nano_json_escaped(&choice->text, news->content, news->content_bytes);
    nano_json_escaped(&choice->reasoning, news->reasoning, news->reasoning_bytes);
    if (answer->logprobs >= 0)
        nano_api_logprobs_add(choice, answer, output);
    for (int i = 0; answer->return_token_ids && i < output->num_tokens; i++) {
        if (choice->token_ids.num_bytes > 0)
            NANO_JSON_LIT(&choice->token_ids, ",");
        nano_json_int(&choice->token_ids, output->token_ids[i]);
    }
}

static void print_message(const struct nano_api_choice *choice, struct nano_json_out *out)
{
    NANO_JSON_LIT(out, ",\"message\":{\"role\":\"assistant\",\"content\":\"");
    nano_json_append(out, &choice->text);
    NANO_JSON_LIT(out, "\",\"refusal\":null");
    if (choice->parser && choice->reasoning.num_bytes > 0) {
        NANO_JSON_LIT(out, ",\"reasoning_content\":\"");
        nano_json_append(out, &choice->reasoning);
        NANO_JSON_LIT(out, "\"");
    } else if (choice->parser) {
        NANO_JSON_LIT(out, ",\"reasoning_content\":null");
    }
    NANO_JSON_LIT(out, "}");
}

static void print_text(const struct nano_api_answer *answer, const struct nano_api_prompt *prompt,
                       const struct nano_api_choice *choice, struct nano_json_out *out)
{
    NANO_JSON_LIT(out, ",\"text\":\"");
    if (answer->echo)
        nano_json_escaped(out, prompt->text, prompt->text_bytes);
    nano_json_append(out, &choice->text);
    NANO_JSON_LIT(out, "\"");
}

static void print_prompt_members(const struct nano_api_answer *answer,
                                 const struct nano_api_prompt *prompt, struct nano_json_out *out)
{
    if (prompt->prompt_logprobs.num_bytes > 0 || prompt->prompt_logprobs.failed) {
        NANO_JSON_LIT(out, ",\"prompt_logprobs\":");
        nano_json_append(out, &prompt->prompt_logprobs);
    }
    if (answer->return_token_ids) {
        NANO_JSON_LIT(out, ",\"prompt_token_ids\":");
        nano_json_ints(out, prompt->token_ids, prompt->num_token_ids);
    }
}

static void print_choice(const struct nano_api_answer *answer, int index, struct nano_json_out *out)
{
    const struct nano_api_choice *choice = &answer->choices[index];
    const struct nano_api_prompt *prompt = &answer->prompts[index / answer->n];
    bool is_chat = answer->kind == NANO_API_CHAT;
    NANO_JSON_LIT(out, "{\"index\":");
    nano_json_int(out, index);
    if (is_chat)
        print_message(choice, out);
    else
        print_text(answer, prompt, choice, out);
    NANO_JSON_LIT(out, ",\"logprobs\":");
    nano_api_logprobs_print(answer, answer->echo ? &prompt->echoed : NULL, &choice->logprobs, out);
    nano_api_print_reasons(choice, out);
    if (answer->return_token_ids) {
        NANO_JSON_LIT(out, ",\"token_ids\":[");
        nano_json_append(out, &choice->token_ids);
        NANO_JSON_LIT(out, "]");
    }
    if (!is_chat)
        print_prompt_members(answer, prompt, out);
    NANO_JSON_LIT(out, "}");
}

void nano_api_whole_print(struct nano_api_answer *answer)
{
    struct nano_json_out *out = &answer->out;
    nano_json_append(out, &answer->head);
    for (int i = 0; i < answer->num_prompts * answer->n; i++) {
        if (i > 0)
            NANO_JSON_LIT(out, ",");
        print_choice(answer, i, out);
    }
    NANO_JSON_LIT(out, "],\"usage\":");
    nano_api_print_usage(answer, out);
    if (answer->kind == NANO_API_CHAT)
        print_prompt_members(answer, &answer->prompts[0], out);
    NANO_JSON_LIT(out, "}");
}
