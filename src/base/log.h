/* Log: messages for the operator, sent to the callback of nano_set_log and nowhere else. */
#ifndef NANO_BASE_LOG_H
#define NANO_BASE_LOG_H

#include "base/error.h"

/* Formats one line and hands it to the callback, if any. Thread-safe as far as the callback is. */
void nano_log(enum nano_log_level level, const char *fmt, ...) NANO_PRINTF(2, 3);

/* Where this copy of the code sends them: a program that links with the library and with src/base has
 * two. Not synchronised with other threads. */
void nano_log_to(nano_log_fn fn, void *user_data);

#endif
