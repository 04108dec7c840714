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

/* Takes a parsed tokenizer.json in: vocabulary, merges, added tokens, and the pipeline as a string
 * ("nanovllm.tokenizer.pipeline"). `root` loses its vocabulary and merges. */
enum nano_status nano_tok_json_load(struct nano_tok *tok, json_t *root, struct nano_error *err);

#endif
