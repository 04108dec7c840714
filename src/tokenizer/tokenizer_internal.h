/* The tokenizer's parts, for the files of this folder only.
 *
 *   text ── added ──▶ normalizer ── added_normalized ──▶ pre ── words ──▶ model ──▶ ids
 *           (tokens found as they stand, before and after the normalizer)
 *
 * GGUF's keys and a tokenizer.json both come to this; what one does not have is empty. */
#ifndef NANO_TOKENIZER_TOKENIZER_INTERNAL_H
#define NANO_TOKENIZER_TOKENIZER_INTERNAL_H

#include "base/arena.h"
#include "tokenizer/bpe.h"
#include "tokenizer/char_bpe.h"
#include "tokenizer/decoder.h"
#include "tokenizer/pipeline.h"
#include "tokenizer/special_finder.h"
#include "tokenizer/spm.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unigram.h"
#include "tokenizer/vocab.h"
#include "tokenizer/wordpiece.h"

struct nano_tokenizer {
    struct nano_vocab vocab;
    bool has_pipeline;
    struct nano_special_finder added, added_normalized;
    struct nano_normalizer normalizer;
    struct nano_pretokenizer pre;
    struct nano_bpe bpe; /* of the models, the one of vocab.kind is in use */
    struct nano_spm spm;
    struct nano_char_bpe char_bpe;
    struct nano_wordpiece wordpiece;
    struct nano_unigram *unigram; /* NULL where it is not */
    struct nano_template around;
    struct nano_decoder decoder;
    struct nano_arena texts; /* of normalized tokens and model options */
};

/* Whether the token after this one is still the first of its text: a tokenizer.json's decoder does
 * not see special tokens that are skipped. */
static inline bool nano_token_keeps_first(const nano_tokenizer *tokenizer, int32_t id,
                                          bool skip_special)
{
    return tokenizer->has_pipeline && skip_special && nano_vocab_is_special(&tokenizer->vocab, id);
}

/* Fills everything from a tokenizer.json's object; the tokenizer is zeroed. */
enum nano_status nano_pipeline_init(nano_tokenizer *tokenizer, const json_t *root,
                                    const struct nano_weights *weights, struct nano_error *err);

/* GGUF's "t5": SentencePiece's Unigram model. */
enum nano_status nano_pipeline_init_t5(nano_tokenizer *tokenizer,
                                       const struct nano_weights *weights, struct nano_error *err);

#endif
