/* Options: one table per group of options drives parsing and --help.
 *
 * A group's table says where in the group's struct each value goes, so several commands share a
 * group ("engine", "sampling") and differ in the others. Values are checked against the table's
 * range while parsing; what only a model can know is checked by the library. */
#ifndef NANO_CLI_OPTIONS_H
#define NANO_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct nano_cli_option;

/* As a table's max: no upper limit but the type's. */
#define NANO_CLI_NO_MAX ((double)INT32_MAX)

/* Stores `value` (NULL for options without one) at `target`. An error's message says only what is
 * wrong with the value, e.g. "expected a number". */
typedef enum nano_status (*nano_cli_parse_fn)(const struct nano_cli_option *option,
                                              const char *value, void *target,
                                              struct nano_error *err);

struct nano_cli_option {
    const char *names;   /* all spellings, separated by spaces, the one for --help first */
    const char *metavar; /* NULL: takes no value */
    nano_cli_parse_fn parse;
    size_t offset;    /* of the value in the group's struct */
    double min, max;  /* numbers; both 0: no limit */
    const char *help; /* "{}" in it is the value it has without being given (int, float, string) */
};

struct nano_cli_group {
    const char *title;
    const struct nano_cli_option *options;
    size_t num_options;
    void *base;
};

#define NANO_CLI_GROUP(title, table, base)                        \
    {                                                             \
        (title), (table), sizeof(table) / sizeof *(table), (base) \
    }

struct nano_cli_strings { /* borrowed from argv */
    const char **items;
    size_t num, capacity;
};

struct nano_cli_ints {
    int32_t *items;
    size_t num, capacity;
};

/* One command as its own --help shows it. */
struct nano_cli_command {
    const char *name;
    const char *usage;   /* what follows the name */
    const char *summary; /* one line, for `nanovllm --help` */
    const char *details; /* a paragraph, or NULL */
    int (*run)(const struct nano_cli_command *command, int argc, char **argv);
};

/* Parses argv[0 … argc). Arguments that are no options go to `positional`; NULL: there are none.
 * Returns -1 to go on, else the program's exit status: 0 after --help, 2 after a message. */
int nano_cli_parse(const struct nano_cli_command *command, const struct nano_cli_group *groups,
                   size_t num_groups, struct nano_cli_strings *positional, int argc, char **argv);

/* Whether `name` is one of the option's spellings. */
bool nano_cli_option_is(const struct nano_cli_option *option, const char *name);

/* "nanovllm: <what>: <why>" and a hint at --help; returns 2. */
int nano_cli_usage_error(const struct nano_cli_command *command, const char *fmt, ...)
    NANO_PRINTF(2, 3);

/* The candidate that `word` was probably meant to be, or NULL. */
const char *nano_cli_nearest(const char *word, const char *const *candidates,
                             size_t num_candidates);

void nano_cli_strings_free(struct nano_cli_strings *strings);
void nano_cli_ints_free(struct nano_cli_ints *ints);

/* Parsers for tables; the comment says what `target` is. */
enum nano_status nano_cli_parse_true(const struct nano_cli_option *option, const char *value,
                                     void *target, struct nano_error *err); /* bool */
enum nano_status nano_cli_parse_false(const struct nano_cli_option *option, const char *value,
                                      void *target, struct nano_error *err); /* bool */
enum nano_status nano_cli_parse_int(const struct nano_cli_option *option, const char *value,
                                    void *target, struct nano_error *err); /* int */
enum nano_status nano_cli_parse_u64(const struct nano_cli_option *option, const char *value,
                                    void *target, struct nano_error *err); /* uint64_t */
enum nano_status nano_cli_parse_float(const struct nano_cli_option *option, const char *value,
                                      void *target, struct nano_error *err); /* float */
enum nano_status nano_cli_parse_size(const struct nano_cli_option *option, const char *value,
                                     void *target,
                                     struct nano_error *err); /* uint64_t bytes: "300M", "1.5GiB" */
enum nano_status nano_cli_parse_string(const struct nano_cli_option *option, const char *value,
                                       void *target, struct nano_error *err); /* const char * */
enum nano_status nano_cli_parse_strings(const struct nano_cli_option *option, const char *value,
                                        void *target,
                                        struct nano_error *err); /* nano_cli_strings, appends */
enum nano_status nano_cli_parse_ints(const struct nano_cli_option *option, const char *value,
                                     void *target,
                                     struct nano_error *err); /* nano_cli_ints "1,2,3", appends */

#endif
