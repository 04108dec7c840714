/* Writing GGUF files of version 3. */
#include "format/gguf_writer.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/memory.h"
#include "base/os.h"
#include "format/gguf_part.h"
#include "format/little_endian.h"

#define GGUF_VERSION 3
#define TEMPORARY_SUFFIX ".tmp"

static void put(struct nano_gguf_writer *writer, const void *bytes, size_t num_bytes)
{
    if (num_bytes == 0 || writer->error)
        return;
    errno = 0;
    if (fwrite(bytes, 1, num_bytes, writer->file) != num_bytes)
        writer->error = errno ? errno : EIO;
    writer->position += num_bytes;
}

static void put_number(struct nano_gguf_writer *writer, uint64_t value, size_t num_bytes)
{
    unsigned char bytes[8];
    nano_le_store(bytes, value, num_bytes);
    put(writer, bytes, num_bytes);
}

static void put_string(struct nano_gguf_writer *writer, const struct nano_string *string)
{
    put_number(writer, string->num_bytes, 8);
    put(writer, string->bytes, string->num_bytes);
}

static void put_padding(struct nano_gguf_writer *writer, size_t alignment)
{
    static const unsigned char zeros[64];
    while (writer->position % alignment != 0 && !writer->error) {
        size_t missing = alignment - (size_t)(writer->position % alignment);
        put(writer, zeros, missing < sizeof zeros ? missing : sizeof zeros);
    }
}

static void put_meta(struct nano_gguf_writer *writer, const struct nano_meta *meta)
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

static void put_tensor_info(struct nano_gguf_writer *writer, const struct nano_tensor *tensor,
                            uint64_t offset)
{
    put_string(writer, &tensor->name);
    put_number(writer, (uint64_t)tensor->num_dims, 4);
    for (int d = 0; d < tensor->num_dims; d++)
        put_number(writer, (uint64_t)tensor->dims[d], 8);
    put_number(writer, nano_format_traits(tensor->format)->gguf_id, 4);
    put_number(writer, offset, 8);
}

static void put_header(struct nano_gguf_writer *writer, const struct nano_meta *metadata,
                       size_t num_metadata)
{
    const uint64_t alignment = writer->alignment;
    uint64_t offset = 0;
    size_t num_kept = 0;
    for (size_t i = 0; i < num_metadata; i++)
        num_kept += !is_split_key(&metadata[i]);
    put(writer, "GGUF", 4);
    put_number(writer, GGUF_VERSION, 4);
    put_number(writer, writer->num_tensors, 8);
    put_number(writer, num_kept, 8);
    for (size_t i = 0; i < num_metadata; i++) {
        if (!is_split_key(&metadata[i]))
            put_meta(writer, &metadata[i]);
    }
    for (size_t i = 0; i < writer->num_tensors; i++) {
        put_tensor_info(writer, &writer->tensors[i], offset);
        offset += (writer->tensors[i].num_bytes + alignment - 1) / alignment * alignment;
    }
}

static enum nano_status write_error(const struct nano_gguf_writer *writer, struct nano_error *err)
{
    return nano_error_set(err, NANO_ERR_IO, "%s: cannot write: %s", writer->path,
                          strerror(writer->error));
}

static enum nano_status init(struct nano_gguf_writer *writer, const char *path,
                             struct nano_error *err)
{
    const size_t path_bytes = strlen(path);
    const bool direct = nano_os_file_is_special(path);
    writer->path = nano_mem_strdup(path, path_bytes);
    if (!direct)
        writer->temporary = nano_mem_alloc(path_bytes + sizeof TEMPORARY_SUFFIX, 1);
    if (!writer->path || (!direct && !writer->temporary))
        return nano_error_no_memory(err, "a path", path_bytes + sizeof TEMPORARY_SUFFIX);
    if (writer->temporary) {
        memcpy(writer->temporary, path, path_bytes);
        memcpy(writer->temporary + path_bytes, TEMPORARY_SUFFIX, sizeof TEMPORARY_SUFFIX);
    }
    const char *name = writer->temporary ? writer->temporary : writer->path;
    writer->file = fopen(name, "wb");
    return writer->file
               ? NANO_OK
               : nano_error_set(err, NANO_ERR_IO, "%s: cannot create: %s", name, strerror(errno));
}

enum nano_status nano_gguf_writer_open(struct nano_gguf_writer *writer, const char *path,
                                       const struct nano_meta *metadata, size_t num_metadata,
                                       const struct nano_tensor *tensors, size_t num_tensors,
                                       struct nano_error *err)
{
    enum nano_status status;
    *writer = (struct nano_gguf_writer){.tensors = tensors, .num_tensors = num_tensors};
    NANO_TRY(nano_gguf_alignment(metadata, num_metadata, &writer->alignment, err));
    NANO_TRY(init(writer, path, err));
    put_header(writer, metadata, num_metadata);
    if (writer->error) {
        status = write_error(writer, err);
        goto fail;
    }
    return NANO_OK;
fail:
    nano_gguf_writer_discard(writer);
    return status;
}

enum nano_status nano_gguf_writer_append(struct nano_gguf_writer *writer, const void *bytes,
                                         size_t num_bytes, struct nano_error *err)
{
    while (writer->left == 0 && num_bytes > 0) {
        assert(writer->next < writer->num_tensors);
        put_padding(writer, writer->alignment);
        writer->left = writer->tensors[writer->next++].num_bytes;
    }
    assert(num_bytes <= writer->left);
    put(writer, bytes, num_bytes);
    writer->left -= num_bytes;
    return writer->error ? write_error(writer, err) : NANO_OK;
}

/* Closes the file, which stays where it is. */
static void close_file(struct nano_gguf_writer *writer)
{
    if (writer->file && fclose(writer->file) != 0 && !writer->error)
        writer->error = errno;
    writer->file = NULL;
}

static void release(struct nano_gguf_writer *writer)
{
    nano_mem_free(writer->path);
    nano_mem_free(writer->temporary);
    *writer = (struct nano_gguf_writer){0};
}

enum nano_status nano_gguf_writer_finish(struct nano_gguf_writer *writer, struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    assert(writer->left == 0);
    put_padding(writer, writer->alignment);
    close_file(writer);
    if (!writer->error && writer->temporary && rename(writer->temporary, writer->path) != 0)
        writer->error = errno;
    if (writer->error) {
        status = write_error(writer, err);
        nano_gguf_writer_discard(writer);
    }
    release(writer);
    return status;
}

void nano_gguf_writer_discard(struct nano_gguf_writer *writer)
{
    const bool created = writer->file != NULL || writer->error;
    close_file(writer);
    if (created && writer->temporary)
        remove(writer->temporary);
    release(writer);
}
