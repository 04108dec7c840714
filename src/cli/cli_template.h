/* The chat template that a command uses: the model's, or the one that the user gives instead. */
#ifndef NANO_CLI_TEMPLATE_H
#define NANO_CLI_TEMPLATE_H

#include <jansson.h>

#include "cli/cli_options.h"

struct nano_cli_template_options {
    const char *source; /* Jinja text, or the name of a file that holds it; NULL: the model's */
    const char *path;   /* a file */
    const char *kwargs; /* a JSON object, the template's variables */
};

extern const struct nano_cli_option nano_cli_template_table[];
extern const size_t nano_cli_num_template_options;

struct nano_cli_template {
    nano_chat_template *chat_template;
    struct nano_chat_template_info info;
    char *bos_token, *eos_token; /* as texts; NULL: the model has none */
    const char *kwargs;          /* the options': a JSON object, or NULL */
};

/* The tokenizer gives the names of BOS and EOS; NULL: they have none. `model` may be NULL if the
 * options name a template. To be deinitialised in any case. */
enum nano_status nano_cli_template_init(struct nano_cli_template *out,
                                        const struct nano_cli_template_options *options,
                                        const nano_model *model, const nano_tokenizer *tokenizer,
                                        struct nano_error *err);
void nano_cli_template_deinit(struct nano_cli_template *template);

/* The prompt that asks for the answer to `messages` (a JSON array); released with nano_free. */
enum nano_status nano_cli_template_render(const struct nano_cli_template *template,
                                          json_t *messages, char **prompt, size_t *prompt_bytes,
                                          struct nano_error *err);

#endif
