/* Pre-tokenizer patterns: the table of what tokenizer.ggml.pre may say.
 *
 * A new pre-tokenizer is a row of names and, if no existing one fits, a row of regular expressions.
 */
#ifndef NANO_TOKENIZER_PRE_PATTERNS_H
#define NANO_TOKENIZER_PRE_PATTERNS_H

#include <stdbool.h>
#include <stddef.h>

#include "tokenizer/pre_scan.h"

#define NANO_MAX_PRE_REGEXES 6

/* The text is split by the first expression into its matches and what lies between them, each of
 * these pieces by the second one, and so on. PCRE2 syntax; a piece is a whole subject, so that
 * look-ahead ends with it. */
struct nano_pre_pattern {
    const char *regexes[NANO_MAX_PRE_REGEXES + 1]; /* NULL after the last */
    nano_scan_fn scan; /* does the same as the only regex for ASCII; or NULL */
};

struct nano_pre_row {
    const char *name;
    const struct nano_pre_pattern *pattern;
    bool ignore_merges; /* a piece that is a token is taken as it is */
    bool add_bos;       /* unless the file says otherwise */
};

/* NULL if the name is unknown. */
const struct nano_pre_row *nano_pre_find(const char *name, size_t num_bytes);

/* Row `i` in alphabetical order; NULL past the last. */
const struct nano_pre_row *nano_pre_at(size_t i);

#endif
