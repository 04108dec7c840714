/* The tokenizer's parts, for the files of this folder only. */
#ifndef NANO_TOKENIZER_TOKENIZER_INTERNAL_H
#define NANO_TOKENIZER_TOKENIZER_INTERNAL_H

#include "tokenizer/bpe.h"
#include "tokenizer/special_finder.h"
#include "tokenizer/spm.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocab.h"

struct nano_tokenizer {
    struct nano_vocab vocab;
    struct nano_special_finder special;
    struct nano_bpe bpe; /* of the two, the one of vocab.kind is in use */
    struct nano_spm spm;
};

#endif
