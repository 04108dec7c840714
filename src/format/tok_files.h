/* Readers of tokenizer files that are not JSON; each takes a whole file in. */
#ifndef NANO_FORMAT_TOK_FILES_H
#define NANO_FORMAT_TOK_FILES_H

#include "format/tok_build.h"

/* SentencePiece's ModelProto (sentencepiece_model.proto). */
enum nano_status nano_tok_sentencepiece(struct nano_tok *tok, const void *data, size_t num_bytes,
                                        struct nano_error *err);

/* tiktoken: lines of base64 and a rank. The number of ranks tells which of the published
 * vocabularies it is, and with it the pattern and the special tokens. */
bool nano_tok_is_tiktoken(const void *data, size_t num_bytes);
enum nano_status nano_tok_tiktoken(struct nano_tok *tok, const char *text, size_t num_bytes,
                                   struct nano_error *err);

/* The merges of tokens that are in order of rank and spelled in the byte-level alphabet: each has
 * one split, which merging its bytes with the tokens before it comes to. */
enum nano_status nano_tok_merges_from_ranks(struct nano_tok *tok, struct nano_error *err);

/* merges.txt: lines of two tokens. */
enum nano_status nano_tok_merges_txt(struct nano_tok *tok, const char *text, size_t num_bytes,
                                     struct nano_error *err);

#endif
