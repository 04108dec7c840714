/* Log. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static nano_log_fn log_fn;
static void *log_user_data;

void nano_log_to(nano_log_fn fn, void *user_data)
{
    log_fn = fn;
    log_user_data = user_data;
}

void nano_log(enum nano_log_level level, const char *fmt, ...)
{
    if (!log_fn)
        return;
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    log_fn(level, line, log_user_data);
}
