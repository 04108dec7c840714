/* JSON in, as a list of paths and values: {"a":[{"b":1}]} is one item, "a/0/b" = 1.
 *
 * For small files of numbers: looking up is a walk over the list. Objects and arrays are no items
 * themselves. */
#ifndef NANO_CLI_JSON_FLAT_H
#define NANO_CLI_JSON_FLAT_H

#include <stdbool.h>

#include "base/error.h"

struct nano_json_item {
    char *path;
    char *text; /* a string, or a number, true, false or null as it stands there */
    bool is_number;
    double number;
};

struct nano_json_flat {
    struct nano_json_item *items;
    size_t num, capacity;
};

/* `name` is for messages. *out is to be freed in any case. */
enum nano_status nano_json_flat_parse(struct nano_json_flat *out, const char *name,
                                      const char *text, struct nano_error *err);
void nano_json_flat_free(struct nano_json_flat *flat);

/* NULL if there is none. */
const struct nano_json_item *nano_json_flat_find(const struct nano_json_flat *flat,
                                                 const char *path);

#endif
