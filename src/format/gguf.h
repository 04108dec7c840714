/* GGUF files, versions 2 and 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). */
#ifndef NANO_FORMAT_GGUF_H
#define NANO_FORMAT_GGUF_H

#include "format/weights.h"

/* Maps the file, and with split.count > 1 all parts of it, and checks everything that the header
 * says against the file's size. `out` is the caller's storage; on failure nothing is left in it. */
enum nano_status nano_gguf_open(struct nano_weights *out, const char *path, struct nano_error *err);

/* The same from bytes in memory, which must outlive the weights (fuzzing, tests). `name` stands for
 * the path in messages. */
enum nano_status nano_gguf_open_memory(struct nano_weights *out, const void *data, size_t num_bytes,
                                       const char *name, struct nano_error *err);

/* Writes metadata and tensors as one GGUF v3 file (to a temporary name, then renamed). */
enum nano_status nano_gguf_save(const struct nano_weights *weights, const char *path,
                                struct nano_error *err);

#endif
