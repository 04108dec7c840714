/* JSON files of a tokenizer: reading them, and tokenizer.json itself. */
#ifndef NANO_FORMAT_TOK_JSON_H
#define NANO_FORMAT_TOK_JSON_H

#include <jansson.h>

#include "format/tok_build.h"

/* Parses a file that must be one object; the caller decrefs it. NULL on failure. */
enum nano_status nano_tok_json_open(json_t **out, const char *path, struct nano_error *err);

/* The same of bytes that are in memory; `path` is for messages. */
enum nano_status nano_tok_json_parse(json_t **out, const char *bytes, size_t num_bytes,
                                     const char *path, struct nano_error *err);

/* Adds a vocabulary {"text": id, …}; field is its name for messages. */
enum nano_status nano_tok_add_vocab(struct nano_tok *tok, json_t *vocab, const char *field,
                                    float score, bool has_bytes, struct nano_error *err);

/* Takes a parsed tokenizer.json in: vocabulary, merges, added tokens. `root` loses its vocabulary
 * and merges; what is left stays with `tok` until nano_tok_json_close. */
enum nano_status nano_tok_json_load(struct nano_tok *tok, json_t *root, struct nano_error *err);
void nano_tok_json_close(struct nano_tok *tok);

/* What a configuration changes in tokenizer.json's pipeline, if there is one: one more added token
 * (an object as in added_tokens_decoder), and the post-processor, which becomes a template of the
 * BOS and EOS that tok's flags ask for. */
enum nano_status nano_tok_json_add_token(struct nano_tok *tok, int64_t id, json_t *token,
                                         struct nano_error *err);
enum nano_status nano_tok_json_set_template(struct nano_tok *tok, struct nano_error *err);

/* Makes the pipeline of a byte-level BPE without a tokenizer.json: words by the regular expression,
 * a word that is a token taken whole, no normalizer. Before the special tokens are added. */
enum nano_status nano_tok_json_byte_level(struct nano_tok *tok, const char *regex,
                                          struct nano_error *err);

/* Writes "nanovllm.tokenizer.pipeline" if there is one. */
enum nano_status nano_tok_json_finish(struct nano_tok *tok, struct nano_error *err);

#endif
