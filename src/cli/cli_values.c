/* Values: from an option's text to the type its table row asks for. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "cli/cli_options.h"

void nano_cli_strings_free(struct nano_cli_strings *strings)
{
    nano_mem_free(strings->items);
    *strings = (struct nano_cli_strings){0};
}

void nano_cli_ints_free(struct nano_cli_ints *ints)
{
    nano_mem_free(ints->items);
    *ints = (struct nano_cli_ints){0};
}

enum nano_status nano_cli_parse_true(const struct nano_cli_option *option, const char *value,
                                     void *target, struct nano_error *err)
{
    (void)option, (void)value, (void)err;
    *(bool *)target = true;
    return NANO_OK;
}

enum nano_status nano_cli_parse_false(const struct nano_cli_option *option, const char *value,
                                      void *target, struct nano_error *err)
{
    (void)option, (void)value, (void)err;
    *(bool *)target = false;
    return NANO_OK;
}

enum nano_status nano_cli_parse_string(const struct nano_cli_option *option, const char *value,
                                       void *target, struct nano_error *err)
{
    (void)option, (void)err;
    *(const char **)target = value;
    return NANO_OK;
}

enum nano_status nano_cli_parse_strings(const struct nano_cli_option *option, const char *value,
                                        void *target, struct nano_error *err)
{
    (void)option;
    struct nano_cli_strings *list = target;
    void *items = list->items;
    if (!nano_mem_grow(&items, &list->capacity, list->num + 1, sizeof *list->items))
        return nano_error_no_memory(err, "the list of values", 0);
    list->items = items;
    list->items[list->num++] = value;
    return NANO_OK;
}

static bool in_range(const struct nano_cli_option *option, double number)
{
    bool limited = option->min != 0 || option->max != 0;
    return !limited || (number >= option->min && number <= option->max);
}

static enum nano_status range_error(const struct nano_cli_option *option, double number,
                                    struct nano_error *err)
{
    if (option->max >= NANO_CLI_NO_MAX)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "%g is less than %g", number,
                              option->min);
    return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "%g is not from %g to %g", number,
                          option->min, option->max);
}

/* A whole number in the option's range at the beginning of `text`; *end is what follows it. */
static enum nano_status read_int(const struct nano_cli_option *option, const char *text,
                                 const char **end, int *out, struct nano_error *err)
{
    char *rest;
    errno = 0;
    long number = strtol(text, &rest, 10);
    bool in_int = errno == 0 && number >= INT32_MIN && number <= INT32_MAX;
    if (rest == text || isspace((unsigned char)*text))
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "'%s' is not a whole number", text);
    if (!in_range(option, (double)number))
        return range_error(option, (double)number, err);
    if (!in_int)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "%.*s is too large",
                              (int)(rest - text), text);
    *end = rest;
    *out = (int)number;
    return NANO_OK;
}

enum nano_status nano_cli_parse_int(const struct nano_cli_option *option, const char *value,
                                    void *target, struct nano_error *err)
{
    const char *end;
    int number;
    enum nano_status status = read_int(option, value, &end, &number, err);
    if (status != NANO_OK)
        return status;
    if (*end)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "'%s' is not a whole number", value);
    *(int *)target = number;
    return NANO_OK;
}

enum nano_status nano_cli_parse_ints(const struct nano_cli_option *option, const char *value,
                                     void *target, struct nano_error *err)
{
    struct nano_cli_ints *list = target;
    const char *rest = value;
    while (*rest) {
        int number;
        enum nano_status status = read_int(option, rest, &rest, &number, err);
        if (status != NANO_OK)
            return status;
        if (*rest && (*rest != ',' || !rest[1]))
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "'%s' is not a list like 1,2,3",
                                  value);
        rest += *rest == ',';
        void *items = list->items;
        if (!nano_mem_grow(&items, &list->capacity, list->num + 1, sizeof *list->items))
            return nano_error_no_memory(err, "the list of values", 0);
        list->items = items;
        list->items[list->num++] = number;
    }
    return NANO_OK;
}

enum nano_status nano_cli_parse_u64(const struct nano_cli_option *option, const char *value,
                                    void *target, struct nano_error *err)
{
    (void)option;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (end == value || *end || errno || !isdigit((unsigned char)*value))
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "'%s' is not a whole number of at least 0", value);
    *(uint64_t *)target = number;
    return NANO_OK;
}

enum nano_status nano_cli_parse_float(const struct nano_cli_option *option, const char *value,
                                      void *target, struct nano_error *err)
{
    char *end;
    double number = strtod(value, &end);
    if (end == value || *end || !isfinite(number))
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "'%s' is not a number", value);
    if (!in_range(option, number))
        return range_error(option, number, err);
    *(float *)target = (float)number;
    return NANO_OK;
}

enum nano_status nano_cli_parse_size(const struct nano_cli_option *option, const char *value,
                                     void *target, struct nano_error *err)
{
    (void)option;
    static const char units[] = "KMGT";
    char *end;
    double number = strtod(value, &end);
    double scale = 1;
    bool valid = end != value && isfinite(number) && number >= 0;
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit) {
        for (const char *u = units; u <= unit; u++)
            scale *= 1024;
        end++;
        if (strcasecmp(end, "iB") == 0 || strcasecmp(end, "B") == 0)
            end += strlen(end);
    }
    if (!valid || *end || number * scale > 9e18)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "'%s' is not a size like 300M, 2G or 1.5GiB", value);
    *(uint64_t *)target = (uint64_t)(number * scale);
    return NANO_OK;
}
