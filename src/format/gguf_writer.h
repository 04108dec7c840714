/* GGUF files being written: the header at once, then the tensors' bytes in order, in pieces of any
 * size, so that no more of a model than a piece is in memory.
 *
 * The file appears under its name when it is complete (a temporary name is renamed); until then,
 * and when anything fails, what stood there before stands there still. Devices and pipes are
 * written to directly. */
#ifndef NANO_FORMAT_GGUF_WRITER_H
#define NANO_FORMAT_GGUF_WRITER_H

#include <stdio.h>

#include "format/weights.h"

struct nano_gguf_writer {
    FILE *file; /* NULL: nothing is open */
    uint64_t position;
    int error; /* errno of the first failure; 0 as long as all is well */
    char *path;
    char *temporary; /* NULL: `path` itself is written */
    size_t alignment;
    const struct nano_tensor *tensors; /* borrowed until the end; their bytes are not looked at */
    size_t num_tensors;
    size_t next;   /* the first tensor that no byte was written of */
    uint64_t left; /* bytes that are missing of the one before it */
};

/* Creates the file and writes everything that comes before the tensors' bytes. Keys that begin with
 * "split." are left out: the file is one. `writer` is the caller's storage; on failure nothing is
 * left in it. */
enum nano_status nano_gguf_writer_open(struct nano_gguf_writer *writer, const char *path,
                                       const struct nano_meta *metadata, size_t num_metadata,
                                       const struct nano_tensor *tensors, size_t num_tensors,
                                       struct nano_error *err);

/* The next bytes of the tensors; one call's bytes may be of one tensor only. */
enum nano_status nano_gguf_writer_append(struct nano_gguf_writer *writer, const void *bytes,
                                         size_t num_bytes, struct nano_error *err);

/* Completes the file once every byte was appended. Whatever it returns, the writer is closed. */
enum nano_status nano_gguf_writer_finish(struct nano_gguf_writer *writer, struct nano_error *err);

/* Removes what was written. Fine on a zeroed or closed writer. */
void nano_gguf_writer_discard(struct nano_gguf_writer *writer);

#endif
