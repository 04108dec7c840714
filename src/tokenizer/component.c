/* Components of a tokenizer.json. */
#include "tokenizer/component.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum nano_status nano_component_error(const struct nano_component *c, const char *fmt, ...)
{
    char message[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    return nano_error_set(c->err, NANO_ERR_UNSUPPORTED, "%s: tokenizer.json: %s: %s", c->label,
                          c->section, message);
}

static const json_t *field(const struct nano_component *c, const char *key)
{
    const json_t *value = json_object_get(c->json, key);
    return json_is_null(value) ? NULL : value;
}

enum nano_status nano_component_bool(const struct nano_component *c, const char *key, bool *out)
{
    const json_t *value = field(c, key);
    if (!value)
        return NANO_OK;
    if (!json_is_boolean(value))
        return nano_component_error(c, "%s: expected true or false", key);
    *out = json_is_true(value);
    return NANO_OK;
}

enum nano_status nano_component_int(const struct nano_component *c, const char *key, int64_t *out)
{
    const json_t *value = field(c, key);
    if (!value)
        return NANO_OK;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return nano_component_error(c, "%s: expected a number from 0 on", key);
    *out = json_integer_value(value);
    return NANO_OK;
}

enum nano_status nano_component_string(const struct nano_component *c, const char *key,
                                       struct nano_string *out)
{
    const json_t *value = field(c, key);
    if (!value)
        return NANO_OK;
    if (!json_is_string(value))
        return nano_component_error(c, "%s: expected a string", key);
    *out = (struct nano_string){json_string_value(value), json_string_length(value)};
    return NANO_OK;
}

enum nano_status nano_component_type(const struct nano_component *c, const char *const *names,
                                     size_t count, size_t *out)
{
    const char *type = json_string_value(json_object_get(c->json, "type"));
    if (!type)
        return nano_component_error(c, "expected an object with a type");
    for (*out = 0; *out < count; ++*out)
        if (strcmp(names[*out], type) == 0)
            return NANO_OK;
    char known[300] = "";
    size_t used = 0;
    for (size_t i = 0; i < count && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, " %s", names[i]);
    return nano_component_error(c, "type '%.40s' is unknown, expected one of:%s", type, known);
}

enum nano_status nano_component_pattern(const struct nano_component *c, struct nano_string *out,
                                        bool *is_regex)
{
    const json_t *pattern = field(c, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *text = json_is_string(pattern) ? pattern : json_object_get(pattern, "String");
    *is_regex = json_is_string(regex);
    if (*is_regex)
        text = regex;
    if (!json_is_string(text))
        return nano_component_error(c, "pattern: expected a String or a Regex");
    *out = (struct nano_string){json_string_value(text), json_string_length(text)};
    return NANO_OK;
}

enum nano_status nano_component_each(const struct nano_component *c, const char *key, int depth,
                                     enum nano_status (*visit)(const struct nano_component *c,
                                                               int depth, void *user_data),
                                     void *user_data)
{
    const json_t *list = field(c, key);
    if (!json_is_array(list))
        return nano_component_error(c, "%s: expected an array", key);
    if (depth >= NANO_MAX_COMPONENT_DEPTH)
        return nano_component_error(c, "sequences are nested too deeply");
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct nano_component part = *c;
        part.json = json_array_get(list, i);
        enum nano_status status = visit(&part, depth + 1, user_data);
        if (status != NANO_OK)
            return status;
    }
    return NANO_OK;
}
