/* Regular expressions: PCRE2 compiled once, matched by any thread, with bounded work.
 *
 * Expressions of tokenizer files are in Oniguruma's syntax (Ruby's) and are rewritten first. */
#ifndef NANO_TOKENIZER_REGEX_H
#define NANO_TOKENIZER_REGEX_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/buffer.h"
#include "base/error.h"

struct nano_regex {
    pcre2_code *code;
    bool has_jit, matches_empty;
    const uint8_t *first_bytes; /* a bit for each byte that a match may begin with; NULL: any */
};

enum nano_regex_syntax {
    NANO_REGEX_PCRE2,
    NANO_REGEX_ONIGURUMA,
    NANO_REGEX_LITERAL /* no syntax at all */
};

/* `what` begins the message of an expression that is none. On failure nothing needs releasing. */
enum nano_status nano_regex_init(struct nano_regex *regex, const char *pattern, size_t num_bytes,
                                 enum nano_regex_syntax syntax, const char *what,
                                 struct nano_error *err);
void nano_regex_deinit(struct nano_regex *regex);
size_t nano_regex_memory_bytes(const struct nano_regex *regex);

/* What matching needs besides the expression; zeroed before its first use, for one thread. */
struct nano_regex_scratch {
    pcre2_match_data *match;
    pcre2_match_context *context;
};

void nano_regex_scratch_deinit(struct nano_regex_scratch *scratch);

/* The leftmost match in text[pos …); *begin == *end == num_bytes + 1 if there is none. The text is
 * valid UTF-8. An expression that needs too many steps is an error. */
enum nano_status nano_regex_find(const struct nano_regex *regex, struct nano_regex_scratch *scratch,
                                 const char *text, size_t num_bytes, size_t pos, size_t *begin,
                                 size_t *end, struct nano_error *err);

/* Iterates over all matches as Oniguruma's bindings do: an empty match right behind a match does
 * not count. Begin with {0}. */
struct nano_regex_cursor {
    size_t pos, last_end;
    bool has_last;
};

enum nano_status nano_regex_next(const struct nano_regex *regex, struct nano_regex_scratch *scratch,
                                 struct nano_regex_cursor *cursor, const char *text,
                                 size_t num_bytes, size_t *begin, size_t *end,
                                 struct nano_error *err);

/* Appends the PCRE2 expression that means what the Oniguruma one does. */
enum nano_status nano_regex_translate(struct nano_buffer *out, const char *pattern,
                                      size_t num_bytes, const char *what, struct nano_error *err);

#endif
