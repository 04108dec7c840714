/* Building metadata: what loaders of other formats than GGUF say in GGUF's keys.
 *
 * Everything is copied to the weights' arena. A lack of memory is remembered and reported once, by
 * nano_meta_build_finish, so that code which adds keys reads straight down. */
#ifndef NANO_FORMAT_META_BUILD_H
#define NANO_FORMAT_META_BUILD_H

#include "format/weights.h"

struct nano_meta_builder {
    struct nano_weights *weights; /* its arena is initialised; metadata grows */
    const char *architecture;     /* stands before keys that begin with '.'; or NULL */
    size_t capacity;
    bool failed;
};

void nano_meta_add_string(struct nano_meta_builder *builder, const char *key, const char *bytes,
                          size_t num_bytes);
void nano_meta_add_cstring(struct nano_meta_builder *builder, const char *key, const char *value);
void nano_meta_add_u32(struct nano_meta_builder *builder, const char *key, uint32_t value);
void nano_meta_add_f32(struct nano_meta_builder *builder, const char *key, double value);
void nano_meta_add_bool(struct nano_meta_builder *builder, const char *key, bool value);

/* An array of `count` empty strings for the caller to fill with nano_meta_copy_string; NULL without
 * memory. */
struct nano_string *nano_meta_add_strings(struct nano_meta_builder *builder, const char *key,
                                          size_t count);
void nano_meta_copy_string(struct nano_meta_builder *builder, struct nano_string *out,
                           const char *bytes, size_t num_bytes);

/* An array of `count` zeros of a number type, to be filled with nano_le_store; NULL without memory.
 */
unsigned char *nano_meta_add_numbers(struct nano_meta_builder *builder, const char *key,
                                     enum nano_meta_type element_type, size_t count);

/* NANO_ERR_NO_MEMORY if anything was not added. */
enum nano_status nano_meta_build_finish(const struct nano_meta_builder *builder,
                                        struct nano_error *err);

#endif
