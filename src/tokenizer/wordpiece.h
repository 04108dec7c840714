/* WordPiece: a word is cut from the left into the longest tokens; a word that cannot be is unk.
 * WordLevel is the case of words that are tokens. */
#ifndef NANO_TOKENIZER_WORDPIECE_H
#define NANO_TOKENIZER_WORDPIECE_H

#include "tokenizer/encoder.h"
#include "tokenizer/vocab.h"

struct nano_wordpiece {
    const char *word_prefix,
        *part_prefix; /* before a word, and before its parts behind the first */
    size_t word_prefix_bytes, part_prefix_bytes;
    size_t max_chars; /* longer words are unk */
    bool whole_words; /* WordLevel */
    int32_t unk;      /* -1: a word without tokens gives none */
    size_t max_token_bytes;
};

/* The options are set before. */
void nano_wordpiece_init(struct nano_wordpiece *wordpiece, const struct nano_vocab *vocab);

enum nano_status nano_wordpiece_encode(struct nano_encoder *encoder, const char *word,
                                       size_t num_bytes, struct nano_error *err);

#endif
