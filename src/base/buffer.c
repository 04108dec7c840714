#include "base/buffer.h"

#include <stdint.h>
#include <string.h>

#include "base/memory.h"

bool nano_buffer_append(struct nano_buffer *buffer, const char *bytes, size_t num_bytes)
{
    void *data = buffer->data;
    if (num_bytes >= SIZE_MAX - buffer->num_bytes ||
        !nano_mem_grow(&data, &buffer->capacity, buffer->num_bytes + num_bytes + 1, 1))
        return false;
    buffer->data = data;
    if (num_bytes > 0)
        memcpy(buffer->data + buffer->num_bytes, bytes, num_bytes);
    buffer->num_bytes += num_bytes;
    buffer->data[buffer->num_bytes] = '\0';
    return true;
}

void nano_buffer_deinit(struct nano_buffer *buffer)
{
    nano_mem_free(buffer->data);
    *buffer = (struct nano_buffer){0};
}
