/* Errors as values. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum nano_status nano_error_set(struct nano_error *err, enum nano_status status, const char *fmt,
                                ...)
{
    if (err) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(err->message, sizeof err->message, fmt, args);
        va_end(args);
        err->status = status;
    }
    return status;
}

enum nano_status nano_error_prefix(struct nano_error *err, const char *fmt, ...)
{
    if (!err)
        return NANO_ERR_INTERNAL;
    char old[sizeof err->message], prefix[sizeof err->message];
    memcpy(old, err->message, sizeof old);
    va_list args;
    va_start(args, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, args);
    va_end(args);
    return nano_error_set(err, err->status, "%s: %s", prefix, old);
}

enum nano_status nano_error_no_memory(struct nano_error *err, const char *what, size_t num_bytes)
{
    return nano_error_set(err, NANO_ERR_NO_MEMORY, "no memory left for %s (%zu bytes)", what,
                          num_bytes);
}

const char *nano_status_name(enum nano_status status)
{
    switch (status) {
    case NANO_OK:
        return "ok";
    case NANO_ERR_INVALID_ARGUMENT:
        return "invalid argument";
    case NANO_ERR_IO:
        return "input/output error";
    case NANO_ERR_FORMAT:
        return "malformed file";
    case NANO_ERR_UNSUPPORTED:
        return "not supported";
    case NANO_ERR_NO_MEMORY:
        return "not enough memory";
    case NANO_ERR_QUEUE_FULL:
        return "queue full";
    case NANO_ERR_CANCELLED:
        return "cancelled";
    case NANO_ERR_INTERNAL:
        return "internal error";
    }
    return "unknown status";
}
