/* One answer. */
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "cli/chat.h"

enum shown { SHOWN_NOTHING, SHOWN_REASONING, SHOWN_CONTENT };

struct answer {
    struct nano_chat *chat;
    nano_chat_parser *parser;
    struct nano_buffer reasoning, content;
    enum shown shown;
    bool at_line_start;
    enum nano_finish_reason finish_reason;
    enum nano_status status; /* what the callback met */
    struct nano_error err;
};

/* Behind reasoning stands an empty line, unless nothing follows it. */
static void show_kind(struct answer *a, enum shown kind)
{
    const struct nano_cli_style *style = &a->chat->screen.style;
    if (a->shown == kind)
        return;
    if (a->shown == SHOWN_REASONING)
        fputs(style->reset, stdout);
    if (a->shown == SHOWN_REASONING && kind == SHOWN_CONTENT)
        fputs(a->at_line_start ? "\n" : "\n\n", stdout);
    if (kind == SHOWN_REASONING)
        fputs(style->dim, stdout);
    a->shown = kind;
}

static void show(struct answer *a, enum shown kind, const char *text, size_t num_bytes)
{
    if (num_bytes == 0)
        return;
    show_kind(a, kind);
    nano_chat_print(&a->chat->screen, text, num_bytes);
    a->at_line_start = text[num_bytes - 1] == '\n';
}

/* With reasoning hidden the user sees at least that there is some. */
static void show_reasoning(struct answer *a, const struct nano_chat_delta *delta)
{
    static const char hidden[] = "(thinking)";
    if (a->chat->show_reasoning)
        show(a, SHOWN_REASONING, delta->reasoning, delta->reasoning_bytes);
    else if (a->chat->screen.is_terminal && delta->reasoning_bytes && a->shown == SHOWN_NOTHING)
        show(a, SHOWN_REASONING, hidden, sizeof hidden - 1);
}

static void take(struct answer *a, const char *text, size_t num_bytes, bool is_last)
{
    struct nano_chat_delta delta;
    a->status = nano_chat_parser_push(a->parser, text, num_bytes, is_last, &delta, &a->err);
    if (a->status != NANO_OK)
        return;
    if (!nano_buffer_append(&a->reasoning, delta.reasoning, delta.reasoning_bytes) ||
        !nano_buffer_append(&a->content, delta.content, delta.content_bytes)) {
        a->status = nano_error_no_memory(&a->err, "the answer", 0);
        return;
    }
    show_reasoning(a, &delta);
    show(a, SHOWN_CONTENT, delta.content, delta.content_bytes);
    fflush(stdout);
}

static void on_output(const struct nano_output *output, void *user_data)
{
    struct answer *a = user_data;
    const bool is_last = output->finish_reason != NANO_FINISH_NONE;
    if (a->status == NANO_OK)
        take(a, output->text ? output->text : "", output->text_bytes, is_last);
    if (a->status != NANO_OK || ferror(stdout))
        nano_engine_cancel(a->chat->engine, output->request_id);
    if (!is_last)
        return;
    a->finish_reason = output->finish_reason;
    if (output->error && a->status == NANO_OK) {
        a->err = *output->error;
        a->status = a->err.status;
    }
    a->chat->last = (struct nano_chat_numbers){
        .num_prompt_tokens = output->num_prompt_tokens,
        .num_cached_tokens = output->num_cached_tokens,
        .num_completion_tokens = output->num_completion_tokens,
        .prefill_ns = output->prefill_ns,
        .decode_ns = output->decode_ns,
    };
}

static void add_to_total(struct nano_chat *chat)
{
    chat->total.num_prompt_tokens += chat->last.num_prompt_tokens;
    chat->total.num_cached_tokens += chat->last.num_cached_tokens;
    chat->total.num_completion_tokens += chat->last.num_completion_tokens;
}

static enum nano_status encode(const struct nano_chat *chat, const char *prompt,
                               size_t prompt_bytes, int32_t **token_ids, size_t *num_tokens,
                               struct nano_error *err)
{
    enum nano_status status =
        nano_tokenizer_encode(chat->tokenizer, prompt, prompt_bytes, NANO_ENCODE_PARSE_SPECIAL,
                              token_ids, num_tokens, err);
    if (status == NANO_OK && *num_tokens >= (size_t)chat->plan.max_model_len)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "the context is full: the conversation has %zu tokens, the context "
                              "%d; /reset begins a new one%s",
                              *num_tokens, chat->plan.max_model_len, chat->longer);
    return status;
}

/* Runs the request to its end. */
static enum nano_status generate(struct answer *a, struct nano_error *err)
{
    struct nano_chat *chat = a->chat;
    struct nano_request request = nano_request_default();
    char *prompt = NULL;
    int32_t *token_ids = NULL;
    size_t prompt_bytes, num_tokens;
    uint64_t request_id;
    enum nano_status status;
    NANO_TRY(
        nano_cli_template_render(&chat->template, chat->messages, &prompt, &prompt_bytes, err));
    NANO_TRY(encode(chat, prompt, prompt_bytes, &token_ids, &num_tokens, err));
    NANO_TRY(nano_chat_parser_create(&a->parser, chat->template.chat_template, prompt, prompt_bytes,
                                     err));
    request.lora = chat->lora;
    request.prompt_token_ids = token_ids;
    request.num_prompt_token_ids = num_tokens;
    request.sampling = *nano_cli_sampling(&chat->sampling);
    request.sampling.skip_special_tokens = !chat->template.info.reasoning_start; /* may be one */
    request.on_output = on_output;
    request.user_data = a;
    NANO_TRY(nano_engine_submit(chat->engine, &request, &request_id, err));
    NANO_TRY(nano_cli_drive(chat->engine, &request_id, 1, err));
fail:
    nano_free(token_ids);
    nano_free(prompt);
    return status;
}

/* Why the answer ends before its end, if it does. */
static void note_end(const struct answer *a)
{
    const struct nano_chat *chat = a->chat;
    const int num_tokens = chat->last.num_completion_tokens;
    const int max_tokens = chat->sampling.params.max_tokens;
    if (a->finish_reason == NANO_FINISH_CANCELLED)
        nano_chat_note(chat, "(stopped)");
    if (a->finish_reason != NANO_FINISH_LENGTH)
        return;
    if (max_tokens >= 0 && num_tokens >= max_tokens)
        nano_chat_note(chat, "(cut after max_tokens = %d)", max_tokens);
    else
        nano_chat_note(
            chat, "(cut: the context of %d tokens is full; /reset begins a new conversation%s)",
            chat->plan.max_model_len, chat->longer);
}

/* Keeps the answer as a message; false if there is nothing to keep. */
static bool keep(struct answer *a)
{
    struct nano_error err;
    const bool has_reasoning = a->reasoning.num_bytes > 0;
    if (!has_reasoning && a->content.num_bytes == 0)
        return false;
    if (nano_chat_add(a->chat, "assistant", a->content.data,
                      has_reasoning ? a->reasoning.data : NULL, &err) == NANO_OK)
        return true;
    nano_chat_complain(a->chat, "%s", err.message);
    return false;
}

bool nano_chat_answer(struct nano_chat *chat)
{
    struct answer answer = {.chat = chat, .at_line_start = true};
    struct nano_error err;
    chat->last = (struct nano_chat_numbers){0};
    if (chat->screen.is_terminal)
        putchar('\n');
    enum nano_status status = generate(&answer, &err);
    show_kind(&answer, SHOWN_NOTHING);
    if (!answer.at_line_start)
        putchar('\n');
    fflush(stdout);
    if (answer.status != NANO_OK)
        nano_chat_complain(chat, "%s", answer.err.message);
    else if (status != NANO_OK)
        nano_chat_complain(chat, "%s", err.message);
    else
        note_end(&answer);
    const bool kept = keep(&answer);
    add_to_total(chat);
    nano_chat_parser_destroy(answer.parser);
    nano_buffer_deinit(&answer.reasoning);
    nano_buffer_deinit(&answer.content);
    return kept;
}

/* An empty line between an answer and the next prompt. */
static void end_turn(const struct nano_chat *chat)
{
    if (chat->screen.is_terminal)
        putchar('\n');
}

void nano_chat_say(struct nano_chat *chat, const char *text)
{
    struct nano_error err;
    if (nano_chat_add(chat, "user", text, NULL, &err) != NANO_OK) {
        nano_chat_complain(chat, "%s", err.message);
    } else if (!nano_chat_answer(chat)) {
        json_decref(nano_chat_take_last(chat));
        nano_chat_note(chat, "(no answer: your message is taken back)");
    }
    end_turn(chat);
}

void nano_chat_retry(struct nano_chat *chat)
{
    const struct nano_sampling_params *params = &chat->sampling.params;
    json_t *old = NULL;
    if (strcmp(nano_chat_last_role(chat), "assistant") == 0)
        old = nano_chat_take_last(chat);
    if (!*nano_chat_last_role(chat)) {
        nano_chat_complain(chat, "/retry: there is no question yet");
        json_decref(old);
        return;
    }
    if (old && (params->temperature == 0 || params->has_seed))
        nano_chat_note(chat, "(%s: the answer will be the same)",
                       params->temperature == 0 ? "the temperature is 0" : "the seed is fixed");
    if (!nano_chat_answer(chat) && old && json_array_append(chat->messages, old) == 0)
        nano_chat_note(chat, "(no answer: the one before stays)");
    json_decref(old);
    end_turn(chat);
}
