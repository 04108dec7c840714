/* Streams: events of server-sent events, one chunk for what a callback brings. This is the hot
 * path: the engine's thread comes here for every token of every stream, so a chunk is a few copies
 * into a buffer that stays, and nothing else. */
#include "server/api_answer.h"

static void begin_chunk(struct nano_api_answer *answer, int index)
{
    struct nano_json_out *out = &answer->out;
    nano_json_append(out, &answer->head);
    NANO_JSON_LIT(out, "{\"index\":");
    nano_json_int(out, index);
}

static void end_chunk(struct nano_api_answer *answer)
{
    struct nano_json_out *out = &answer->out;
    NANO_JSON_LIT(out, "}]");
    if (answer->continuous_usage) {
        NANO_JSON_LIT(out, ",\"usage\":");
        nano_api_print_usage(answer, out);
    } else if (answer->include_usage) {
        NANO_JSON_LIT(out, ",\"usage\":null");
    }
    NANO_JSON_LIT(out, "}\n\n");
}

static void print_prompt_ids(struct nano_api_answer *answer, const struct nano_api_prompt *prompt)
{
    NANO_JSON_LIT(&answer->out, ",\"prompt_token_ids\":");
    nano_json_ints(&answer->out, prompt->token_ids, prompt->num_token_ids);
}

/* The event that names the role, before a choice's first words. */
static void begin_choice(struct nano_api_answer *answer, const struct nano_api_news *news)
{
    if (answer->kind == NANO_API_COMPLETION)
        return;
    begin_chunk(answer, news->index);
    NANO_JSON_LIT(&answer->out, ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                                "\"logprobs\":null,\"finish_reason\":null");
    if (answer->return_token_ids)
        print_prompt_ids(answer, news->prompt);
    end_chunk(answer);
}

static void print_delta(struct nano_api_answer *answer, const struct nano_api_news *news)
{
    struct nano_json_out *out = &answer->out;
    NANO_JSON_LIT(out, ",\"delta\":{");
    if (news->reasoning_bytes > 0) {
        NANO_JSON_LIT(out, "\"reasoning_content\":");
        nano_json_string(out, news->reasoning, news->reasoning_bytes);
    }
    if (news->content_bytes > 0) {
        if (news->reasoning_bytes > 0)
            NANO_JSON_LIT(out, ",");
        NANO_JSON_LIT(out, "\"content\":");
        nano_json_string(out, news->content, news->content_bytes);
    }
    NANO_JSON_LIT(out, "}");
}

static void print_text(struct nano_api_answer *answer, const struct nano_api_news *news,
                       bool is_first)
{
    struct nano_json_out *out = &answer->out;
    NANO_JSON_LIT(out, ",\"text\":\"");
    if (is_first && answer->echo)
        nano_json_escaped(out, news->prompt->text, news->prompt->text_bytes);
    nano_json_escaped(out, news->content, news->content_bytes);
    NANO_JSON_LIT(out, "\"");
    if (is_first && answer->return_token_ids)
        print_prompt_ids(answer, news->prompt);
}

void nano_api_stream_news(struct nano_api_answer *answer, const struct nano_api_news *news)
{
    struct nano_json_out *out = &answer->out;
    struct nano_api_choice *choice = news->choice;
    const struct nano_output *output = news->output;
    bool is_first = !choice->begun, is_completion = answer->kind == NANO_API_COMPLETION;
    bool has_text = news->content_bytes > 0 || news->reasoning_bytes > 0;
    bool wants_tokens = answer->logprobs >= 0 || answer->return_token_ids;
    if (!has_text && output->finish_reason == NANO_FINISH_NONE &&
        !(wants_tokens && output->num_tokens > 0))
        return; /* its text is not whole yet */
    if (is_first)
        begin_choice(answer, news);
    choice->begun = true;
    begin_chunk(answer, news->index);
    if (is_completion)
        print_text(answer, news, is_first);
    else
        print_delta(answer, news);
    if (answer->return_token_ids) {
        NANO_JSON_LIT(out, ",\"token_ids\":");
        nano_json_ints(out, output->token_ids, (size_t)output->num_tokens);
    }
    if (answer->logprobs >= 0) {
        nano_api_logprobs_add(choice, answer, output);
        NANO_JSON_LIT(out, ",\"logprobs\":");
        nano_api_logprobs_print(answer, is_first && answer->echo ? &news->prompt->echoed : NULL,
                                &choice->logprobs, out);
        nano_api_logprobs_reset(&choice->logprobs);
    } else {
        NANO_JSON_LIT(out, ",\"logprobs\":null");
    }
    if (output->finish_reason == NANO_FINISH_NONE)
        NANO_JSON_LIT(out, ",\"finish_reason\":null");
    else
        nano_api_print_reasons(choice, out);
    end_chunk(answer);
}

void nano_api_stream_tail(struct nano_api_answer *answer)
{
    struct nano_json_out *out = &answer->out;
    if (answer->problem.status) {
        NANO_JSON_LIT(out, "data: {\"error\":");
        nano_api_print_problem(out, &answer->problem);
        NANO_JSON_LIT(out, "}\n\n");
    } else if (answer->include_usage) {
        nano_json_append(out, &answer->head);
        NANO_JSON_LIT(out, "],\"usage\":");
        nano_api_print_usage(answer, out);
        NANO_JSON_LIT(out, "}\n\n");
    }
    NANO_JSON_LIT(out, "data: [DONE]\n\n");
}
