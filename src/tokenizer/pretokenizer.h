/* Pre-tokenizer: cuts a text into the words that byte-level BPE merges within.
 *
 * Bytes that are not valid UTF-8 are cut out first, each run of them as a word of its own; the
 * valid parts between them are split independently by the pattern. The words together are the text.
 */
#ifndef NANO_TOKENIZER_PRETOKENIZER_H
#define NANO_TOKENIZER_PRETOKENIZER_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/error.h"
#include "tokenizer/pre_patterns.h"

struct nano_pre_regex {
    pcre2_code *code;
    bool has_jit;
    const uint8_t *first_bytes; /* a bit for each byte that a match may begin with; NULL: any */
};

struct nano_pretokenizer { /* read-only after init: any thread may use it */
    const struct nano_pre_row *row;
    struct nano_pre_regex regexes[NANO_MAX_PRE_REGEXES];
    int num_regexes;
    bool use_scan; /* tests switch the scanner off to compare */
};

enum nano_status nano_pretokenizer_init(struct nano_pretokenizer *pre,
                                        const struct nano_pre_row *row, struct nano_error *err);
void nano_pretokenizer_deinit(struct nano_pretokenizer *pre);

/* Of the compiled expressions. */
size_t nano_pretokenizer_memory_bytes(const struct nano_pretokenizer *pre);

/* Receives one word. */
typedef enum nano_status (*nano_word_fn)(void *user_data, const char *word, size_t num_bytes,
                                         struct nano_error *err);

/* Calls `emit` for every word of the text in order. */
enum nano_status nano_pretokenizer_split(const struct nano_pretokenizer *pre, const char *text,
                                         size_t num_bytes, nano_word_fn emit, void *user_data,
                                         struct nano_error *err);

#endif
