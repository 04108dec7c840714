/* Unigram: the tokens of a word whose scores have the greatest sum (SentencePiece's other model).
 *
 * A character that no token covers alone may be unk, ten below the worst score; unks side by side
 * are one. */
#ifndef NANO_TOKENIZER_UNIGRAM_H
#define NANO_TOKENIZER_UNIGRAM_H

#include "tokenizer/encoder.h"
#include "tokenizer/mark_cuts.h"

struct nano_unigram {
    struct nano_mark_cuts cuts;
    int32_t *sorted; /* tokens in the order of their texts' bytes, so that a prefix is a range */
    size_t num_sorted;
    uint32_t first[65537]; /* where the texts that begin with two given bytes are in `sorted` */
    float *scores;
    double unk_score;
    int32_t unk; /* -1: there is none */
    bool byte_fallback;
    int32_t byte_ids[256];
};

/* The options are set before; on failure nano_unigram_deinit releases what there is. */
enum nano_status nano_unigram_init(struct nano_unigram *unigram, const struct nano_vocab *vocab,
                                   const struct nano_weights *weights, struct nano_error *err);
void nano_unigram_deinit(struct nano_unigram *unigram);

enum nano_status nano_unigram_encode(struct nano_encoder *encoder, const char *word,
                                     size_t num_bytes, struct nano_error *err);

#endif
