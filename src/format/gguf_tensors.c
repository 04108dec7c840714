/* Tensor infos of one GGUF file. */
#include "format/gguf_tensors.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/memory.h"

/* The fewest bytes that an entry can take: name, dims, format and offset. */
#define MIN_TENSOR_BYTES (8 + 1 + 4 + 8 + 4 + 8)

/* Formats that exist in GGUF files but that quant.def does not have. Numbers from ggml.h. */
static const struct {
    uint32_t gguf_id;
    const char *name;
} unsupported_formats[] = {
    {4, "Q4_2"},      {5, "Q4_3"},      {9, "Q8_1"},        {15, "Q8_K"},       {24, "I8"},
    {25, "I16"},      {26, "I32"},      {27, "I64"},        {28, "F64"},        {31, "Q4_0_4_4"},
    {32, "Q4_0_4_8"}, {33, "Q4_0_8_8"}, {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"},
};

static enum nano_status find_format(struct nano_gguf_reader *reader, const char *name,
                                    uint32_t gguf_id, enum nano_format *out)
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
static enum nano_status set_size(struct nano_gguf_reader *reader, struct nano_tensor *tensor)
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
static enum nano_status read_tensor(struct nano_gguf_reader *reader, size_t index,
                                    struct nano_tensor *tensor, uint64_t *offset)
{
    enum nano_status status = nano_gguf_read_name(reader, "tensor", index, &tensor->name);
    if (status != NANO_OK)
        return status;
    const char *name = tensor->name.bytes;
    uint32_t num_dims, gguf_id;
    if (!nano_gguf_take_u32(reader, &num_dims))
        return nano_gguf_truncated(reader, "tensor info", name);
    if (num_dims < 1 || num_dims > NANO_MAX_DIMS)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "tensor '%.200s' has %" PRIu32 " dimensions, expected 1 to %d", name,
                              num_dims, NANO_MAX_DIMS);
    tensor->num_dims = (int)num_dims;
    for (uint32_t i = 0; i < NANO_MAX_DIMS; i++) {
        uint64_t dim = 1;
        if (i < num_dims && !nano_gguf_take_u64(reader, &dim))
            return nano_gguf_truncated(reader, "tensor info", name);
        if (dim == 0 || dim > INT64_MAX)
            return nano_error_set(reader->err, NANO_ERR_FORMAT,
                                  "tensor '%.200s': dimension %" PRIu32 " is %" PRIu64
                                  ", expected 1 to 2^63-1",
                                  name, i, dim);
        tensor->dims[i] = (int64_t)dim;
    }
    if (!nano_gguf_take_u32(reader, &gguf_id) || !nano_gguf_take_u64(reader, offset))
        return nano_gguf_truncated(reader, "tensor info", name);
    status = find_format(reader, name, gguf_id, &tensor->format);
    return status == NANO_OK ? set_size(reader, tensor) : status;
}

static int compare_data(const void *a, const void *b)
{
    const struct nano_tensor *const *left = a, *const *right = b;
    const char *p = (*left)->data, *q = (*right)->data;
    return (p > q) - (p < q);
}

static enum nano_status check_overlap(struct nano_gguf_reader *reader,
                                      const struct nano_tensor *tensors, size_t num_tensors)
{
    enum nano_status status = NANO_OK;
    const struct nano_tensor **sorted = nano_mem_alloc(num_tensors, sizeof(struct nano_tensor *));
    if (!sorted)
        return nano_error_no_memory(reader->err, "tensor order", num_tensors * sizeof *sorted);
    for (size_t i = 0; i < num_tensors; i++)
        sorted[i] = &tensors[i];
    qsort(sorted, num_tensors, sizeof *sorted, compare_data);
    for (size_t i = 1; i < num_tensors && status == NANO_OK; i++) {
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
static enum nano_status place(struct nano_gguf_reader *reader, struct nano_tensor *tensor,
                              size_t data_begin, size_t alignment, uint64_t offset)
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

enum nano_status nano_gguf_read_tensors(struct nano_gguf_reader *reader, uint64_t count,
                                        size_t alignment, struct nano_tensor **out,
                                        size_t *num_tensors)
{
    enum nano_status status = NANO_OK;
    struct nano_tensor *tensors;
    uint64_t *offsets;
    size_t data_begin;
    if (count > nano_gguf_bytes_left(reader) / MIN_TENSOR_BYTES)
        return nano_error_set(reader->err, NANO_ERR_FORMAT,
                              "the header announces %" PRIu64
                              " tensors, but only %zu bytes are left (truncated?)",
                              count, nano_gguf_bytes_left(reader));
    if (count == 0)
        return NANO_OK;
    tensors = nano_arena_alloc(reader->arena, (size_t)count, sizeof *tensors);
    offsets = nano_mem_alloc((size_t)count, sizeof *offsets);
    if (!tensors || !offsets) {
        status = nano_error_no_memory(reader->err, "tensor infos", (size_t)count * sizeof *tensors);
        goto fail;
    }
    for (size_t i = 0; i < count; i++)
        NANO_TRY(read_tensor(reader, i, &tensors[i], &offsets[i]));
    if (!nano_mem_size(reader->position, 1, alignment - 1, &data_begin)) {
        status = nano_gguf_truncated(reader, "tensor data", "");
        goto fail;
    }
    data_begin -= data_begin % alignment;
    for (size_t i = 0; i < count; i++)
        NANO_TRY(place(reader, &tensors[i], data_begin, alignment, offsets[i]));
    NANO_TRY(check_overlap(reader, tensors, (size_t)count));
    *out = tensors;
    *num_tensors = (size_t)count;
fail:
    nano_mem_free(offsets);
    return status;
}
