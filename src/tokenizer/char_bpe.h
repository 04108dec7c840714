/* Character BPE: the characters of a word are merged by the rank of a merge list.
 *
 * Characters without a token become byte tokens, unk, or nothing. A word's characters behind the
 * first may be spelled with a prefix in the vocabulary, its last one with a suffix. */
#ifndef NANO_TOKENIZER_CHAR_BPE_H
#define NANO_TOKENIZER_CHAR_BPE_H

#include "tokenizer/encoder.h"
#include "tokenizer/mark_cuts.h"
#include "tokenizer/merge.h"

struct nano_char_bpe {
    struct nano_pair_table pairs;
    struct nano_mark_cuts cuts;
    int32_t byte_ids[256]; /* -1: no token */
    int32_t unk;           /* -1: none */
    bool byte_fallback, fuse_unk, ignore_merges;
    const char *prefix, *suffix; /* borrowed; "" where there is none */
    size_t prefix_bytes, suffix_bytes;
};

/* The options are set before; on failure nano_char_bpe_deinit releases what there is. */
enum nano_status nano_char_bpe_init(struct nano_char_bpe *bpe, const struct nano_vocab *vocab,
                                    const struct nano_weights *weights, struct nano_error *err);
void nano_char_bpe_deinit(struct nano_char_bpe *bpe);

enum nano_status nano_char_bpe_encode(struct nano_encoder *encoder, const char *word,
                                      size_t num_bytes, struct nano_error *err);

#endif
