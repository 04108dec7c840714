/* Normalizer: what is done to a text before it is cut into words.
 *
 * Steps run one after the other over the whole text; bytes that are not valid UTF-8 pass. */
#ifndef NANO_TOKENIZER_NORMALIZER_H
#define NANO_TOKENIZER_NORMALIZER_H

#include "base/buffer.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/regex.h"

#define NANO_MAX_NORMALIZER_STEPS 64

enum nano_normalizer_kind {
    NANO_NORMALIZE_NFC,
    NANO_NORMALIZE_NFD,
    NANO_NORMALIZE_NFKC,
    NANO_NORMALIZE_NFKD,
    NANO_NORMALIZE_LOWERCASE,
    NANO_NORMALIZE_STRIP_ACCENTS, /* drops nonspacing marks */
    NANO_NORMALIZE_CLEAN,         /* BERT: no controls, every white space is a space */
    NANO_NORMALIZE_SPACE_IDEOGRAPHS,
    NANO_NORMALIZE_NMT,
    NANO_NORMALIZE_BYTE_CHARS,
    NANO_NORMALIZE_PREPEND, /* `text`, unless there is nothing to put it before */
    NANO_NORMALIZE_STRIP,   /* white space at the ends */
    NANO_NORMALIZE_REPLACE, /* matches of the regex, or of `pattern` where it has none */
    NANO_NORMALIZE_CHARSMAP,
    NANO_NORMALIZE_SENTENCEPIECE /* SentencePiece's own: the map, then its spaces */
};

struct nano_normalizer_step {
    enum nano_normalizer_kind kind;
    struct nano_buffer text, pattern;
    struct nano_regex regex;
    bool left, right;                     /* STRIP */
    bool add_prefix, remove_extra_spaces; /* SENTENCEPIECE */
};

struct nano_normalizer { /* read-only after init */
    struct nano_normalizer_step steps[NANO_MAX_NORMALIZER_STEPS];
    int num_steps;
    struct nano_charsmap charsmap; /* at most one */
};

/* A new step for the caller to fill; *normalizer is zeroed before the first. */
enum nano_status nano_normalizer_add(struct nano_normalizer *normalizer,
                                     enum nano_normalizer_kind kind,
                                     struct nano_normalizer_step **out, struct nano_error *err);
void nano_normalizer_deinit(struct nano_normalizer *normalizer);

/* Working memory of one thread; zeroed before its first use. */
struct nano_normalizer_scratch {
    struct nano_buffer buffers[2];
    struct nano_regex_scratch regex;
    int32_t *codepoints;
    size_t codepoints_capacity;
};

void nano_normalizer_scratch_deinit(struct nano_normalizer_scratch *scratch);

/* *out lies in the scratch, or is `text` where there are no steps. */
enum nano_status nano_normalizer_run(const struct nano_normalizer *normalizer,
                                     struct nano_normalizer_scratch *scratch, const char *text,
                                     size_t num_bytes, const char **out, size_t *out_bytes,
                                     struct nano_error *err);

#endif
