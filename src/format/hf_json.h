/* Fields of a model folder's JSON files, read with defaults.
 *
 * The first failure is kept and later reads do nothing, so code that reads a configuration is a
 * plain list. Messages are "PATH: FIELD is …, expected …". A null counts as absent. */
#ifndef NANO_FORMAT_HF_JSON_H
#define NANO_FORMAT_HF_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct nano_hf_json {
    const char *path;
    const json_t *object;
    const json_t *outer; /* where fields are looked for that object lacks; or NULL */
    enum nano_status status;
    struct nano_error *err;
};

/* FOLDER/NAME; false if it does not fit. */
bool nano_hf_path(char *out, size_t out_bytes, const char *folder, const char *name);

/* A whole file that is one JSON object. */
enum nano_status nano_hf_json_load(json_t **out, const char *path, struct nano_error *err);

/* NULL if absent. */
const json_t *nano_hf_find(const struct nano_hf_json *json, const char *field);

/* Outside min … max, or of another type, is an error. */
int64_t nano_hf_int(struct nano_hf_json *json, const char *field, int64_t min, int64_t max,
                    int64_t fallback);
double nano_hf_float(struct nano_hf_json *json, const char *field, double min, double max,
                     double fallback);
bool nano_hf_bool(struct nano_hf_json *json, const char *field, bool fallback);
/* Borrowed from the object. */
const char *nano_hf_string(struct nano_hf_json *json, const char *field, const char *fallback);

void nano_hf_fail(struct nano_hf_json *json, enum nano_status status, const char *fmt, ...)
    NANO_PRINTF(3, 4);

#endif
