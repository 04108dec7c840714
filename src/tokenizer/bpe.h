/* Byte-level BPE: bytes of a pre-tokenizer's word are merged by the rank of a merge list. */
#ifndef NANO_TOKENIZER_BPE_H
#define NANO_TOKENIZER_BPE_H

#include "tokenizer/encoder.h"
#include "tokenizer/merge.h"
#include "tokenizer/pre_patterns.h"
#include "tokenizer/vocab.h"

struct nano_bpe {
    struct nano_pair_table pairs;
    int32_t byte_ids[256]; /* -1: the byte has no token and becomes unk, or nothing without one */
    bool bytes_missing;    /* some of them are -1 */
    bool ignore_merges;    /* a word that is a token is taken as it is */
    bool from_byte_chars;  /* words come in the byte-level alphabet */
};

/* The row of tokenizer.ggml.pre ("default" if the key is absent). */
enum nano_status nano_bpe_find_pre(const struct nano_pre_row **out,
                                   const struct nano_weights *weights, struct nano_error *err);

/* On failure nano_bpe_deinit releases what there is. */
enum nano_status nano_bpe_init(struct nano_bpe *bpe, const struct nano_vocab *vocab,
                               const struct nano_weights *weights, struct nano_error *err);
void nano_bpe_deinit(struct nano_bpe *bpe);

/* Fills the table with tokenizer.ggml.merges. Of a right half the first prefix_bytes bytes are left
 * out when it is merged. */
enum nano_status nano_bpe_load_merges(struct nano_pair_table *pairs, const struct nano_vocab *vocab,
                                      size_t prefix_bytes, const struct nano_weights *weights,
                                      struct nano_error *err);

/* Encodes a word. */
enum nano_status nano_bpe_encode(struct nano_encoder *encoder, const char *word, size_t num_bytes,
                                 struct nano_error *err);

#endif
