/* The access log: one line for each request that is over, as text or JSON, on standard error. */
#ifndef NANO_SERVER_ACCESS_LOG_H
#define NANO_SERVER_ACCESS_LOG_H

#include "server/http_server.h"

enum nano_log_format { NANO_LOG_TEXT, NANO_LOG_JSON };

void nano_access_log(enum nano_log_format format, const struct nano_http_exchange *exchange);

/* A message of the server itself in the same format. */
void nano_server_log(enum nano_log_format format, enum nano_log_level level, const char *fmt, ...)
    NANO_PRINTF(3, 4);

#endif
