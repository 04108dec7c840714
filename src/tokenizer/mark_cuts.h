/* Mark cuts: where a text that spells spaces as U+2581 may be cut without changing its tokens.
 *
 * Before a U+2581, unless some token has the byte before it in front of a U+2581. Models without a
 * pre-tokenizer then work word by word, and their cache works. */
#ifndef NANO_TOKENIZER_MARK_CUTS_H
#define NANO_TOKENIZER_MARK_CUTS_H

#include "tokenizer/vocab.h"

struct nano_mark_cuts {
    bool enabled; /* U+2581 is a token of its own */
    bool keeps[256];
};

void nano_mark_cuts_init(struct nano_mark_cuts *cuts, const struct nano_vocab *vocab);

/* The end of the piece that begins at `begin`. */
size_t nano_mark_cuts_end(const struct nano_mark_cuts *cuts, const char *text, size_t num_bytes,
                          size_t begin);

#endif
