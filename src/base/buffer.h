/* Buffer: bytes that grow at their end. One of zeros is empty. */
#ifndef NANO_BASE_BUFFER_H
#define NANO_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

struct nano_buffer {
    char *data; /* a zero byte stands behind the bytes; NULL before anything was appended */
    size_t num_bytes, capacity;
};

/* `bytes` may be NULL if there are none. False without memory: nothing has changed then. */
bool nano_buffer_append(struct nano_buffer *buffer, const char *bytes, size_t num_bytes);

void nano_buffer_deinit(struct nano_buffer *buffer);

#endif
