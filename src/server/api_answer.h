/* Answer: one request for text, from its prompts' submission to the end of its answer.
 *
 *   handler's thread                    engine's thread                a thread of the server
 *   create; on_gone ───────────────────────────────────────────────▶ (gone: cancel all)
 *   submit prompt 0 ──▶ engine          on_output: collect                     │
 *   submit prompt 1 ──▶ engine          on_output: collect                     │
 *   open: begin the stream, send        on_output: send at once                │
 *   what was collected; let go          … the last finish: end the answer ◀────┘ waits for it
 *
 * An answer has a completion ("choice") for each prompt and each of the n. `num_left` counts the
 * choices that have not finished, and one for the handler until it has opened the answer: whoever
 * brings it to zero ends the answer and releases the struct. If a prompt is refused, the handler
 * answers with the refusal at once and cancels what it has submitted; those callbacks still come
 * and the last one only releases.
 *
 * All that can be touched by two threads stands under `lock`. The lock is held while a piece is
 * written, never while the answer is ended, because the end waits for a call of on_gone, and that
 * takes the lock. */
#ifndef NANO_SERVER_API_ANSWER_H
#define NANO_SERVER_API_ANSWER_H

#include <pthread.h>

#include "server/api_params.h"
#include "server/json_out.h"

struct nano_api_answer;

/* Log-probabilities as they are printed; entries with commas between them. For completions the four
 * parallel lists, for chats objects in `tokens`. */
struct nano_api_logprobs {
    struct nano_json_out tokens, token_logprobs, top_logprobs, text_offsets;
};

/* One request of the engine. */
struct nano_api_prompt {
    struct nano_api_answer *answer; /* so that this can be the engine's user_data */
    uint64_t id;                    /* valid once it is submitted */
    char *text;                     /* as it was rendered or given; owned, kept for echo */
    size_t text_bytes;
    int32_t *token_ids; /* owned, kept where the answer shows them */
    size_t num_token_ids;
    int num_cached_tokens;
    size_t num_characters;                /* of the text, with echo */
    struct nano_api_logprobs echoed;      /* with echo */
    struct nano_json_out prompt_logprobs; /* the value of that name, or empty */
};

struct nano_api_choice {
    /* Of an answer in one piece, all of it; in a stream what the next chunk takes: */
    struct nano_json_out text, reasoning; /* insides of strings; text: or an embedding's value */
    struct nano_api_logprobs logprobs;
    struct nano_json_out token_ids; /* with commas */

    nano_chat_parser *parser; /* NULL: everything is content */
    size_t text_offset;       /* of the next token, in characters */
    int num_tokens;
    enum nano_finish_reason reason;
    struct nano_json_out stop_reason; /* the value, or empty for null */
    bool begun;                       /* a chunk has been made */

    uint64_t step_ns, gap_ns; /* of its newest tokens: their step, and its distance from the last */
    int num_in_step;
};

struct nano_api_answer {
    const struct nano_api *api;
    struct nano_http_exchange *exchange;
    uint64_t arrival_ns;
    /* Of the request's parameters: */
    enum nano_api_kind kind;
    const char *served_name;
    bool stream, include_usage, continuous_usage, echo, return_token_ids, base64;
    int n, logprobs, num_prompt_logprobs;

    struct nano_api_prompt *prompts; /* [num_prompts] */
    int num_prompts;
    struct nano_api_choice *choices; /* [num_prompts x n] */
    struct nano_json_out head;       /* what begins every chunk, or the answer in one piece */

    pthread_mutex_t lock;
    struct nano_json_out out; /* made and not sent */
    int num_submitted, num_left;
    bool open;                       /* the handler has begun the answer */
    bool answered;                   /* with a refusal: the exchange is gone */
    bool gone;                       /* the client is */
    struct nano_api_problem problem; /* set: the answer is this */
};

/* What one callback brings. */
struct nano_api_news {
    const struct nano_output *output;
    struct nano_api_prompt *prompt;
    struct nano_api_choice *choice;
    int index; /* of the choice */
    const char *content, *reasoning;
    size_t content_bytes, reasoning_bytes;
};

/* Submits the prompts and answers the exchange, now or later, whatever happens. The prompts' texts
 * and ids, and the array itself, are taken over. */
void nano_api_answer(const struct nano_api *api, struct nano_http_exchange *exchange,
                     const struct nano_api_params *params, struct nano_api_prompt *prompts,
                     int num_prompts);

/* Releases the array and what its prompts hold; NULL is fine if there are none. */
void nano_api_prompts_destroy(struct nano_api_prompt *prompts, int num_prompts);

/* Tells the metrics of new tokens, and of the end of a choice. By the engine's thread. */
void nano_api_count_tokens(const struct nano_api_answer *answer, struct nano_api_choice *choice,
                           const struct nano_output *output);
void nano_api_count_finish(const struct nano_api_answer *answer, struct nano_api_choice *choice,
                           const struct nano_output *output);

/* Replies with an error object. */
void nano_api_reply_problem(struct nano_http_exchange *exchange,
                            const struct nano_api_problem *problem);

/* The inside of an error object's "error". */
void nano_api_print_problem(struct nano_json_out *out, const struct nano_api_problem *problem);

/* Formats, called under the lock. What begins every chunk or the answer in one piece: */
void nano_api_print_head(struct nano_api_answer *answer);

/* Streams: a chunk (or none) for the news, and what ends the stream. */
void nano_api_stream_news(struct nano_api_answer *answer, const struct nano_api_news *news);
void nano_api_stream_tail(struct nano_api_answer *answer);

/* Answers in one piece: collect, and print all of it. */
void nano_api_whole_news(struct nano_api_answer *answer, const struct nano_api_news *news);
void nano_api_whole_print(struct nano_api_answer *answer);

/* The same of embeddings. */
void nano_api_embedding_news(struct nano_api_answer *answer, const struct nano_api_news *news);
void nano_api_embedding_print(struct nano_api_answer *answer);

/* {"prompt_tokens":…}. */
void nano_api_print_usage(const struct nano_api_answer *answer, struct nano_json_out *out);
int nano_api_count_usage(const struct nano_api_answer *answer, int *num_cached_tokens,
                         int *num_completion_tokens); /* returns the prompts' tokens */

/* The members finish_reason and stop_reason of a choice, with a comma before them. */
void nano_api_print_reasons(const struct nano_api_choice *choice, struct nano_json_out *out);

/* Log-probabilities: of new tokens, of the prompt with echo, and of the prompt as a list of its
 * own.
 */
void nano_api_logprobs_add(struct nano_api_choice *choice, const struct nano_api_answer *answer,
                           const struct nano_output *output);
void nano_api_logprobs_echo(struct nano_api_prompt *prompt, const struct nano_api_answer *answer,
                            const struct nano_output *output);
void nano_api_logprobs_prompt(struct nano_api_prompt *prompt, const struct nano_api_answer *answer,
                              const struct nano_output *output);
/* The value of "logprobs", of what an echo has and what followed; `echoed` may be NULL. */
void nano_api_logprobs_print(const struct nano_api_answer *answer,
                             const struct nano_api_logprobs *echoed,
                             const struct nano_api_logprobs *lists, struct nano_json_out *out);
void nano_api_logprobs_reset(struct nano_api_logprobs *lists);
void nano_api_logprobs_deinit(struct nano_api_logprobs *lists);

/* Characters that begin in a text. */
size_t nano_api_count_characters(const char *text, size_t num_bytes);

#endif
