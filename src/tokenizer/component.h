/* Components of a tokenizer.json: reading their fields, with messages that say where they stand. */
#ifndef NANO_TOKENIZER_COMPONENT_H
#define NANO_TOKENIZER_COMPONENT_H

#include <jansson.h>

#include "base/error.h"
#include "format/weights.h"

#define NANO_MAX_COMPONENT_DEPTH 16

struct nano_component {
    const json_t *json;  /* an object */
    const char *section; /* "normalizer", … */
    const char *label;   /* of the file */
    struct nano_error *err;
};

/* "FILE: tokenizer.json: SECTION: message". */
enum nano_status nano_component_error(const struct nano_component *c, const char *fmt, ...)
    NANO_PRINTF(2, 3);

/* Fields: *out keeps its value where there is none or null; another type is an error. */
enum nano_status nano_component_bool(const struct nano_component *c, const char *key, bool *out);
enum nano_status nano_component_int(const struct nano_component *c, const char *key, int64_t *out);
enum nano_status nano_component_string(const struct nano_component *c, const char *key,
                                       struct nano_string *out);

/* The row of the component's type in names[0 … count), or an error that lists them. */
enum nano_status nano_component_type(const struct nano_component *c, const char *const *names,
                                     size_t count, size_t *out);

/* "pattern": {"String": …} or {"Regex": …}, or a plain string. */
enum nano_status nano_component_pattern(const struct nano_component *c, struct nano_string *out,
                                        bool *is_regex);

/* Calls `visit` for every component of the array `key`, nested sequences included. */
enum nano_status nano_component_each(const struct nano_component *c, const char *key, int depth,
                                     enum nano_status (*visit)(const struct nano_component *c,
                                                               int depth, void *user_data),
                                     void *user_data);

#endif
