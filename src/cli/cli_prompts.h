/* Prompts: texts, files, token ids and standard input as one list in the order given. */
#ifndef NANO_CLI_PROMPTS_H
#define NANO_CLI_PROMPTS_H

#include <stdbool.h>

#include "cli/cli_options.h"

struct nano_cli_prompt {
    const char *path;  /* where the text is read from; NULL: it was given */
    bool is_token_ids; /* given as such */
    char *text;        /* NULL for token ids that no tokenizer can turn into text */
    size_t text_bytes;
    int32_t *token_ids;
    size_t num_tokens;
};

struct nano_cli_prompts {
    struct nano_cli_prompt *items;
    size_t num, capacity;
    bool add_special, parse_special;
};

/* The rows of every command that takes prompts; the group's struct is a struct nano_cli_prompts. */
extern const struct nano_cli_option nano_cli_prompt_table[];
extern const size_t nano_cli_num_prompt_options;

void nano_cli_prompts_init(struct nano_cli_prompts *prompts);
void nano_cli_prompts_deinit(struct nano_cli_prompts *prompts);

/* Reads the files; with no prompt in the list, standard input, unless that is a terminal. One
 * newline at the end of a file is dropped, since editors add it. */
enum nano_status nano_cli_prompts_read(struct nano_cli_prompts *prompts, struct nano_error *err);

/* Replaces the one prompt of the list, a text, by one for each of its lines: none if it is empty.
 */
enum nano_status nano_cli_prompts_split_lines(struct nano_cli_prompts *prompts,
                                              struct nano_error *err);

/* Gives each prompt the half it lacks: token ids of texts, the text of token ids. The tokenizer may
 * be NULL if there are token ids only; else tokenizer_error is the reason to fail with. */
enum nano_status nano_cli_prompts_encode(struct nano_cli_prompts *prompts,
                                         const nano_tokenizer *tokenizer,
                                         const struct nano_error *tokenizer_error,
                                         struct nano_error *err);

/* Tokens of the longest one; 0 without prompts. */
size_t nano_cli_prompts_longest(const struct nano_cli_prompts *prompts);

#endif
