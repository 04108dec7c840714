/* What tokenizer.json's pipeline says, in the words of GGUF's keys.
 *
 * Only what GGUF can say: the whole pipeline is kept beside it. */
#ifndef NANO_FORMAT_TOK_PRE_H
#define NANO_FORMAT_TOK_PRE_H

#include <jansson.h>

#include "base/buffer.h"
#include "format/tok_build.h"

/* tokenizer.ggml.pre of a byte-level tokenizer.json; "default" where no name is known for what it
 * does. */
const char *nano_tok_pre_name(json_t *root);

/* Whether the normalizer or the pre-tokenizer puts a space before the text. */
bool nano_tok_adds_space(json_t *root);

/* Whether runs of spaces become one. */
bool nano_tok_removes_spaces(json_t *root);

/* tokenizer.ggml.precompiled_charsmap of a Precompiled normalizer, if there is one. */
enum nano_status nano_tok_add_charsmap(struct nano_tok *tok, json_t *root, struct nano_error *err);

/* Which tokens the post-processor puts around a text. */
void nano_tok_read_post_processor(struct nano_tok *tok, json_t *processor);

/* Decodes base64 (RFC 4648, padding optional): up to num_bytes x 3 / 4 bytes. False for a character
 * that is none of it. */
bool nano_tok_base64(const char *text, size_t num_bytes, unsigned char *out, size_t *out_bytes);

/* The pattern of o200k, which GGUF's "gpt-4o" is only close to: there a mark does not continue a
 * word. */
extern const char nano_tok_o200k_regex[];

#endif
