/* Fields of a request's JSON object: one table per kind of request says their names, types, ranges
 * and where they go. A field that is null counts as not given; what no table names is ignored. */
#ifndef NANO_SERVER_API_FIELDS_H
#define NANO_SERVER_API_FIELDS_H

#include <jansson.h>

#include "base/arena.h"
#include "base/error.h"

/* Why a request is refused: what the error object says. status 0: it is not. */
struct nano_api_problem {
    int status;       /* of HTTP */
    const char *code; /* a constant, or NULL */
    char param[96];   /* the field, or "" */
    char message[640];
};

/* Always false, so that `return nano_api_refuse(...)` reads well. `param` may be NULL; the message
 * begins with it where it is given. */
bool nano_api_refuse(struct nano_api_problem *problem, int status, const char *param,
                     const char *fmt, ...) NANO_PRINTF(4, 5);

/* The same for an error of the library. */
bool nano_api_refuse_error(struct nano_api_problem *problem, const char *param,
                           const struct nano_error *err);

struct nano_api_reader {
    struct nano_arena *arena; /* lists live in it; strings are borrowed from the JSON values */
    struct nano_api_problem *problem;
    const char *prefix; /* of the fields' names in messages, e.g. "stream_options." */
};

struct nano_api_field;

/* Stores `value`, which is not null, at `target`; false when the problem is set. */
typedef bool (*nano_api_read_fn)(const struct nano_api_reader *reader,
                                 const struct nano_api_field *field, const json_t *value,
                                 void *target);

#define NANO_API_NO_MAX ((double)INT32_MAX)

struct nano_api_field {
    const char *name;
    nano_api_read_fn read;
    size_t offset;
    double min, max;  /* of a number; of a list its number of entries */
    bool above_min;   /* the minimum itself is too small */
    const char *note; /* of a refused field: why */
};

bool nano_api_read_fields(const struct nano_api_reader *reader, const struct nano_api_field *fields,
                          size_t num_fields, const json_t *object, void *base);

/* "field: expected …, got …". */
bool nano_api_wrong(const struct nano_api_reader *reader, const struct nano_api_field *field,
                    const char *expected, const json_t *value);

struct nano_api_strings {
    const char **items; /* no NUL bytes in them, none empty */
    int num;
};
struct nano_api_ints {
    int32_t *items;
    int num;
};
struct nano_api_biases {
    struct nano_logit_bias *items;
    int num;
};

/* Readers for tables; the comment says what `target` is. */
bool nano_api_read_bool(const struct nano_api_reader *reader, const struct nano_api_field *field,
                        const json_t *value, void *target); /* bool */
bool nano_api_read_int(const struct nano_api_reader *reader, const struct nano_api_field *field,
                       const json_t *value, void *target); /* int */
bool nano_api_read_int64(const struct nano_api_reader *reader, const struct nano_api_field *field,
                         const json_t *value, void *target); /* struct nano_api_int64 */
bool nano_api_read_float(const struct nano_api_reader *reader, const struct nano_api_field *field,
                         const json_t *value, void *target); /* float */
bool nano_api_read_string(const struct nano_api_reader *reader, const struct nano_api_field *field,
                          const json_t *value, void *target); /* const char *, no NUL in it */
bool nano_api_read_strings(const struct nano_api_reader *reader, const struct nano_api_field *field,
                           const json_t *value, void *target); /* nano_api_strings; or one string */
bool nano_api_read_ints(const struct nano_api_reader *reader, const struct nano_api_field *field,
                        const json_t *value, void *target); /* nano_api_ints */
bool nano_api_read_biases(const struct nano_api_reader *reader, const struct nano_api_field *field,
                          const json_t *value, void *target); /* nano_api_biases: {"id": bias} */
bool nano_api_read_any(const struct nano_api_reader *reader, const struct nano_api_field *field,
                       const json_t *value, void *target); /* const json_t * */
bool nano_api_read_object(const struct nano_api_reader *reader, const struct nano_api_field *field,
                          const json_t *value, void *target); /* const json_t * */
bool nano_api_read_array(const struct nano_api_reader *reader, const struct nano_api_field *field,
                         const json_t *value, void *target); /* const json_t * */
bool nano_api_read_refused(const struct nano_api_reader *reader, const struct nano_api_field *field,
                           const json_t *value, void *target); /* nothing; false and "" are fine */

struct nano_api_int64 {
    int64_t value;
    bool given;
};

/* Reads a list of token ids, all whole numbers of 32 bits. The arena owns *ids. `what` begins the
 * message. */
bool nano_api_read_token_ids(const struct nano_api_reader *reader, const char *what,
                             const json_t *list, int32_t **ids, size_t *num_ids);

/* "a string", "an array", "true", "3": for messages. */
const char *nano_api_describe(const json_t *value, char out[40]);

#endif
