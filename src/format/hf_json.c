/* Fields of JSON objects. */
#include "format/hf_json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/os.h"

bool nano_hf_path(char *out, size_t out_bytes, const char *folder, const char *name)
{
    const size_t length = strlen(folder);
    const char *slash = length && folder[length - 1] == '/' ? "" : "/";
    const int written = snprintf(out, out_bytes, "%s%s%s", folder, slash, name);
    return written > 0 && (size_t)written < out_bytes;
}

enum nano_status nano_hf_json_load(json_t **out, const char *path, struct nano_error *err)
{
    struct nano_os_file file;
    json_error_t error;
    *out = NULL;
    enum nano_status status = nano_os_file_open(&file, path, err);
    if (status != NANO_OK)
        return status;
    json_t *value = json_loadb(file.data ? file.data : "", file.num_bytes, 0, &error);
    nano_os_file_close(&file);
    if (!value)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: line %d: %s", path, error.line,
                              error.text);
    if (!json_is_object(value)) {
        json_decref(value);
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: is no JSON object", path);
    }
    *out = value;
    return NANO_OK;
}

void nano_hf_fail(struct nano_hf_json *json, enum nano_status status, const char *fmt, ...)
{
    struct nano_error message;
    va_list args;
    if (json->status != NANO_OK)
        return;
    va_start(args, fmt);
    vsnprintf(message.message, sizeof message.message, fmt, args);
    va_end(args);
    json->status = nano_error_set(json->err, status, "%s: %s", json->path, message.message);
}

const json_t *nano_hf_find(const struct nano_hf_json *json, const char *field)
{
    const json_t *value = json_object_get(json->object, field);
    if (!value || json_is_null(value))
        value = json_object_get(json->outer, field);
    return json_is_null(value) ? NULL : value;
}

int64_t nano_hf_int(struct nano_hf_json *json, const char *field, int64_t min, int64_t max,
                    int64_t fallback)
{
    const json_t *value = nano_hf_find(json, field);
    if (!value || json->status != NANO_OK)
        return fallback;
    if (!json_is_integer(value))
        nano_hf_fail(json, NANO_ERR_FORMAT, "%s is no integer", field);
    else if (json_integer_value(value) < min || json_integer_value(value) > max)
        nano_hf_fail(json, NANO_ERR_FORMAT, "%s is %lld, expected %lld to %lld", field,
                     (long long)json_integer_value(value), (long long)min, (long long)max);
    return json->status == NANO_OK ? json_integer_value(value) : fallback;
}

double nano_hf_float(struct nano_hf_json *json, const char *field, double min, double max,
                     double fallback)
{
    const json_t *value = nano_hf_find(json, field);
    if (!value || json->status != NANO_OK)
        return fallback;
    const double number = json_number_value(value);
    if (!json_is_number(value))
        nano_hf_fail(json, NANO_ERR_FORMAT, "%s is no number", field);
    else if (!(number >= min && number <= max))
        nano_hf_fail(json, NANO_ERR_FORMAT, "%s is %g, expected %g to %g", field, number, min, max);
    return json->status == NANO_OK ? number : fallback;
}

bool nano_hf_bool(struct nano_hf_json *json, const char *field, bool fallback)
{
    const json_t *value = nano_hf_find(json, field);
    if (!value || json->status != NANO_OK)
        return fallback;
    if (!json_is_boolean(value))
        nano_hf_fail(json, NANO_ERR_FORMAT, "%s is neither true nor false", field);
    return json->status == NANO_OK ? json_is_true(value) : fallback;
}

const char *nano_hf_string(struct nano_hf_json *json, const char *field, const char *fallback)
{
    const json_t *value = nano_hf_find(json, field);
    if (!value || json->status != NANO_OK)
        return fallback;
    if (!json_is_string(value))
        nano_hf_fail(json, NANO_ERR_FORMAT, "%s is no string", field);
    return json->status == NANO_OK ? json_string_value(value) : fallback;
}
