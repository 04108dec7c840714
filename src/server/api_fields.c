/* Fields: the walk over a table, the readers, and messages for what is wrong. */
#include "server/api_fields.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool nano_api_refuse(struct nano_api_problem *problem, int status, const char *param,
                     const char *fmt, ...)
{
    size_t at = 0;
    va_list args;
    *problem = (struct nano_api_problem){.status = status};
    if (param) {
        snprintf(problem->param, sizeof problem->param, "%s", param);
        at = (size_t)snprintf(problem->message, sizeof problem->message, "%s: ", problem->param);
    }
    va_start(args, fmt);
    vsnprintf(problem->message + at, sizeof problem->message - at, fmt, args);
    va_end(args);
    return false;
}

bool nano_api_refuse_error(struct nano_api_problem *problem, const char *param,
                           const struct nano_error *err)
{
    int status = 500;
    switch (err->status) {
    case NANO_ERR_INVALID_ARGUMENT:
    case NANO_ERR_UNSUPPORTED:
        status = 400;
        break;
    case NANO_ERR_QUEUE_FULL:
        status = 429;
        break;
    case NANO_ERR_NO_MEMORY:
        status = 503;
        break;
    default:
        break;
    }
    return nano_api_refuse(problem, status, param, "%s", err->message);
}

const char *nano_api_describe(const json_t *value, char out[40])
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    case JSON_INTEGER:
        snprintf(out, 40, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return out;
    case JSON_REAL:
        snprintf(out, 40, "%.9g", json_real_value(value));
        return out;
    }
    return "something else";
}

bool nano_api_wrong(const struct nano_api_reader *reader, const struct nano_api_field *field,
                    const char *expected, const json_t *value)
{
    char name[96], got[40];
    snprintf(name, sizeof name, "%s%s", reader->prefix ? reader->prefix : "", field->name);
    return nano_api_refuse(reader->problem, 400, name, "expected %s, got %s", expected,
                           nano_api_describe(value, got));
}

bool nano_api_read_fields(const struct nano_api_reader *reader, const struct nano_api_field *fields,
                          size_t num_fields, const json_t *object, void *base)
{
    for (size_t i = 0; i < num_fields; i++) {
        const json_t *value = json_object_get(object, fields[i].name);
        if (!value || json_is_null(value))
            continue;
        if (!fields[i].read(reader, &fields[i], value, (char *)base + fields[i].offset))
            return false;
    }
    return true;
}

static bool no_memory(const struct nano_api_reader *reader)
{
    return nano_api_refuse(reader->problem, 503, NULL, "there is no memory for the request");
}

bool nano_api_read_bool(const struct nano_api_reader *reader, const struct nano_api_field *field,
                        const json_t *value, void *target)
{
    if (!json_is_boolean(value))
        return nano_api_wrong(reader, field, "true or false", value);
    *(bool *)target = json_is_true(value);
    return true;
}

/* "a whole number between 0 and 4" and the like. */
static bool wrong_number(const struct nano_api_reader *reader, const struct nano_api_field *field,
                         const char *kind, const json_t *value)
{
    char expected[96];
    bool unlimited = field->max >= NANO_API_NO_MAX;
    if (unlimited)
        snprintf(expected, sizeof expected, "%s %s %.9g", kind,
                 field->above_min ? "above" : "of at least", field->min);
    else if (field->above_min)
        snprintf(expected, sizeof expected, "%s above %.9g and at most %.9g", kind, field->min,
                 field->max);
    else
        snprintf(expected, sizeof expected, "%s between %.9g and %.9g", kind, field->min,
                 field->max);
    return nano_api_wrong(reader, field, expected, value);
}

static bool in_range(const struct nano_api_field *field, double number)
{
    return number >= field->min && number <= field->max &&
           !(field->above_min && number <= field->min);
}

/* A whole number, also one that is written like 3.0. */
static bool whole_number(const json_t *value, double *out)
{
    if (!json_is_number(value))
        return false;
    *out = json_number_value(value);
    return *out == floor(*out);
}

bool nano_api_read_int(const struct nano_api_reader *reader, const struct nano_api_field *field,
                       const json_t *value, void *target)
{
    double number;
    if (!whole_number(value, &number) || !in_range(field, number))
        return wrong_number(reader, field, "a whole number", value);
    *(int *)target = (int)number;
    return true;
}

bool nano_api_read_int64(const struct nano_api_reader *reader, const struct nano_api_field *field,
                         const json_t *value, void *target)
{
    if (!json_is_integer(value))
        return nano_api_wrong(reader, field, "a whole number of 64 bits", value);
    *(struct nano_api_int64 *)target =
        (struct nano_api_int64){.value = json_integer_value(value), .given = true};
    return true;
}

bool nano_api_read_float(const struct nano_api_reader *reader, const struct nano_api_field *field,
                         const json_t *value, void *target)
{
    double number = json_number_value(value);
    if (!json_is_number(value) || !in_range(field, number))
        return wrong_number(reader, field, "a number", value);
    float rounded = (float)number; /* a tiny number must not become the excluded minimum */
    if (field->above_min && (double)rounded <= field->min)
        return wrong_number(reader, field, "a number", value);
    *(float *)target = rounded;
    return true;
}

static bool is_c_string(const json_t *value)
{
    return json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value);
}

bool nano_api_read_string(const struct nano_api_reader *reader, const struct nano_api_field *field,
                          const json_t *value, void *target)
{
    if (!is_c_string(value))
        return nano_api_wrong(reader, field,
                              json_is_string(value) ? "a string without NUL" : "a string", value);
    *(const char **)target = json_string_value(value);
    return true;
}

bool nano_api_read_strings(const struct nano_api_reader *reader, const struct nano_api_field *field,
                           const json_t *value, void *target)
{
    struct nano_api_strings *list = target;
    char expected[96];
    snprintf(expected, sizeof expected, "a string or a list of at most %d, not empty, without NUL",
             (int)field->max);
    size_t num = json_is_array(value) ? json_array_size(value) : 1;
    if ((!json_is_array(value) && !json_is_string(value)) || num > (size_t)field->max)
        return nano_api_wrong(reader, field, expected, value);
    list->items = nano_arena_alloc(reader->arena, num + 1, sizeof *list->items);
    if (!list->items)
        return no_memory(reader);
    for (size_t i = 0; i < num; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        if (!is_c_string(item) || json_string_length(item) == 0)
            return nano_api_wrong(reader, field, expected, item);
        list->items[i] = json_string_value(item);
    }
    list->num = (int)num;
    return true;
}

bool nano_api_read_token_ids(const struct nano_api_reader *reader, const char *what,
                             const json_t *list, int32_t **ids, size_t *num_ids)
{
    size_t num = json_array_size(list);
    int32_t *items = nano_arena_alloc(reader->arena, num + 1, sizeof *items);
    if (!items)
        return no_memory(reader);
    for (size_t i = 0; i < num; i++) {
        const json_t *item = json_array_get(list, i);
        json_int_t id = json_integer_value(item);
        char got[40];
        if (!json_is_integer(item) || id < 0 || id > INT32_MAX)
            return nano_api_refuse(reader->problem, 400, what,
                                   "expected token ids, got %s at index %zu",
                                   nano_api_describe(item, got), i);
        items[i] = (int32_t)id;
    }
    *ids = items;
    *num_ids = num;
    return true;
}

bool nano_api_read_ints(const struct nano_api_reader *reader, const struct nano_api_field *field,
                        const json_t *value, void *target)
{
    struct nano_api_ints *list = target;
    char expected[64];
    size_t num;
    snprintf(expected, sizeof expected, "a list of at most %d token ids", (int)field->max);
    if (!json_is_array(value) || json_array_size(value) > (size_t)field->max)
        return nano_api_wrong(reader, field, expected, value);
    if (!nano_api_read_token_ids(reader, field->name, value, &list->items, &num))
        return false;
    list->num = (int)num;
    return true;
}

bool nano_api_read_biases(const struct nano_api_reader *reader, const struct nano_api_field *field,
                          const json_t *value, void *target)
{
    struct nano_api_biases *list = target;
    char expected[80];
    const char *key;
    json_t *bias;
    snprintf(expected, sizeof expected, "an object of at most %d numbers by token id",
             (int)field->max);
    if (!json_is_object(value) || json_object_size(value) > (size_t)field->max)
        return nano_api_wrong(reader, field, expected, value);
    list->items = nano_arena_alloc(reader->arena, json_object_size(value) + 1, sizeof *list->items);
    if (!list->items)
        return no_memory(reader);
    json_object_foreach((json_t *)value, key, bias)
    {
        char *end;
        errno = 0;
        long id = strtol(key, &end, 10);
        if (*key < '0' || *key > '9' || *end || errno || id > INT32_MAX)
            return nano_api_refuse(reader->problem, 400, field->name,
                                   "expected token ids as keys, got \"%.32s\"", key);
        if (!json_is_number(bias) || fabs(json_number_value(bias)) > 100)
            return nano_api_wrong(reader, field, "numbers between -100 and 100", bias);
        list->items[list->num++] = (struct nano_logit_bias){.token_id = (int32_t)id,
                                                            .bias = (float)json_number_value(bias)};
    }
    return true;
}

bool nano_api_read_any(const struct nano_api_reader *reader, const struct nano_api_field *field,
                       const json_t *value, void *target)
{
    (void)reader, (void)field;
    *(const json_t **)target = value;
    return true;
}

bool nano_api_read_object(const struct nano_api_reader *reader, const struct nano_api_field *field,
                          const json_t *value, void *target)
{
    if (!json_is_object(value))
        return nano_api_wrong(reader, field, "an object", value);
    *(const json_t **)target = value;
    return true;
}

bool nano_api_read_array(const struct nano_api_reader *reader, const struct nano_api_field *field,
                         const json_t *value, void *target)
{
    if (!json_is_array(value))
        return nano_api_wrong(reader, field, "an array", value);
    *(const json_t **)target = value;
    return true;
}

bool nano_api_read_refused(const struct nano_api_reader *reader, const struct nano_api_field *field,
                           const json_t *value, void *target)
{
    (void)target;
    if (json_is_false(value) || (json_is_string(value) && json_string_length(value) == 0))
        return true;
    return nano_api_refuse(reader->problem, 400, field->name, "%s", field->note);
}
