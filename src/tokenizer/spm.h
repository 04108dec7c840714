/* SentencePiece-style BPE: characters are merged to the token with the best score.
 *
 * Spaces count as U+2581. The text is cut before a space wherever no token has the byte before it
 * in front of a U+2581: no merge can cross such a place, so the pieces (words, in practice) can be
 * merged one by one. Characters without a token become byte tokens, or unk. */
#ifndef NANO_TOKENIZER_SPM_H
#define NANO_TOKENIZER_SPM_H

#include "tokenizer/encoder.h"
#include "tokenizer/merge.h"
#include "tokenizer/vocab.h"

struct nano_spm_char {
    uint32_t codepoint; /* UINT32_MAX: an empty slot */
    int32_t id;         /* >= num_tokens: no token, but tokens contain the character */
};

struct nano_spm {
    struct nano_pair_table pairs;
    struct nano_spm_char *chars; /* the characters of all tokens; a hash table */
    size_t num_char_slots, num_chars;
    uint32_t *tokenless; /* code points of ids num_tokens, num_tokens + 1, … */
    size_t num_tokenless, tokenless_capacity;
    int32_t byte_ids[256];          /* -1: the byte has no token */
    unsigned char keeps_space[256]; /* a space after this byte may be part of the same token */
};

/* On failure nano_spm_deinit releases what there is. */
enum nano_status nano_spm_init(struct nano_spm *spm, const struct nano_vocab *vocab,
                               const struct nano_weights *weights, struct nano_error *err);
void nano_spm_deinit(struct nano_spm *spm);

/* Encodes text without special tokens. `prefix_space` puts a space before it. */
enum nano_status nano_spm_encode(struct nano_encoder *encoder, const char *text, size_t num_bytes,
                                 bool prefix_space, struct nano_error *err);

#endif
