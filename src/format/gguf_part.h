/* One GGUF file as it stands: the checked contents of its header, before anything is said about
 * what they mean or about other parts of a split model.
 *
 *   "GGUF" | version | num_tensors | num_metadata | metadata … | tensor infos … | padding | data …
 */
#ifndef NANO_FORMAT_GGUF_PART_H
#define NANO_FORMAT_GGUF_PART_H

#include "format/weights.h"

#define NANO_GGUF_DEFAULT_ALIGNMENT 32

struct nano_gguf_part {
    struct nano_meta *metadata;
    size_t num_metadata;
    struct nano_tensor *tensors;
    size_t num_tensors;
};

/* Reads and checks all of it. Keys, names and arrays of strings are copied to the arena; string
 * bytes, number arrays and tensor data point into `data`. `name` begins every message. */
enum nano_status nano_gguf_part_read(struct nano_gguf_part *out, const void *data, size_t num_bytes,
                                     const char *name, struct nano_arena *arena,
                                     struct nano_error *err);

/* general.alignment of the metadata, or the default. */
enum nano_status nano_gguf_alignment(const struct nano_meta *metadata, size_t num_metadata,
                                     size_t *out, struct nano_error *err);

#endif
