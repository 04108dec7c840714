/* One GGUF file: header, metadata and tensor infos, every number of it checked before it is used.
 *
 * Nothing is allocated for a count before the bytes that are left could hold that many entries. */
#include "format/gguf_part.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "format/little_endian.h"

#define MAX_NAME_BYTES 65535 /* the specification's limit on keys */

/* The fewest bytes that an entry can take: key, type and value; name, dims, format and offset. */
#define MIN_META_BYTES (8 + 1 + 4 + 1)
#define MIN_TENSOR_BYTES (8 + 1 + 4 + 8 + 4 + 8)

struct reader {
    const unsigned char *data;
    size_t num_bytes, position;
    struct nano_arena *arena;
    struct nano_error *err;
};

/* Formats that exist in GGUF files but that quant.def does not have. Numbers from ggml.h. */
static const struct {
    uint32_t gguf_id;
    const char *name;
} unsupported_formats[] = {
    {4, "Q4_2"},    {5, "Q4_3"},        {9, "Q8_1"},        {15, "Q8_K"},       {16, "IQ2_XXS"},
    {17, "IQ2_XS"}, {18, "IQ3_XXS"},    {19, "IQ1_S"},      {21, "IQ3_S"},      {22, "IQ2_S"},
    {24, "I8"},     {25, "I16"},        {26, "I32"},        {27, "I64"},        {28, "F64"},
    {29, "IQ1_M"},  {31, "Q4_0_4_4"},   {32, "Q4_0_4_8"},   {33, "Q4_0_8_8"},   {34, "TQ1_0"},
    {35, "TQ2_0"},  {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"}, {39, "MXFP4"},
    {40, "NVFP4"},  {41, "Q1_0"},       {42, "Q2_0"},
};

static size_t bytes_left(const struct reader *reader)
{
    return reader->num_bytes - reader->position;
}

/* The next num_bytes bytes; NULL when the file ends before that. */
static const unsigned char *take(struct reader *reader, uint64_t num_bytes)
{
    if (num_bytes > bytes_left(reader))
        return NULL;
    const unsigned char *bytes = reader->data + reader->position;
    reader->position += (size_t)num_bytes;
    return bytes;
}

static bool take_u32(struct reader *reader, uint32_t *out)
{
    const unsigned char *bytes = take(reader, 4);
    if (bytes)
        *out = (uint32_t)nano_le_load(bytes, 4);
    return bytes != NULL;
}

static bool take_u64(struct reader *reader, uint64_t *out)
{
    const unsigned char *bytes = take(reader, 8);
    if (bytes)
        *out = nano_le_load(bytes, 8);
    return bytes != NULL;
}

static enum nano_status truncated(struct reader *reader, const char *what, const char *name)
{
    return nano_error_set(
        reader->err, NANO_ERR_FORMAT,
        "%s%s%.200s%s does not fit: at byte %zu, the file has %zu bytes (truncated?)", what,
        *name ? " '" : "", name, *name ? "'" : "", reader->position, reader->num_bytes);
}

/* A key or tensor name, copied so that it ends in a zero byte. Control characters are refused, so
 * that messages stay one line. */
static enum nano_status read_name(struct reader *reader, const char *what, uint64_t index,
                                  struct nano_string *out)
{
    uint64_t num_bytes;
    const unsigned char *bytes;
    if (!take_u64(reader, &num_bytes))
        return truncated(reader, what, "");
    if (num_bytes == 0 || num_bytes > MAX_NAME_BYTES)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "%s %" PRIu64 " has a name of %" PRIu64 " bytes, expected 1 to %d",
                              what, index, num_bytes, MAX_NAME_BYTES);
    if (!(bytes = take(reader, num_bytes)))
        return truncated(reader, what, "");
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

static enum nano_status read_string(struct reader *reader, const char *key, struct nano_string *out)
{
    uint64_t num_bytes;
    if (!take_u64(reader, &num_bytes) || !(out->bytes = (const char *)take(reader, num_bytes)))
        return truncated(reader, "string of key", key);
    out->num_bytes = (size_t)num_bytes;
    return NANO_OK;
}

static enum nano_status check_bools(struct reader *reader, const char *key,
                                    const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] > 1)
            return nano_error_set(reader->err, NANO_ERR_FORMAT,
                                  "key '%.200s' has bool %u, expected 0 or 1", key, bytes[i]);
    }
    return NANO_OK;
}

static enum nano_status read_array(struct reader *reader, struct nano_meta *meta)
{
    const char *key = meta->key.bytes;
    uint32_t type;
    uint64_t count;
    if (!take_u32(reader, &type) || !take_u64(reader, &count))
        return truncated(reader, "array of key", key);
    if (type == NANO_META_ARRAY)
        return nano_error_set(reader->err, NANO_ERR_UNSUPPORTED,
                              "key '%.200s' is an array of arrays, which is not supported", key);
    size_t element_bytes = type == NANO_META_STRING ? 8 : nano_meta_type_bytes(type);
    if (element_bytes == 0)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "key '%.200s' is an array of unknown type %" PRIu32, key, type);
    if (count > bytes_left(reader) / element_bytes)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "key '%.200s' is an array of %" PRIu64
                              " elements, but only %zu bytes are left (truncated?)",
                              key, count, bytes_left(reader));
    meta->element_type = (enum nano_meta_type)type;
    meta->num_elements = (size_t)count;
    if (type != NANO_META_STRING) {
        const unsigned char *bytes = take(reader, count * element_bytes);
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
        enum nano_status status = read_string(reader, key, &strings[i]);
        if (status != NANO_OK)
            return status;
    }
    return NANO_OK;
}

static enum nano_status read_meta(struct reader *reader, size_t index, struct nano_meta *meta)
{
    enum nano_status status = read_name(reader, "key", index, &meta->key);
    if (status != NANO_OK)
        return status;
    const char *key = meta->key.bytes;
    uint32_t type;
    if (!take_u32(reader, &type))
        return truncated(reader, "type of key", key);
    meta->type = (enum nano_meta_type)type;
    if (type == NANO_META_STRING)
        return read_string(reader, key, &meta->value.string);
    if (type == NANO_META_ARRAY)
        return read_array(reader, meta);
    size_t num_bytes = nano_meta_type_bytes(meta->type);
    if (num_bytes == 0)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "key '%.200s' has unknown type %" PRIu32 ", expected 0 to 12", key,
                              type);
    const unsigned char *bytes = take(reader, num_bytes);
    if (!bytes)
        return truncated(reader, "value of key", key);
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

static enum nano_status find_format(struct reader *reader, const char *name, uint32_t gguf_id,
                                    enum nano_format *out)
{
    *out = nano_format_from_gguf_id(gguf_id);
    if (*out != NANO_NUM_FORMATS)
        return NANO_OK;
    for (size_t i = 0; i < sizeof unsupported_formats / sizeof *unsupported_formats; i++) {
        if (unsupported_formats[i].gguf_id == gguf_id)
            return nano_error_set(reader->err, NANO_ERR_UNSUPPORTED,
                                  "tensor '%.200s': format %s is not supported", name,
                                  unsupported_formats[i].name);
    }
    return nano_error_set(reader->err, NANO_ERR_UNSUPPORTED,
                          "tensor '%.200s': format %" PRIu32 " is unknown", name, gguf_id);
}

/* Fills num_bytes from format and shape. */
static enum nano_status set_size(struct reader *reader, struct nano_tensor *tensor)
{
    const struct nano_format_traits *traits = nano_format_traits(tensor->format);
    if (tensor->dims[0] % traits->block_length != 0)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "tensor '%.200s': rows of %" PRId64 " are not whole %s blocks of %d",
                              tensor->name.bytes, tensor->dims[0], traits->name,
                              traits->block_length);
    size_t num_bytes;
    bool fits = nano_mem_size((size_t)(tensor->dims[0] / traits->block_length),
                              (size_t)traits->block_bytes, 0, &num_bytes);
    for (int i = 1; i < tensor->num_dims && fits; i++)
        fits = nano_mem_size(num_bytes, (size_t)tensor->dims[i], 0, &num_bytes);
    /* Elements are counted in int64_t everywhere. */
    uint64_t num_elements = 1;
    for (int i = 0; i < tensor->num_dims && fits; i++) {
        fits = (uint64_t)tensor->dims[i] <= INT64_MAX / num_elements;
        num_elements *= (uint64_t)tensor->dims[i];
    }
    if (!fits)
        return nano_error_set(
            reader->err, NANO_ERR_FORMAT,
            "tensor '%.200s': shape [%" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64 "] overflows",
            tensor->name.bytes, tensor->dims[0], tensor->dims[1], tensor->dims[2], tensor->dims[3]);
    tensor->num_bytes = num_bytes;
    return NANO_OK;
}

/* Leaves the offset, relative to the beginning of the data, in *offset. */
static enum nano_status read_tensor(struct reader *reader, size_t index, struct nano_tensor *tensor,
                                    uint64_t *offset)
{
    enum nano_status status = read_name(reader, "tensor", index, &tensor->name);
    if (status != NANO_OK)
        return status;
    const char *name = tensor->name.bytes;
    uint32_t num_dims, gguf_id;
    if (!take_u32(reader, &num_dims))
        return truncated(reader, "tensor info", name);
    if (num_dims < 1 || num_dims > NANO_MAX_DIMS)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "tensor '%.200s' has %" PRIu32 " dimensions, expected 1 to %d", name,
                              num_dims, NANO_MAX_DIMS);
    tensor->num_dims = (int)num_dims;
    for (uint32_t i = 0; i < NANO_MAX_DIMS; i++) {
        uint64_t dim = 1;
        if (i < num_dims && !take_u64(reader, &dim))
            return truncated(reader, "tensor info", name);
        if (dim == 0 || dim > INT64_MAX)
            return nano_error_set(reader->err, NANO_ERR_FORMAT,
                                  "tensor '%.200s': dimension %" PRIu32 " is %" PRIu64
                                  ", expected 1 to 2^63-1",
                                  name, i, dim);
        tensor->dims[i] = (int64_t)dim;
    }
    if (!take_u32(reader, &gguf_id) || !take_u64(reader, offset))
        return truncated(reader, "tensor info", name);
    status = find_format(reader, name, gguf_id, &tensor->format);
    return status == NANO_OK ? set_size(reader, tensor) : status;
}

static enum nano_status read_metadata(struct reader *reader, uint64_t count,
                                      struct nano_gguf_part *out)
{
    if (count > bytes_left(reader) / MIN_META_BYTES)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "the header announces %" PRIu64
                              " keys, but only %zu bytes are left (truncated?)",
                              count, bytes_left(reader));
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

static int compare_data(const void *a, const void *b)
{
    const struct nano_tensor *const *left = a, *const *right = b;
    const char *p = (*left)->data, *q = (*right)->data;
    return (p > q) - (p < q);
}

static enum nano_status check_overlap(struct reader *reader, const struct nano_gguf_part *part)
{
    enum nano_status status = NANO_OK;
    const struct nano_tensor **sorted =
        nano_mem_alloc(part->num_tensors, sizeof(struct nano_tensor *));
    if (!sorted)
        return nano_error_no_memory(reader->err, "tensor order",
                                    part->num_tensors * sizeof *sorted);
    for (size_t i = 0; i < part->num_tensors; i++)
        sorted[i] = &part->tensors[i];
    qsort(sorted, part->num_tensors, sizeof *sorted, compare_data);
    for (size_t i = 1; i < part->num_tensors && status == NANO_OK; i++) {
        const struct nano_tensor *before = sorted[i - 1];
        if ((const char *)before->data + before->num_bytes > (const char *)sorted[i]->data)
            status = nano_error_set(reader->err, NANO_ERR_FORMAT,
                                    "tensors '%.150s' and '%.150s' overlap", before->name.bytes,
                                    sorted[i]->name.bytes);
    }
    nano_mem_free(sorted);
    return status;
}

/* Turns the offset into a pointer, if all of the tensor is inside the file. */
static enum nano_status place(struct reader *reader, struct nano_tensor *tensor, size_t data_begin,
                              size_t alignment, uint64_t offset)
{
    if (offset % alignment != 0)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "tensor '%.200s': offset %" PRIu64 " is not a multiple of %zu",
                              tensor->name.bytes, offset, alignment);
    size_t end;
    if (offset > SIZE_MAX || !nano_mem_size((size_t)offset, 1, data_begin, &end) ||
        !nano_mem_size(end, 1, tensor->num_bytes, &end))
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "tensor '%.200s' of %zu bytes at offset %" PRIu64
                              " ends far past the file's %zu bytes",
                              tensor->name.bytes, tensor->num_bytes, offset, reader->num_bytes);
    if (end > reader->num_bytes)
        return nano_error_set(
            reader->err, NANO_ERR_FORMAT,
            "tensor '%.200s' ends at byte %zu, but the file has %zu bytes (truncated?)",
            tensor->name.bytes, end, reader->num_bytes);
    tensor->data = reader->data + data_begin + (size_t)offset;
    return NANO_OK;
}

static enum nano_status read_tensors(struct reader *reader, uint64_t count, size_t alignment,
                                     struct nano_gguf_part *out)
{
    enum nano_status status = NANO_OK;
    uint64_t *offsets = NULL;
    size_t data_begin;
    if (count > bytes_left(reader) / MIN_TENSOR_BYTES)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "the header announces %" PRIu64
                              " tensors, but only %zu bytes are left (truncated?)",
                              count, bytes_left(reader));
    if (count == 0)
        return NANO_OK;
    out->tensors = nano_arena_alloc(reader->arena, (size_t)count, sizeof *out->tensors);
    offsets = nano_mem_alloc((size_t)count, sizeof *offsets);
    if (!out->tensors || !offsets) {
        status =
            nano_error_no_memory(reader->err, "tensor infos", (size_t)count * sizeof *out->tensors);
        goto fail;
    }
    for (size_t i = 0; i < count; i++)
        NANO_TRY(read_tensor(reader, i, &out->tensors[i], &offsets[i]));
    out->num_tensors = (size_t)count;
    if (!nano_mem_size(reader->position, 1, alignment - 1, &data_begin)) {
        status = truncated(reader, "tensor data", "");
        goto fail;
    }
    data_begin -= data_begin % alignment;
    for (size_t i = 0; i < count; i++)
        NANO_TRY(place(reader, &out->tensors[i], data_begin, alignment, offsets[i]));
    NANO_TRY(check_overlap(reader, out));
fail:
    nano_mem_free(offsets);
    return status;
}

static enum nano_status read_header(struct reader *reader, uint64_t *num_tensors,
                                    uint64_t *num_metadata)
{
    const unsigned char *magic = take(reader, 4);
    uint32_t version;
    if (!magic)
        return nano_error_set(reader->err, NANO_ERR_FORMAT, "has %zu bytes, expected a GGUF file",
                              reader->num_bytes);
    if (memcmp(magic, "GGUF", 4) != 0)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "begins with bytes %02X %02X %02X %02X, expected \"GGUF\"", magic[0],
                              magic[1], magic[2], magic[3]);
    if (!take_u32(reader, &version))
        return truncated(reader, "header", "");
    if (version != 0 && (version & 0xFFFF) == 0)
        return nano_error_set(reader->err, NANO_ERR_UNSUPPORTED,
                              "is a big-endian GGUF file, expected little-endian");
    if (version != 2 && version != 3)
        return nano_error_set(reader->err, NANO_ERR_UNSUPPORTED,
                              "has GGUF version %" PRIu32 ", expected 2 or 3", version);
    if (!take_u64(reader, num_tensors) || !take_u64(reader, num_metadata))
        return truncated(reader, "header", "");
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
    struct reader reader = {.data = data, .num_bytes = num_bytes, .arena = arena, .err = err};
    uint64_t num_tensors, num_metadata;
    size_t alignment;
    *out = (struct nano_gguf_part){0};
    NANO_TRY(read_header(&reader, &num_tensors, &num_metadata));
    NANO_TRY(read_metadata(&reader, num_metadata, out));
    NANO_TRY(nano_gguf_alignment(out->metadata, out->num_metadata, &alignment, err));
    NANO_TRY(read_tensors(&reader, num_tensors, alignment, out));
    return NANO_OK;
fail:
    *out = (struct nano_gguf_part){0};
    nano_error_prefix(err, "%s", name);
    return status;
}
