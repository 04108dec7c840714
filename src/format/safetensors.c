/* Headers of safetensors files. */
#include "format/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "base/memory.h"
#include "format/little_endian.h"

#define LENGTH_BYTES 8
#define MAX_HEADER_BYTES 100000000 /* what other readers accept */

static const struct {
    const char *name;
    enum nano_stored_type type;
    int num_bits;
} dtypes[] = {
    {"F32", NANO_STORED_F32, 32},      {"F16", NANO_STORED_F16, 16},
    {"BF16", NANO_STORED_BF16, 16},    {"F8_E4M3", NANO_STORED_F8_E4M3, 8},
    {"F8_E5M2", NANO_STORED_OTHER, 8}, {"F8_E8M0", NANO_STORED_OTHER, 8},
    {"F6_E2M3", NANO_STORED_OTHER, 6}, {"F6_E3M2", NANO_STORED_OTHER, 6},
    {"F4", NANO_STORED_OTHER, 4},      {"F64", NANO_STORED_OTHER, 64},
    {"C64", NANO_STORED_OTHER, 64},    {"I64", NANO_STORED_OTHER, 64},
    {"U64", NANO_STORED_OTHER, 64},    {"I32", NANO_STORED_OTHER, 32},
    {"U32", NANO_STORED_OTHER, 32},    {"I16", NANO_STORED_OTHER, 16},
    {"U16", NANO_STORED_OTHER, 16},    {"I8", NANO_STORED_OTHER, 8},
    {"U8", NANO_STORED_OTHER, 8},      {"BOOL", NANO_STORED_OTHER, 8},
};

struct reader {
    const char *path;
    const unsigned char *data; /* behind the header */
    size_t num_bytes;          /* of it */
    struct nano_arena *arena;
    struct nano_error *err;
};

static enum nano_status fail(const struct reader *reader, const struct nano_safetensor *tensor,
                             const char *what)
{
    return nano_error_set(reader->err, NANO_ERR_FORMAT, "%s: tensor '%.200s': %s", reader->path,
                          tensor->name.bytes, what);
}

static enum nano_status read_dtype(const struct reader *reader, struct nano_safetensor *tensor,
                                   const json_t *entry, int *num_bits)
{
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype)
        return fail(reader, tensor, "dtype is missing or no string");
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (strcmp(dtypes[i].name, dtype) != 0)
            continue;
        tensor->dtype = dtypes[i].name;
        tensor->type = dtypes[i].type;
        *num_bits = dtypes[i].num_bits;
        return NANO_OK;
    }
    return nano_error_set(reader->err, NANO_ERR_UNSUPPORTED,
                          "%s: tensor '%.200s': dtype '%.40s' is unknown", reader->path,
                          tensor->name.bytes, dtype);
}

/* Leaves the bytes that the shape takes in *num_bytes. */
static enum nano_status read_shape(const struct reader *reader, struct nano_safetensor *tensor,
                                   const json_t *entry, int num_bits, uint64_t *num_bytes)
{
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape) || json_array_size(shape) > 64)
        return fail(reader, tensor, "shape is missing or no array of up to 64 numbers");
    tensor->num_dims = (int)json_array_size(shape);
    int64_t *dims = nano_arena_alloc(reader->arena, (size_t)tensor->num_dims, sizeof *dims);
    if (!dims)
        return nano_error_no_memory(reader->err, "a shape", 64 * sizeof *dims);
    uint64_t elements = 1;
    for (int i = 0; i < tensor->num_dims; i++) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        dims[i] = json_integer_value(dim);
        if (!json_is_integer(dim) || dims[i] < 0)
            return fail(reader, tensor, "shape has an element that is no number from 0");
        if (dims[i] && elements > (uint64_t)(INT64_MAX / 64) / (uint64_t)dims[i])
            return fail(reader, tensor, "shape overflows");
        elements *= (uint64_t)dims[i];
    }
    tensor->dims = dims;
    if (elements * (uint64_t)num_bits % 8)
        return fail(reader, tensor, "shape takes no whole number of bytes");
    *num_bytes = elements * (uint64_t)num_bits / 8;
    return NANO_OK;
}

static enum nano_status read_tensor(const struct reader *reader, struct nano_safetensor *tensor,
                                    const char *name, const json_t *entry)
{
    enum nano_status status;
    int num_bits = 0;
    uint64_t num_bytes = 0;
    tensor->path = reader->path;
    tensor->name.num_bytes = strlen(name);
    tensor->name.bytes = nano_arena_strdup(reader->arena, name, tensor->name.num_bytes);
    if (!tensor->name.bytes)
        return nano_error_no_memory(reader->err, "a tensor's name", tensor->name.num_bytes);
    if (!json_is_object(entry))
        return fail(reader, tensor, "is no object in the header");
    NANO_TRY(read_dtype(reader, tensor, entry, &num_bits));
    NANO_TRY(read_shape(reader, tensor, entry, num_bits, &num_bytes));
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(offsets, 0), *second = json_array_get(offsets, 1);
    const int64_t begin = json_integer_value(first), end = json_integer_value(second);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(second) ||
        begin < 0 || end < begin)
        return fail(reader, tensor, "data_offsets are missing or no pair of ascending numbers");
    if ((uint64_t)end > reader->num_bytes)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "%s: tensor '%.200s': data_offsets end at %" PRId64
                              ", but %zu bytes follow the header (truncated?)",
                              reader->path, name, end, reader->num_bytes);
    if ((uint64_t)(end - begin) != num_bytes)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "%s: tensor '%.200s': data_offsets hold %" PRId64
                              " bytes, expected %" PRIu64 " for its shape and dtype %s",
                              reader->path, name, end - begin, num_bytes, tensor->dtype);
    if (num_bits > 8 && begin % (num_bits / 8))
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "%s: tensor '%.200s': data_offsets begin at %" PRId64
                              ", unaligned: expected a multiple of %d for dtype %s",
                              reader->path, name, begin, num_bits / 8, tensor->dtype);
    tensor->data = reader->data + begin;
    tensor->num_bytes = (size_t)num_bytes;
fail:
    return status;
}

static int by_data(const void *a, const void *b)
{
    const struct nano_safetensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return x->num_bytes < y->num_bytes ? -1 : x->num_bytes > y->num_bytes;
}

/* The ranges cover everything behind the header, each byte once. */
static enum nano_status check_ranges(const struct reader *reader,
                                     const struct nano_safetensor *tensors, size_t count)
{
    const unsigned char *end = reader->data;
    for (size_t i = 0; i < count; i++) {
        if (tensors[i].data < end)
            return nano_error_set(reader->err, NANO_ERR_FORMAT,
                                  "%s: tensors '%.150s' and '%.150s': data_offsets overlap",
                                  reader->path, tensors[i - 1].name.bytes, tensors[i].name.bytes);
        if (tensors[i].data > end)
            return nano_error_set(reader->err, NANO_ERR_FORMAT,
                                  "%s: tensor '%.200s': data_offsets begin at %td, which leaves a "
                                  "gap: expected %td",
                                  reader->path, tensors[i].name.bytes,
                                  tensors[i].data - reader->data, end - reader->data);
        end += tensors[i].num_bytes;
    }
    if ((size_t)(end - reader->data) != reader->num_bytes)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "%s: %zu bytes follow the header, but its data_offsets end at %td",
                              reader->path, reader->num_bytes, end - reader->data);
    return NANO_OK;
}

enum nano_status nano_safetensors_read(struct nano_safetensor **out, size_t *count,
                                       const void *file, size_t num_bytes, const char *path,
                                       struct nano_arena *arena, struct nano_error *err)
{
    enum nano_status status;
    const unsigned char *bytes = file;
    struct nano_safetensor *tensors;
    json_error_t error;
    const char *name;
    json_t *entry;
    *count = 0;
    if (num_bytes < LENGTH_BYTES)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: has %zu bytes, too few for a safetensors header", path,
                              num_bytes);
    const uint64_t header_bytes = nano_le_load(bytes, LENGTH_BYTES);
    if (header_bytes > num_bytes - LENGTH_BYTES || header_bytes > MAX_HEADER_BYTES)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: the header is %" PRIu64 " bytes long, but the file has %zu (no "
                              "safetensors file, or truncated?)",
                              path, header_bytes, num_bytes);
    json_t *header = json_loadb((const char *)bytes + LENGTH_BYTES, (size_t)header_bytes,
                                JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(header)) {
        status = nano_error_set(err, NANO_ERR_FORMAT, "%s: the header is no JSON object: %s", path,
                                header ? "another type" : error.text);
        goto fail;
    }
    struct reader reader = {path, bytes + LENGTH_BYTES + header_bytes,
                            num_bytes - LENGTH_BYTES - (size_t)header_bytes, arena, err};
    tensors = nano_arena_alloc(arena, json_object_size(header), sizeof *tensors);
    if (!tensors) {
        status =
            nano_error_no_memory(err, "tensor infos", json_object_size(header) * sizeof *tensors);
        goto fail;
    }
    size_t num_tensors = 0;
    json_object_foreach(header, name, entry)
    {
        if (strcmp(name, "__metadata__") != 0)
            NANO_TRY(read_tensor(&reader, &tensors[num_tensors++], name, entry));
    }
    qsort(tensors, num_tensors, sizeof *tensors, by_data);
    NANO_TRY(check_ranges(&reader, tensors, num_tensors));
    *out = tensors;
    *count = num_tensors;
fail:
    json_decref(header);
    return status;
}
