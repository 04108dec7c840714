/* Pre-tokenizer: cuts a text into the words that the model works within.
 *
 * A list of stages, each of which cuts or rewrites what the one before it gave. Bytes that are not
 * valid UTF-8 are cut out first, each run of them as a word of its own; the valid parts between
 * them go through the stages independently. Without stages the text is one word. */
#ifndef NANO_TOKENIZER_PRETOKENIZER_H
#define NANO_TOKENIZER_PRETOKENIZER_H

#include "base/buffer.h"
#include "base/error.h"
#include "tokenizer/pre_patterns.h"
#include "tokenizer/regex.h"

#define NANO_MAX_PRE_STAGES 32

enum nano_pre_kind {
    NANO_PRE_SPLIT,      /* by the regex */
    NANO_PRE_PREFIX,     /* puts `text` before the piece unless it begins with it */
    NANO_PRE_REPLACE,    /* every space becomes `text` */
    NANO_PRE_BYTE_CHARS, /* every byte becomes its character of the byte-level alphabet */
};

enum nano_split_behavior { /* what becomes of a match */
                           NANO_SPLIT_ISOLATED,
                           NANO_SPLIT_REMOVED,
                           NANO_SPLIT_MERGED_WITH_PREVIOUS,
                           NANO_SPLIT_MERGED_WITH_NEXT,
                           NANO_SPLIT_CONTIGUOUS /* adjacent matches are one piece */
};

struct nano_pre_stage {
    enum nano_pre_kind kind;
    struct nano_regex regex;
    enum nano_split_behavior behavior;
    bool invert;     /* what lies between the matches counts as the match */
    bool only_first; /* PREFIX: only where the whole text begins */
    char text[8];    /* one character */
    size_t num_text_bytes;
};

struct nano_pretokenizer {          /* read-only after init: any thread may use it */
    const struct nano_pre_row *row; /* of tokenizer.ggml.pre; or NULL */
    struct nano_pre_stage stages[NANO_MAX_PRE_STAGES];
    int num_stages;
    nano_scan_fn scan; /* does the same as the only stage for ASCII; or NULL */
    bool use_scan;     /* tests switch the scanner off to compare */
};

enum nano_status nano_pretokenizer_init(struct nano_pretokenizer *pre,
                                        const struct nano_pre_row *row, struct nano_error *err);
void nano_pretokenizer_deinit(struct nano_pretokenizer *pre);

/* Appends a stage that splits; *pre is zeroed before the first. */
enum nano_status nano_pretokenizer_add_split(struct nano_pretokenizer *pre, const char *pattern,
                                             size_t num_bytes, enum nano_regex_syntax syntax,
                                             enum nano_split_behavior behavior, bool invert,
                                             struct nano_error *err);
/* Appends another stage; `text` is one character or "". */
enum nano_status nano_pretokenizer_add(struct nano_pretokenizer *pre, enum nano_pre_kind kind,
                                       const char *text, bool only_first, struct nano_error *err);

/* Of the compiled expressions. */
size_t nano_pretokenizer_memory_bytes(const struct nano_pretokenizer *pre);

/* Receives one word. */
typedef enum nano_status (*nano_word_fn)(void *user_data, const char *word, size_t num_bytes,
                                         struct nano_error *err);

/* Calls `emit` for every word of the text in order. `is_first`: nothing stands before this text. */
enum nano_status nano_pretokenizer_split_part(const struct nano_pretokenizer *pre, const char *text,
                                              size_t num_bytes, bool is_first, nano_word_fn emit,
                                              void *user_data, struct nano_error *err);
enum nano_status nano_pretokenizer_split(const struct nano_pretokenizer *pre, const char *text,
                                         size_t num_bytes, nano_word_fn emit, void *user_data,
                                         struct nano_error *err);

#endif
