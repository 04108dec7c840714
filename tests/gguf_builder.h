/* Builds GGUF files in memory for tests: whole ones, and ones that are broken on purpose. */
#ifndef NANO_TESTS_GGUF_BUILDER_H
#define NANO_TESTS_GGUF_BUILDER_H

#include "format/weights.h"

struct gguf_bytes {
    unsigned char *data;
    size_t size, capacity;
};

/* Everything here may be changed between the calls to make a header lie. */
struct gguf_builder {
    uint32_t version;                   /* 3 */
    size_t alignment;                   /* 32; of the data, whatever general.alignment says */
    uint64_t num_metadata, num_tensors; /* as the header says them; counted by the calls */
    struct gguf_bytes metadata, tensors, data; /* the parts of the file, as they are written */
    struct gguf_bytes file;
};

void gguf_builder_init(struct gguf_builder *builder);
void gguf_builder_deinit(struct gguf_builder *builder);

/* Raw bytes and little-endian numbers, for what the functions below cannot say. */
void gguf_put(struct gguf_bytes *bytes, const void *data, size_t size);
void gguf_put_number(struct gguf_bytes *bytes, uint64_t value, size_t size);
void gguf_put_string(struct gguf_bytes *bytes, const char *text);

/* Metadata entries. A scalar is given as the bits of its value. */
void gguf_builder_scalar(struct gguf_builder *builder, const char *key, enum nano_meta_type type,
                         uint64_t bits);
void gguf_builder_u32(struct gguf_builder *builder, const char *key, uint32_t value);
void gguf_builder_f32(struct gguf_builder *builder, const char *key, float value);
void gguf_builder_string(struct gguf_builder *builder, const char *key, const char *value);
void gguf_builder_array(struct gguf_builder *builder, const char *key,
                        enum nano_meta_type element_type, const void *elements,
                        size_t num_elements);
void gguf_builder_string_array(struct gguf_builder *builder, const char *key,
                               const char *const *strings, size_t num_strings);

/* A tensor whose data follows that of the one before; `data` NULL gives zeros. The format may be
 * one that the library does not know: size is the caller's. */
void gguf_builder_tensor(struct gguf_builder *builder, const char *name, uint32_t gguf_id,
                         int num_dims, const int64_t *dims, const void *data, size_t size);

/* Only the info: the offset is the caller's, and so is the data. */
void gguf_builder_tensor_info(struct gguf_builder *builder, const char *name, uint32_t gguf_id,
                              int num_dims, const int64_t *dims, uint64_t offset);

/* All metadata and tensors of a model, but for the key or tensor named `without` (may be NULL): a
 * test adds what it wants in its place. */
void gguf_builder_weights(struct gguf_builder *builder, const struct nano_weights *weights,
                          const char *without);

/* Puts the file together; the bytes live until the next finish or deinit. */
const struct gguf_bytes *gguf_builder_finish(struct gguf_builder *builder);

/* The same, written to a file; stops the test if that fails. */
void gguf_builder_write(struct gguf_builder *builder, const char *path);

#endif
