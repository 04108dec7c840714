/* GGUF files: writes weights as one file of version 3 (declared in gguf.h). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "format/gguf.h"
#include "format/gguf_part.h"
#include "format/little_endian.h"

#define GGUF_VERSION 3
#define TEMPORARY_SUFFIX ".tmp"

/* Remembers the first failure, so that the code that writes a file reads straight down. */
struct writer {
    FILE *file;
    uint64_t position;
    int error; /* errno, 0 as long as all is well */
};

static void put(struct writer *writer, const void *bytes, size_t num_bytes)
{
    if (num_bytes == 0 || writer->error)
        return;
    errno = 0;
    if (fwrite(bytes, 1, num_bytes, writer->file) != num_bytes)
        writer->error = errno ? errno : EIO;
    writer->position += num_bytes;
}

static void put_number(struct writer *writer, uint64_t value, size_t num_bytes)
{
    unsigned char bytes[8];
    nano_le_store(bytes, value, num_bytes);
    put(writer, bytes, num_bytes);
}

static void put_string(struct writer *writer, const struct nano_string *string)
{
    put_number(writer, string->num_bytes, 8);
    put(writer, string->bytes, string->num_bytes);
}

static void put_padding(struct writer *writer, size_t alignment)
{
    static const unsigned char zeros[64];
    while (writer->position % alignment != 0 && !writer->error) {
        size_t missing = alignment - (size_t)(writer->position % alignment);
        put(writer, zeros, missing < sizeof zeros ? missing : sizeof zeros);
    }
}

static void put_meta(struct writer *writer, const struct nano_meta *meta)
{
    size_t num_bytes = nano_meta_type_bytes(meta->type);
    put_string(writer, &meta->key);
    put_number(writer, meta->type, 4);
    switch (meta->type) {
    case NANO_META_STRING:
        put_string(writer, &meta->value.string);
        break;
    case NANO_META_ARRAY:
        put_number(writer, meta->element_type, 4);
        put_number(writer, meta->num_elements, 8);
        if (meta->element_type == NANO_META_STRING) {
            for (size_t i = 0; i < meta->num_elements; i++)
                put_string(writer, &meta->strings[i]);
        } else {
            put(writer, meta->elements,
                meta->num_elements * nano_meta_type_bytes(meta->element_type));
        }
        break;
    case NANO_META_F32:
        put_number(writer, nano_le_bits_f32((float)meta->value.f), num_bytes);
        break;
    case NANO_META_F64:
        put_number(writer, nano_le_bits_f64(meta->value.f), num_bytes);
        break;
    case NANO_META_I8:
    case NANO_META_I16:
    case NANO_META_I32:
    case NANO_META_I64:
        put_number(writer, (uint64_t)meta->value.i, num_bytes);
        break;
    default:
        put_number(writer, meta->value.u, num_bytes);
    }
}

/* What describes a file as one of several is not true of the file that is written. */
static bool is_split_key(const struct nano_meta *meta)
{
    return strncmp(meta->key.bytes, "split.", 6) == 0;
}

static void put_tensor(struct writer *writer, const struct nano_tensor *tensor, void *row)
{
    const size_t row_bytes = nano_format_row_bytes(tensor->format, tensor->dims[0]);
    if (tensor->data) {
        put(writer, tensor->data, tensor->num_bytes);
        return;
    }
    for (int64_t r = 0; (size_t)r * row_bytes < tensor->num_bytes && !writer->error; r++) {
        nano_tensor_read_rows(tensor, r, r + 1, row);
        put(writer, row, row_bytes);
    }
}

/* Of the longest row that is made when it is read. */
static size_t made_row_bytes(const struct nano_weights *weights)
{
    size_t most = 0;
    for (size_t i = 0; i < weights->num_tensors; i++) {
        const struct nano_tensor *tensor = &weights->tensors[i];
        const size_t row_bytes = nano_format_row_bytes(tensor->format, tensor->dims[0]);
        if (!tensor->data && row_bytes > most)
            most = row_bytes;
    }
    return most;
}

/* `row` is of made_row_bytes. */
static void put_all(struct writer *writer, const struct nano_weights *weights, size_t alignment,
                    void *row)
{
    size_t num_metadata = 0;
    for (size_t i = 0; i < weights->num_metadata; i++)
        num_metadata += !is_split_key(&weights->metadata[i]);
    put(writer, "GGUF", 4);
    put_number(writer, GGUF_VERSION, 4);
    put_number(writer, weights->num_tensors, 8);
    put_number(writer, num_metadata, 8);
    for (size_t i = 0; i < weights->num_metadata; i++) {
        if (!is_split_key(&weights->metadata[i]))
            put_meta(writer, &weights->metadata[i]);
    }

    uint64_t offset = 0;
    for (size_t i = 0; i < weights->num_tensors; i++) {
        const struct nano_tensor *tensor = &weights->tensors[i];
        put_string(writer, &tensor->name);
        put_number(writer, (uint64_t)tensor->num_dims, 4);
        for (int d = 0; d < tensor->num_dims; d++)
            put_number(writer, (uint64_t)tensor->dims[d], 8);
        put_number(writer, nano_format_traits(tensor->format)->gguf_id, 4);
        put_number(writer, offset, 8);
        offset += (tensor->num_bytes + alignment - 1) / alignment * alignment;
    }
    for (size_t i = 0; i < weights->num_tensors; i++) {
        put_padding(writer, alignment);
        put_tensor(writer, &weights->tensors[i], row);
    }
    put_padding(writer, alignment);
}

enum nano_status nano_gguf_save(const struct nano_weights *weights, const char *path,
                                struct nano_error *err)
{
    enum nano_status status;
    struct writer writer = {0};
    size_t alignment, row_bytes, path_bytes = strlen(path);
    const size_t name_bytes = path_bytes + sizeof TEMPORARY_SUFFIX;
    char *temporary = NULL;
    NANO_TRY(nano_gguf_alignment(weights->metadata, weights->num_metadata, &alignment, err));
    row_bytes = made_row_bytes(weights);
    temporary = nano_mem_alloc(1, name_bytes + row_bytes);
    if (!temporary) {
        status = nano_error_no_memory(err, "a path and a row", name_bytes + row_bytes);
        goto fail;
    }
    memcpy(temporary, path, path_bytes);
    memcpy(temporary + path_bytes, TEMPORARY_SUFFIX, sizeof TEMPORARY_SUFFIX);

    writer.file = fopen(temporary, "wb");
    if (!writer.file) {
        status =
            nano_error_set(err, NANO_ERR_IO, "%s: cannot create: %s", temporary, strerror(errno));
        goto fail;
    }
    put_all(&writer, weights, alignment, temporary + name_bytes);
    if (fclose(writer.file) != 0 && !writer.error)
        writer.error = errno;
    if (!writer.error && rename(temporary, path) != 0)
        writer.error = errno;
    if (writer.error) {
        remove(temporary);
        status =
            nano_error_set(err, NANO_ERR_IO, "%s: cannot write: %s", path, strerror(writer.error));
    }
fail:
    nano_mem_free(temporary);
    return status;
}
