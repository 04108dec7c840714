/* JSON out: a writer into one growing buffer, for answers that are made token by token. It does not
 * know about nesting: the caller writes brackets, keys and commas, mostly as constants. A failed
 * allocation is remembered and later writes do nothing, so that only the end has to look. */
#ifndef NANO_SERVER_JSON_OUT_H
#define NANO_SERVER_JSON_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct nano_json_out {
    char *data; /* not terminated */
    size_t num_bytes, capacity;
    bool failed; /* something is missing */
};

/* A buffer of zeros is an empty one. */
void nano_json_deinit(struct nano_json_out *out);

/* Empties it and keeps the memory. */
void nano_json_reset(struct nano_json_out *out);

void nano_json_raw(struct nano_json_out *out, const char *json, size_t num_bytes);

/* Up to 255 bytes, formatted. */
void nano_json_printf(struct nano_json_out *out, const char *fmt, ...) NANO_PRINTF(2, 3);

/* A constant. */
#define NANO_JSON_LIT(out, literal) nano_json_raw((out), "" literal, sizeof(literal) - 1)

/* What another buffer holds; its failure is taken over. */
void nano_json_append(struct nano_json_out *out, const struct nano_json_out *piece);

/* The inside of a string. Bytes that are not UTF-8 become U+FFFD. */
void nano_json_escaped(struct nano_json_out *out, const char *text, size_t num_bytes);

void nano_json_string(struct nano_json_out *out, const char *text, size_t num_bytes);
void nano_json_cstring(struct nano_json_out *out, const char *text); /* NULL: null */
void nano_json_int(struct nano_json_out *out, int64_t value);
void nano_json_ints(struct nano_json_out *out, const int32_t *values, size_t num); /* [1,2] */

/* Nine significant digits, enough for any float; it must be finite. */
void nano_json_float(struct nano_json_out *out, double value);

#endif
