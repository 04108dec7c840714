/* What stands beside a tokenizer's vocabulary: tokenizer_config.json and its relatives. */
#ifndef NANO_FORMAT_TOK_CONFIG_H
#define NANO_FORMAT_TOK_CONFIG_H

#include <jansson.h>

#include "format/tok_build.h"

#define NANO_TOK_MAX_PATH 4096

struct nano_tok_config { /* documents are NULL where there is no such file */
    const char *folder;
    json_t *tokenizer; /* tokenizer_config.json */
    json_t *map;       /* special_tokens_map.json */
    json_t *added;     /* added_tokens.json */
    json_t *model;     /* config.json */
    size_t vocab_size; /* config.json's; 0 if it says nothing */
};

/* Writes FOLDER/NAME; false if there is no such file. */
bool nano_tok_in_folder(char path[NANO_TOK_MAX_PATH], const char *folder, const char *name);

/* `folder` is borrowed. Closing is fine after a failure. */
enum nano_status nano_tok_config_open(struct nano_tok_config *config, const char *folder,
                                      struct nano_error *err);
void nano_tok_config_close(struct nano_tok_config *config);

/* The pre-tokenizer of a vocab.json with merges.txt, by tokenizer_class. */
enum nano_status nano_tok_config_pre(const struct nano_tok_config *config, const char **pre,
                                     struct nano_error *err);

/* Added tokens, special ids and flags for a vocabulary that has been read. */
enum nano_status nano_tok_config_apply(const struct nano_tok_config *config, struct nano_tok *tok,
                                       struct nano_error *err);

/* tokenizer.chat_template, and .NAME for those that have names. */
enum nano_status nano_tok_config_templates(const struct nano_tok_config *config,
                                           struct nano_meta_builder *builder,
                                           struct nano_error *err);

#endif
