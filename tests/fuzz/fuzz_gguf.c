/* Fuzz target: any bytes as a GGUF file. Whatever opens must be readable to its last byte.
 *
 * With libFuzzer: clang -fsanitize=fuzzer,address and this file without replay.c. */
#include <stdint.h>
#include <stdlib.h>

#include "format/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Sanitizers see the reads; the sums keep the compiler from leaving them out. */
static volatile uint64_t sink;

static void read_bytes(const void *bytes, size_t size)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < size; i++)
        sink += p[i];
}

static void read_meta(const struct nano_weights *weights, const struct nano_meta *meta)
{
    const char *key = meta->key.bytes;
    int64_t integer = 0;
    double number = 0;
    bool truth = false;
    struct nano_string string = {0};
    struct nano_error err;
    if (nano_meta_get_int(weights, key, INT64_MIN, INT64_MAX, &integer, &err) == NANO_OK)
        sink += (uint64_t)integer;
    nano_meta_get_int(weights, key, 0, 1, &integer, &err);
    nano_meta_get_float(weights, key, &number, &err);
    nano_meta_get_bool(weights, key, &truth, &err);
    if (nano_meta_get_string(weights, key, &string, &err) == NANO_OK)
        read_bytes(string.bytes, string.num_bytes);
    if (meta->type != NANO_META_ARRAY)
        return;
    for (size_t i = 0; i < meta->num_elements; i++) {
        if (meta->element_type == NANO_META_STRING)
            read_bytes(meta->strings[i].bytes, meta->strings[i].num_bytes);
        else
            sink += (uint64_t)nano_meta_array_int(meta, i) + (nano_meta_array_float(meta, i) > 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nano_weights weights;
    struct nano_error err;
    if (nano_gguf_open_memory(&weights, data, size, "fuzz.gguf", &err) != NANO_OK)
        return 0;
    for (size_t i = 0; i < weights.num_metadata; i++) {
        if (nano_weights_meta(&weights, weights.metadata[i].key.bytes) != &weights.metadata[i])
            abort();
        read_meta(&weights, &weights.metadata[i]);
    }
    for (size_t i = 0; i < weights.num_tensors; i++) {
        const struct nano_tensor *tensor = &weights.tensors[i], *found;
        if (nano_weights_find(&weights, tensor->name.bytes) != tensor)
            abort();
        if (nano_weights_require(&weights, tensor->name.bytes, tensor->num_dims, tensor->dims,
                                 &found, &err) != NANO_OK)
            abort();
        read_bytes(tensor->data, tensor->num_bytes);
    }
    nano_weights_close(&weights);
    return 0;
}
