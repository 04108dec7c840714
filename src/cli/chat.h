/* A conversation with a model, and what its parts share.
 *
 *   cmd_chat.c        options; the loop: read a message, do it
 *   chat_line.h       lines of input (chat_edit.h: with libedit)
 *   chat_message.h    messages, which may have several lines
 *   chat_history.c    the conversation: system prompt, last question and answer, files
 *   chat_answer.c     one answer: prompt in, text streamed out, kept as a message
 *   chat_commands.c   what begins with a slash
 *   chat_settings.c   /set
 *   chat_screen.c     what is printed where
 */
#ifndef NANO_CLI_CHAT_H
#define NANO_CLI_CHAT_H

#include "cli/cli_engine.h"
#include "cli/cli_output.h"
#include "cli/cli_template.h"

/* Answers go to standard output. Notes do so on a terminal, and else to standard error, so that a
 * script gets answers only. */
struct nano_chat_screen {
    bool is_terminal; /* standard input and output are one */
    bool raw;         /* answers are printed byte for byte: standard output is no terminal */
    FILE *notes;
    struct nano_cli_style style;
};

struct nano_chat_numbers { /* of one answer */
    int num_prompt_tokens, num_cached_tokens, num_completion_tokens;
    uint64_t prefill_ns, decode_ns;
};

struct nano_chat {
    const nano_tokenizer *tokenizer;
    nano_engine *engine;
    const char *lora; /* of every request; NULL: none */
    struct nano_memory_plan plan;
    const char *longer; /* how the context can be longer, for messages; "": it cannot */
    struct nano_cli_template template;
    struct nano_cli_sampling_options sampling;
    json_t *messages; /* OpenAI's form */
    struct nano_chat_screen screen;
    bool show_reasoning;
    bool failed; /* something went wrong: for the exit status */
    bool done;   /* the user wants to leave */
    struct nano_chat_numbers last, total;
};

/* ---- chat_screen.c ---- */

void nano_chat_screen_init(struct nano_chat_screen *screen, bool is_terminal);
/* One line. */
void nano_chat_note(const struct nano_chat *chat, const char *fmt, ...) NANO_PRINTF(2, 3);
/* One line that says what went wrong; chat->failed is set. */
void nano_chat_complain(struct nano_chat *chat, const char *fmt, ...) NANO_PRINTF(2, 3);
/* Text of the model's, on standard output. No control characters reach a terminal. */
void nano_chat_print(const struct nano_chat_screen *screen, const char *text, size_t num_bytes);

/* ---- chat_history.c ---- */

/* The system prompt or NULL. Setting "" removes it. */
const char *nano_chat_system(const struct nano_chat *chat);
enum nano_status nano_chat_set_system(struct nano_chat *chat, const char *text,
                                      struct nano_error *err);
/* Drops all messages but the system prompt. */
void nano_chat_reset(struct nano_chat *chat);
/* `reasoning` may be NULL. Text that is not UTF-8 is made so. */
enum nano_status nano_chat_add(struct nano_chat *chat, const char *role, const char *content,
                               const char *reasoning, struct nano_error *err);
/* The role of the last message, "" if there is none but the system prompt. */
const char *nano_chat_last_role(const struct nano_chat *chat);
/* The last message is the caller's from now on. */
json_t *nano_chat_take_last(struct nano_chat *chat);
/* {"messages":[...]}; a list alone can be loaded, too. What cannot be loaded changes nothing. */
enum nano_status nano_chat_save(const struct nano_chat *chat, const char *path,
                                struct nano_error *err);
enum nano_status nano_chat_load(struct nano_chat *chat, const char *path, struct nano_error *err);

/* ---- chat_answer.c ---- */

/* Answers the conversation as it stands. The answer, also a partial one, becomes a message; false
 * if there is none. */
bool nano_chat_answer(struct nano_chat *chat);
/* A question and its answer; without one the question is taken back. */
void nano_chat_say(struct nano_chat *chat, const char *text);
/* Another answer to the last question, in place of the one there is. */
void nano_chat_retry(struct nano_chat *chat);

/* ---- chat_commands.c, chat_settings.c ---- */

/* All commands with their slash, a list that ends with NULL. */
extern const char *const nano_chat_command_names[];
/* `line` begins with a slash. */
void nano_chat_command(struct nano_chat *chat, const char *line);

/* `rest` is what stands behind /set. */
void nano_chat_set(struct nano_chat *chat, char *rest);

#endif
