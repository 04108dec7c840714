/* Reading a GGUF file's bytes from front to back: nothing is read past the end, and what does not
 * fit is an error with the place.
 *
 * Nothing may be allocated for a count of entries before bytes_left could hold that many. */
#ifndef NANO_FORMAT_GGUF_READER_H
#define NANO_FORMAT_GGUF_READER_H

#include "format/weights.h"

struct nano_gguf_reader {
    const unsigned char *data;
    size_t num_bytes, position;
    struct nano_arena *arena; /* for what is copied */
    struct nano_error *err;
};

static inline size_t nano_gguf_bytes_left(const struct nano_gguf_reader *reader)
{
    return reader->num_bytes - reader->position;
}

/* The next num_bytes bytes; NULL, and nothing read, when the file ends before that. */
const unsigned char *nano_gguf_take(struct nano_gguf_reader *reader, uint64_t num_bytes);
bool nano_gguf_take_u32(struct nano_gguf_reader *reader, uint32_t *out);
bool nano_gguf_take_u64(struct nano_gguf_reader *reader, uint64_t *out);

/* The error that `what` (of the key or tensor `name`, or "") goes past the end. */
enum nano_status nano_gguf_truncated(struct nano_gguf_reader *reader, const char *what,
                                     const char *name);

/* A key or tensor name, copied so that it ends in a zero byte. Control characters are refused, so
 * that messages stay one line. `what` and `index` say whose name it is. */
enum nano_status nano_gguf_read_name(struct nano_gguf_reader *reader, const char *what,
                                     uint64_t index, struct nano_string *out);

/* A string value; its bytes stay in the file. */
enum nano_status nano_gguf_read_string(struct nano_gguf_reader *reader, const char *key,
                                       struct nano_string *out);

#endif
