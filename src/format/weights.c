/* Weights: the name index, look-ups of tensors, and the end of it all. */
#include "format/weights.h"

#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/memory.h"

/* Both kinds of names go through the same kind of table: slots of 32-bit numbers, 0 for empty and
 * i + 1 for element i, searched linearly from the hash; at most half full. */
struct name_table {
    uint32_t *slots;
    size_t capacity; /* a power of two, or 0 */
};

typedef const struct nano_string *(*name_at_fn)(const struct nano_weights *weights, size_t i);

static const struct nano_string *tensor_name(const struct nano_weights *weights, size_t i)
{
    return &weights->tensors[i].name;
}

static const struct nano_string *meta_key(const struct nano_weights *weights, size_t i)
{
    return &weights->metadata[i].key;
}

static size_t table_capacity(size_t num_names)
{
    size_t capacity = 16;
    while (capacity / 2 < num_names)
        capacity *= 2;
    return capacity;
}

/* The slot of the name, or the empty one where it belongs. */
static size_t table_find(const struct name_table *table, const struct nano_weights *weights,
                         name_at_fn name_at, const char *name, size_t num_bytes)
{
    size_t slot = (size_t)XXH3_64bits(name, num_bytes) & (table->capacity - 1);
    for (; table->slots[slot] != 0; slot = (slot + 1) & (table->capacity - 1)) {
        const struct nano_string *other = name_at(weights, table->slots[slot] - 1);
        if (other->num_bytes == num_bytes && memcmp(other->bytes, name, num_bytes) == 0)
            break;
    }
    return slot;
}

static enum nano_status table_fill(struct name_table *table, const struct nano_weights *weights,
                                   name_at_fn name_at, size_t num_names, const char *what,
                                   struct nano_error *err)
{
    for (size_t i = 0; i < num_names; i++) {
        const struct nano_string *name = name_at(weights, i);
        size_t slot = table_find(table, weights, name_at, name->bytes, name->num_bytes);
        if (table->slots[slot] != 0)
            return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s '%.200s' occurs twice",
                                  nano_weights_label(weights), what, name->bytes);
        table->slots[slot] = (uint32_t)(i + 1);
    }
    return NANO_OK;
}

const char *nano_weights_label(const struct nano_weights *weights)
{
    return weights->path && *weights->path ? weights->path : "weights in memory";
}

enum nano_status nano_weights_finish(struct nano_weights *weights, struct nano_error *err)
{
    enum nano_status status;
    struct name_table keys = {0}, tensors = {0};
    if (weights->num_tensors >= UINT32_MAX / 4 || weights->num_metadata >= UINT32_MAX / 4)
        return nano_error_set(
            err, NANO_ERR_UNSUPPORTED, "%s: %zu tensors and %zu keys are too many",
            nano_weights_label(weights), weights->num_tensors, weights->num_metadata);

    keys.capacity = table_capacity(weights->num_metadata);
    keys.slots = nano_mem_calloc(keys.capacity, sizeof *keys.slots);
    tensors.capacity = table_capacity(weights->num_tensors);
    tensors.slots = nano_arena_alloc(&weights->arena, tensors.capacity, sizeof *tensors.slots);
    if (!keys.slots || !tensors.slots) {
        status = nano_error_no_memory(err, "the index of names",
                                      (keys.capacity + tensors.capacity) * sizeof *keys.slots);
        goto fail;
    }
    NANO_TRY(table_fill(&keys, weights, meta_key, weights->num_metadata, "key", err));
    NANO_TRY(table_fill(&tensors, weights, tensor_name, weights->num_tensors, "tensor", err));
    weights->tensor_index = tensors.slots;
    weights->tensor_index_capacity = tensors.capacity;
fail:
    nano_mem_free(keys.slots);
    return status;
}

void nano_weights_close(struct nano_weights *weights)
{
    for (size_t i = 0; i < weights->num_files; i++)
        nano_os_file_close(&weights->files[i]);
    nano_mem_free(weights->files);
    nano_mem_free_aligned(weights->owned_data, weights->owned_bytes);
    nano_arena_deinit(&weights->arena);
    *weights = (struct nano_weights){0};
}

const struct nano_tensor *nano_weights_find(const struct nano_weights *weights, const char *name)
{
    if (!weights->tensor_index)
        return NULL;
    struct name_table table = {weights->tensor_index, weights->tensor_index_capacity};
    size_t slot = table_find(&table, weights, tensor_name, name, strlen(name));
    return table.slots[slot] ? &weights->tensors[table.slots[slot] - 1] : NULL;
}

/* Where a tensor's bytes are stored. */
static const void *stored_data(const struct nano_tensor *tensor)
{
    while (!tensor->data && (tensor->source->quantized || tensor->source->part_of))
        tensor = tensor->source->quantized ? tensor->source->quantized : tensor->source->part_of;
    return tensor->data ? tensor->data : tensor->source->data;
}

void nano_weights_will_read(const struct nano_weights *weights, const struct nano_tensor *tensor)
{
    const void *data = stored_data(tensor);
    for (size_t i = 0; i < weights->num_files; i++)
        if (nano_os_file_will_read(&weights->files[i], data, nano_tensor_stored_bytes(tensor)))
            return;
}

/* Only a file keeps the content of pages that are given up: memory would come back zeroed. */
void nano_weights_release(const struct nano_weights *weights, const struct nano_tensor *tensor)
{
    const void *data = stored_data(tensor);
    for (size_t i = 0; i < weights->num_files; i++)
        if (nano_os_file_release(&weights->files[i], data, nano_tensor_stored_bytes(tensor)))
            return;
}

/* "[64, 63]" */
static void print_shape(char *out, size_t out_bytes, int num_dims, const int64_t *dims)
{
    size_t used = 0;
    for (int i = 0; i < num_dims && used < out_bytes; i++)
        used += (size_t)snprintf(out + used, out_bytes - used, "%s%lld", i ? ", " : "[",
                                 (long long)dims[i]);
    if (used < out_bytes)
        snprintf(out + used, out_bytes - used, "]");
}

enum nano_status nano_weights_require(const struct nano_weights *weights, const char *name,
                                      int num_dims, const int64_t *dims,
                                      const struct nano_tensor **out, struct nano_error *err)
{
    const struct nano_tensor *tensor = nano_weights_find(weights, name);
    char expected[128], found[128];
    print_shape(expected, sizeof expected, num_dims, dims);
    if (!tensor)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: tensor '%s' is missing, expected shape %s",
                              nano_weights_label(weights), name, expected);
    for (int i = 0; i < NANO_MAX_DIMS; i++) {
        if (tensor->dims[i] == (i < num_dims ? dims[i] : 1))
            continue;
        print_shape(found, sizeof found, tensor->num_dims, tensor->dims);
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: tensor '%s': shape %s, expected %s",
                              nano_weights_label(weights), name, found, expected);
    }
    *out = tensor;
    return NANO_OK;
}
