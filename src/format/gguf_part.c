/* One GGUF file: header and metadata, every number of it checked before it is used. */
#include "format/gguf_part.h"

#include <inttypes.h>
#include <string.h>

#include "format/gguf_reader.h"
#include "format/gguf_tensors.h"
#include "format/little_endian.h"

/* The fewest bytes that an entry can take: key, type and value. */
#define MIN_META_BYTES (8 + 1 + 4 + 1)

static enum nano_status check_bools(struct nano_gguf_reader *reader, const char *key,
                                    const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] > 1)
            return nano_error_set(reader->err, NANO_ERR_FORMAT,
                                  "key '%.200s' has bool %u, expected 0 or 1", key, bytes[i]);
    }
    return NANO_OK;
}

static enum nano_status read_array(struct nano_gguf_reader *reader, struct nano_meta *meta)
{
    const char *key = meta->key.bytes;
    uint32_t type;
    uint64_t count;
    if (!nano_gguf_take_u32(reader, &type) || !nano_gguf_take_u64(reader, &count))
        return nano_gguf_truncated(reader, "array of key", key);
    if (type == NANO_META_ARRAY)
        return nano_error_set(reader->err, NANO_ERR_UNSUPPORTED,
                              "key '%.200s' is an array of arrays, which is not supported", key);
    size_t element_bytes = type == NANO_META_STRING ? 8 : nano_meta_type_bytes(type);
    if (element_bytes == 0)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "key '%.200s' is an array of unknown type %" PRIu32, key, type);
    if (count > nano_gguf_bytes_left(reader) / element_bytes)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "key '%.200s' is an array of %" PRIu64
                              " elements, but only %zu bytes are left (truncated?)",
                              key, count, nano_gguf_bytes_left(reader));
    meta->element_type = (enum nano_meta_type)type;
    meta->num_elements = (size_t)count;
    if (type != NANO_META_STRING) {
        const unsigned char *bytes = nano_gguf_take(reader, count * element_bytes);
        meta->elements = bytes;
        return type == NANO_META_BOOL ? check_bools(reader, key, bytes, meta->num_elements)
                                      : NANO_OK;
    }
    struct nano_string *strings =
        nano_arena_alloc(reader->arena, meta->num_elements, sizeof *strings);
    if (!strings)
        return nano_error_no_memory(reader->err, key, meta->num_elements * sizeof *strings);
    meta->strings = strings;
    for (size_t i = 0; i < meta->num_elements; i++) {
        enum nano_status status = nano_gguf_read_string(reader, key, &strings[i]);
        if (status != NANO_OK)
            return status;
    }
    return NANO_OK;
}

static enum nano_status read_meta(struct nano_gguf_reader *reader, size_t index,
                                  struct nano_meta *meta)
{
    enum nano_status status = nano_gguf_read_name(reader, "key", index, &meta->key);
    if (status != NANO_OK)
        return status;
    const char *key = meta->key.bytes;
    uint32_t type;
    if (!nano_gguf_take_u32(reader, &type))
        return nano_gguf_truncated(reader, "type of key", key);
    meta->type = (enum nano_meta_type)type;
    if (type == NANO_META_STRING)
        return nano_gguf_read_string(reader, key, &meta->value.string);
    if (type == NANO_META_ARRAY)
        return read_array(reader, meta);
    size_t num_bytes = nano_meta_type_bytes(meta->type);
    if (num_bytes == 0)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "key '%.200s' has unknown type %" PRIu32 ", expected 0 to 12", key,
                              type);
    const unsigned char *bytes = nano_gguf_take(reader, num_bytes);
    if (!bytes)
        return nano_gguf_truncated(reader, "value of key", key);
    switch (meta->type) {
    case NANO_META_F32:
        meta->value.f = (double)nano_le_load_f32(bytes);
        break;
    case NANO_META_F64:
        meta->value.f = nano_le_load_f64(bytes);
        break;
    case NANO_META_I8:
    case NANO_META_I16:
    case NANO_META_I32:
    case NANO_META_I64:
        meta->value.i = nano_le_load_signed(bytes, num_bytes);
        break;
    case NANO_META_BOOL:
        meta->value.u = bytes[0];
        return check_bools(reader, key, bytes, 1);
    default:
        meta->value.u = nano_le_load(bytes, num_bytes);
    }
    return NANO_OK;
}

static enum nano_status read_metadata(struct nano_gguf_reader *reader, uint64_t count,
                                      struct nano_gguf_part *out)
{
    if (count > nano_gguf_bytes_left(reader) / MIN_META_BYTES)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "the header announces %" PRIu64
                              " keys, but only %zu bytes are left (truncated?)",
                              count, nano_gguf_bytes_left(reader));
    out->metadata = nano_arena_alloc(reader->arena, (size_t)count, sizeof *out->metadata);
    if (!out->metadata)
        return nano_error_no_memory(reader->err, "metadata", (size_t)count * sizeof *out->metadata);
    for (; out->num_metadata < count; out->num_metadata++) {
        enum nano_status status =
            read_meta(reader, out->num_metadata, &out->metadata[out->num_metadata]);
        if (status != NANO_OK)
            return status;
    }
    return NANO_OK;
}

static enum nano_status read_header(struct nano_gguf_reader *reader, uint64_t *num_tensors,
                                    uint64_t *num_metadata)
{
    const unsigned char *magic = nano_gguf_take(reader, 4);
    uint32_t version;
    if (!magic)
        return nano_error_set(reader->err, NANO_ERR_FORMAT, "has %zu bytes, expected a GGUF file",
                              reader->num_bytes);
    if (memcmp(magic, "GGUF", 4) != 0)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "begins with bytes %02X %02X %02X %02X, expected \"GGUF\"", magic[0],
                              magic[1], magic[2], magic[3]);
    if (!nano_gguf_take_u32(reader, &version))
        return nano_gguf_truncated(reader, "header", "");
    if (version != 0 && (version & 0xFFFF) == 0)
        return nano_error_set(reader->err, NANO_ERR_UNSUPPORTED,
                              "is a big-endian GGUF file, expected little-endian");
    if (version != 2 && version != 3)
        return nano_error_set(reader->err, NANO_ERR_UNSUPPORTED,
                              "has GGUF version %" PRIu32 ", expected 2 or 3", version);
    if (!nano_gguf_take_u64(reader, num_tensors) || !nano_gguf_take_u64(reader, num_metadata))
        return nano_gguf_truncated(reader, "header", "");
    return NANO_OK;
}

enum nano_status nano_gguf_alignment(const struct nano_meta *metadata, size_t num_metadata,
                                     size_t *out, struct nano_error *err)
{
    struct nano_weights view = {.metadata = (struct nano_meta *)(uintptr_t)metadata,
                                .num_metadata = num_metadata};
    const struct nano_meta *meta = nano_weights_meta(&view, "general.alignment");
    uint64_t alignment = NANO_GGUF_DEFAULT_ALIGNMENT;
    if (meta) {
        if (meta->type != NANO_META_U32)
            return nano_error_set(err, NANO_ERR_FORMAT,
                                  "key 'general.alignment' is %s, expected u32",
                                  nano_meta_type_name(meta->type));
        alignment = meta->value.u;
    }
    if (alignment < 8 || (alignment & (alignment - 1)) != 0)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "key 'general.alignment' is %" PRIu64
                              ", expected a power of two and at least 8",
                              alignment);
    *out = (size_t)alignment;
    return NANO_OK;
}

enum nano_status nano_gguf_part_read(struct nano_gguf_part *out, const void *data, size_t num_bytes,
                                     const char *name, struct nano_arena *arena,
                                     struct nano_error *err)
{
    enum nano_status status;
    struct nano_gguf_reader reader = {
        .data = data, .num_bytes = num_bytes, .arena = arena, .err = err};
    uint64_t num_tensors, num_metadata;
    size_t alignment;
    *out = (struct nano_gguf_part){0};
    NANO_TRY(read_header(&reader, &num_tensors, &num_metadata));
    NANO_TRY(read_metadata(&reader, num_metadata, out));
    NANO_TRY(nano_gguf_alignment(out->metadata, out->num_metadata, &alignment, err));
    NANO_TRY(
        nano_gguf_read_tensors(&reader, num_tensors, alignment, &out->tensors, &out->num_tensors));
    return NANO_OK;
fail:
    *out = (struct nano_gguf_part){0};
    nano_error_prefix(err, "%s", name);
    return status;
}
