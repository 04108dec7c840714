/* Builds GGUF files in memory for tests. Memory is the test's: a failure ends the process. */
#include "gguf_builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/little_endian.h"

static void *must(void *memory)
{
    if (!memory) {
        perror("gguf_builder");
        abort();
    }
    return memory;
}

void gguf_put(struct gguf_bytes *bytes, const void *data, size_t size)
{
    if (size > bytes->capacity - bytes->size) {
        bytes->capacity = (bytes->size + size) * 2;
        bytes->data = must(realloc(bytes->data, bytes->capacity));
    }
    if (size == 0)
        return;
    if (data)
        memcpy(bytes->data + bytes->size, data, size);
    else
        memset(bytes->data + bytes->size, 0, size);
    bytes->size += size;
}

void gguf_put_number(struct gguf_bytes *bytes, uint64_t value, size_t size)
{
    unsigned char encoded[8];
    nano_le_store(encoded, value, size);
    gguf_put(bytes, encoded, size);
}

static void put_counted(struct gguf_bytes *bytes, const char *text, size_t size)
{
    gguf_put_number(bytes, size, 8);
    gguf_put(bytes, text, size);
}

void gguf_put_string(struct gguf_bytes *bytes, const char *text)
{
    put_counted(bytes, text, strlen(text));
}

static void pad(struct gguf_bytes *bytes, size_t alignment)
{
    gguf_put(bytes, NULL, (alignment - bytes->size % alignment) % alignment);
}

void gguf_builder_init(struct gguf_builder *builder)
{
    *builder = (struct gguf_builder){.version = 3, .alignment = 32};
}

void gguf_builder_deinit(struct gguf_builder *builder)
{
    free(builder->metadata.data);
    free(builder->tensors.data);
    free(builder->data.data);
    free(builder->file.data);
    *builder = (struct gguf_builder){0};
}

static void put_key(struct gguf_builder *builder, const char *key, enum nano_meta_type type)
{
    builder->num_metadata++;
    gguf_put_string(&builder->metadata, key);
    gguf_put_number(&builder->metadata, type, 4);
}

void gguf_builder_scalar(struct gguf_builder *builder, const char *key, enum nano_meta_type type,
                         uint64_t bits)
{
    put_key(builder, key, type);
    gguf_put_number(&builder->metadata, bits, nano_meta_type_bytes(type));
}

void gguf_builder_u32(struct gguf_builder *builder, const char *key, uint32_t value)
{
    gguf_builder_scalar(builder, key, NANO_META_U32, value);
}

void gguf_builder_f32(struct gguf_builder *builder, const char *key, float value)
{
    gguf_builder_scalar(builder, key, NANO_META_F32, nano_le_bits_f32(value));
}

void gguf_builder_string(struct gguf_builder *builder, const char *key, const char *value)
{
    put_key(builder, key, NANO_META_STRING);
    gguf_put_string(&builder->metadata, value);
}

void gguf_builder_array(struct gguf_builder *builder, const char *key,
                        enum nano_meta_type element_type, const void *elements, size_t num_elements)
{
    put_key(builder, key, NANO_META_ARRAY);
    gguf_put_number(&builder->metadata, element_type, 4);
    gguf_put_number(&builder->metadata, num_elements, 8);
    gguf_put(&builder->metadata, elements, num_elements * nano_meta_type_bytes(element_type));
}

void gguf_builder_string_array(struct gguf_builder *builder, const char *key,
                               const char *const *strings, size_t num_strings)
{
    put_key(builder, key, NANO_META_ARRAY);
    gguf_put_number(&builder->metadata, NANO_META_STRING, 4);
    gguf_put_number(&builder->metadata, num_strings, 8);
    for (size_t i = 0; i < num_strings; i++)
        gguf_put_string(&builder->metadata, strings[i]);
}

void gguf_builder_tensor_info(struct gguf_builder *builder, const char *name, uint32_t gguf_id,
                              int num_dims, const int64_t *dims, uint64_t offset)
{
    builder->num_tensors++;
    gguf_put_string(&builder->tensors, name);
    gguf_put_number(&builder->tensors, (uint32_t)num_dims, 4);
    for (int i = 0; i < num_dims; i++)
        gguf_put_number(&builder->tensors, (uint64_t)dims[i], 8);
    gguf_put_number(&builder->tensors, gguf_id, 4);
    gguf_put_number(&builder->tensors, offset, 8);
}

void gguf_builder_tensor(struct gguf_builder *builder, const char *name, uint32_t gguf_id,
                         int num_dims, const int64_t *dims, const void *data, size_t size)
{
    pad(&builder->data, builder->alignment);
    gguf_builder_tensor_info(builder, name, gguf_id, num_dims, dims, builder->data.size);
    gguf_put(&builder->data, data, size);
}

static void put_meta(struct gguf_builder *builder, const struct nano_meta *meta)
{
    const char *key = meta->key.bytes;
    switch (meta->type) {
    case NANO_META_STRING:
        put_key(builder, key, NANO_META_STRING);
        put_counted(&builder->metadata, meta->value.string.bytes, meta->value.string.num_bytes);
        break;
    case NANO_META_ARRAY:
        gguf_builder_array(builder, key, meta->element_type, meta->elements, meta->num_elements);
        for (size_t i = 0; i < meta->num_elements && meta->element_type == NANO_META_STRING; i++)
            put_counted(&builder->metadata, meta->strings[i].bytes, meta->strings[i].num_bytes);
        break;
    case NANO_META_F32:
        gguf_builder_f32(builder, key, (float)meta->value.f);
        break;
    case NANO_META_F64:
        gguf_builder_scalar(builder, key, meta->type, nano_le_bits_f64(meta->value.f));
        break;
    case NANO_META_I8:
    case NANO_META_I16:
    case NANO_META_I32:
    case NANO_META_I64:
        gguf_builder_scalar(builder, key, meta->type, (uint64_t)meta->value.i);
        break;
    default:
        gguf_builder_scalar(builder, key, meta->type, meta->value.u);
    }
}

void gguf_builder_weights(struct gguf_builder *builder, const struct nano_weights *weights,
                          const char *without)
{
    for (size_t i = 0; i < weights->num_metadata; i++) {
        if (!without || strcmp(weights->metadata[i].key.bytes, without) != 0)
            put_meta(builder, &weights->metadata[i]);
    }
    for (size_t i = 0; i < weights->num_tensors; i++) {
        const struct nano_tensor *tensor = &weights->tensors[i];
        if (!without || strcmp(tensor->name.bytes, without) != 0)
            gguf_builder_tensor(builder, tensor->name.bytes,
                                nano_format_traits(tensor->format)->gguf_id, tensor->num_dims,
                                tensor->dims, tensor->data, tensor->num_bytes);
    }
}

const struct gguf_bytes *gguf_builder_finish(struct gguf_builder *builder)
{
    struct gguf_bytes *file = &builder->file;
    file->size = 0;
    gguf_put(file, "GGUF", 4);
    gguf_put_number(file, builder->version, 4);
    gguf_put_number(file, builder->num_tensors, 8);
    gguf_put_number(file, builder->num_metadata, 8);
    gguf_put(file, builder->metadata.data, builder->metadata.size);
    gguf_put(file, builder->tensors.data, builder->tensors.size);
    if (builder->data.size) {
        pad(file, builder->alignment);
        gguf_put(file, builder->data.data, builder->data.size);
    }
    return file;
}

void gguf_builder_write(struct gguf_builder *builder, const char *path)
{
    const struct gguf_bytes *bytes = gguf_builder_finish(builder);
    FILE *file = must(fopen(path, "wb"));
    if (fwrite(bytes->data, 1, bytes->size, file) != bytes->size || fclose(file) != 0)
        must(NULL);
}
