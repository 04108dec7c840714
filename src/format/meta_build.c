/* Building metadata. */
#include "format/meta_build.h"

#include <stdio.h>
#include <string.h>

#define MAX_KEY_BYTES 128

static bool grow(struct nano_meta_builder *builder)
{
    struct nano_weights *weights = builder->weights;
    if (weights->num_metadata < builder->capacity)
        return true;
    size_t capacity = weights->num_metadata < 32 ? 64 : 2 * weights->num_metadata;
    struct nano_meta *metadata =
        nano_arena_alloc(&weights->arena, capacity, sizeof *weights->metadata);
    if (!metadata)
        return false;
    if (weights->num_metadata)
        memcpy(metadata, weights->metadata, weights->num_metadata * sizeof *metadata);
    weights->metadata = metadata;
    builder->capacity = capacity;
    return true;
}

/* A new entry of zeros; NULL without memory. */
static struct nano_meta *add(struct nano_meta_builder *builder, const char *key,
                             enum nano_meta_type type)
{
    char full[MAX_KEY_BYTES];
    if (!grow(builder)) {
        builder->failed = true;
        return NULL;
    }
    struct nano_meta *meta = &builder->weights->metadata[builder->weights->num_metadata];
    snprintf(full, sizeof full, "%s%s", *key == '.' ? builder->architecture : "", key);
    nano_meta_copy_string(builder, &meta->key, full, strlen(full));
    if (!meta->key.bytes)
        return NULL;
    meta->type = type;
    builder->weights->num_metadata++;
    return meta;
}

void nano_meta_copy_string(struct nano_meta_builder *builder, struct nano_string *out,
                           const char *bytes, size_t num_bytes)
{
    out->bytes = nano_arena_strdup(&builder->weights->arena, bytes, num_bytes);
    out->num_bytes = out->bytes ? num_bytes : 0;
    builder->failed |= !out->bytes;
}

void nano_meta_add_string(struct nano_meta_builder *builder, const char *key, const char *bytes,
                          size_t num_bytes)
{
    struct nano_meta *meta = add(builder, key, NANO_META_STRING);
    if (meta)
        nano_meta_copy_string(builder, &meta->value.string, bytes, num_bytes);
}

void nano_meta_add_cstring(struct nano_meta_builder *builder, const char *key, const char *value)
{
    nano_meta_add_string(builder, key, value, strlen(value));
}

void nano_meta_add_u32(struct nano_meta_builder *builder, const char *key, uint32_t value)
{
    struct nano_meta *meta = add(builder, key, NANO_META_U32);
    if (meta)
        meta->value.u = value;
}

void nano_meta_add_f32(struct nano_meta_builder *builder, const char *key, double value)
{
    struct nano_meta *meta = add(builder, key, NANO_META_F32);
    if (meta)
        meta->value.f = (double)(float)value;
}

void nano_meta_add_bool(struct nano_meta_builder *builder, const char *key, bool value)
{
    struct nano_meta *meta = add(builder, key, NANO_META_BOOL);
    if (meta)
        meta->value.u = value;
}

struct nano_string *nano_meta_add_strings(struct nano_meta_builder *builder, const char *key,
                                          size_t count)
{
    struct nano_string *strings =
        nano_arena_alloc(&builder->weights->arena, count, sizeof *strings);
    struct nano_meta *meta = strings ? add(builder, key, NANO_META_ARRAY) : NULL;
    if (!meta) {
        builder->failed = true;
        return NULL;
    }
    meta->element_type = NANO_META_STRING;
    meta->strings = strings;
    meta->num_elements = count;
    return strings;
}

unsigned char *nano_meta_add_numbers(struct nano_meta_builder *builder, const char *key,
                                     enum nano_meta_type element_type, size_t count)
{
    unsigned char *elements =
        nano_arena_alloc(&builder->weights->arena, count, nano_meta_type_bytes(element_type));
    struct nano_meta *meta = elements ? add(builder, key, NANO_META_ARRAY) : NULL;
    if (!meta) {
        builder->failed = true;
        return NULL;
    }
    meta->element_type = element_type;
    meta->elements = elements;
    meta->num_elements = count;
    return elements;
}

enum nano_status nano_meta_build_finish(const struct nano_meta_builder *builder,
                                        struct nano_error *err)
{
    if (!builder->failed)
        return NANO_OK;
    return nano_error_no_memory(err, "metadata", builder->weights->arena.total_bytes);
}
