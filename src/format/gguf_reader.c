/* Reading a GGUF file's bytes from front to back. */
#include "format/gguf_reader.h"

#include <inttypes.h>

#include "format/little_endian.h"

#define MAX_NAME_BYTES 65535 /* the specification's limit on keys */

const unsigned char *nano_gguf_take(struct nano_gguf_reader *reader, uint64_t num_bytes)
{
    if (num_bytes > nano_gguf_bytes_left(reader))
        return NULL;
    const unsigned char *bytes = reader->data + reader->position;
    reader->position += (size_t)num_bytes;
    return bytes;
}

bool nano_gguf_take_u32(struct nano_gguf_reader *reader, uint32_t *out)
{
    const unsigned char *bytes = nano_gguf_take(reader, 4);
    if (bytes)
        *out = (uint32_t)nano_le_load(bytes, 4);
    return bytes != NULL;
}

bool nano_gguf_take_u64(struct nano_gguf_reader *reader, uint64_t *out)
{
    const unsigned char *bytes = nano_gguf_take(reader, 8);
    if (bytes)
        *out = nano_le_load(bytes, 8);
    return bytes != NULL;
}

enum nano_status nano_gguf_truncated(struct nano_gguf_reader *reader, const char *what,
                                     const char *name)
{
    return nano_error_set(
        reader->err, NANO_ERR_FORMAT,
        "%s%s%.200s%s does not fit: at byte %zu, the file has %zu bytes (truncated?)", what,
        *name ? " '" : "", name, *name ? "'" : "", reader->position, reader->num_bytes);
}

enum nano_status nano_gguf_read_name(struct nano_gguf_reader *reader, const char *what,
                                     uint64_t index, struct nano_string *out)
{
    uint64_t num_bytes;
    const unsigned char *bytes;
    if (!nano_gguf_take_u64(reader, &num_bytes))
        return nano_gguf_truncated(reader, what, "");
    if (num_bytes == 0 || num_bytes > MAX_NAME_BYTES)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "%s %" PRIu64 " has a name of %" PRIu64 " bytes, expected 1 to %d",
                              what, index, num_bytes, MAX_NAME_BYTES);
    if (!(bytes = nano_gguf_take(reader, num_bytes)))
        return nano_gguf_truncated(reader, what, "");
    for (size_t i = 0; i < num_bytes; i++) {
        if (bytes[i] < 0x20 || bytes[i] == 0x7F)
            return nano_error_set(reader->err, NANO_ERR_FORMAT,
                                  "%s %" PRIu64 " has byte 0x%02X in its name", what, index,
                                  bytes[i]);
    }
    out->bytes = nano_arena_strdup(reader->arena, (const char *)bytes, (size_t)num_bytes);
    out->num_bytes = (size_t)num_bytes;
    return out->bytes ? NANO_OK : nano_error_no_memory(reader->err, what, (size_t)num_bytes);
}

enum nano_status nano_gguf_read_string(struct nano_gguf_reader *reader, const char *key,
                                       struct nano_string *out)
{
    uint64_t num_bytes;
    if (!nano_gguf_take_u64(reader, &num_bytes) ||
        !(out->bytes = (const char *)nano_gguf_take(reader, num_bytes)))
        return nano_gguf_truncated(reader, "string of key", key);
    out->num_bytes = (size_t)num_bytes;
    return NANO_OK;
}
