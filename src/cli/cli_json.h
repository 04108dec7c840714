/* JSON out: a streaming writer, so that rows of a whole vocabulary cost no tree in memory.
 *
 * Calls nest as the document does; commas are the writer's business. `key` is NULL inside an array
 * and at the top. A document is one line and ends with a newline when its top value is closed. */
#ifndef NANO_CLI_JSON_H
#define NANO_CLI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct nano_cli_json {
    FILE *file;
    int depth;
    bool comma; /* the next value of this container needs one before it */
};

void nano_cli_json_init(struct nano_cli_json *json, FILE *file);

void nano_cli_json_open(struct nano_cli_json *json, const char *key, char bracket); /* '{' or '[' */
void nano_cli_json_close(struct nano_cli_json *json, char bracket);                 /* '}' or ']' */

/* Bytes that are not UTF-8 become U+FFFD. */
void nano_cli_json_string(struct nano_cli_json *json, const char *key, const char *text,
                          size_t num_bytes);
void nano_cli_json_cstring(struct nano_cli_json *json, const char *key,
                           const char *text); /* NULL: null */
void nano_cli_json_int(struct nano_cli_json *json, const char *key, int64_t value);
void nano_cli_json_bool(struct nano_cli_json *json, const char *key, bool value);
void nano_cli_json_null(struct nano_cli_json *json, const char *key);

/* Nine significant digits, enough for any float; what is no number becomes null. */
void nano_cli_json_float(struct nano_cli_json *json, const char *key, double value);

/* A value that is JSON already. */
void nano_cli_json_raw(struct nano_cli_json *json, const char *key, const char *text,
                       size_t num_bytes);

void nano_cli_json_ints(struct nano_cli_json *json, const char *key, const int32_t *values,
                        size_t num);

#endif
