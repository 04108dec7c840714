/* safetensors: one file's header, checked, as a list of tensors.
 *
 *   8 bytes: length N of the header │ N bytes of JSON │ the tensors' bytes, without gaps
 *   {"NAME": {"dtype": "F32", "shape": [rows, cols], "data_offsets": [begin, end]}, …}
 *
 * Format: https://github.com/huggingface/safetensors. "__metadata__" says nothing that is needed.
 */
#ifndef NANO_FORMAT_SAFETENSORS_H
#define NANO_FORMAT_SAFETENSORS_H

#include "format/weights.h"

struct nano_safetensor {
    struct nano_string name;
    enum nano_stored_type type;
    const char *dtype; /* as in the file, static */
    int num_dims;
    const int64_t *dims;       /* the outermost first, none negative */
    const unsigned char *data; /* inside the file, at any alignment */
    size_t num_bytes;
    const char *path; /* borrowed, for messages */
};

/* Reads the header of a file in memory. The list and the names are in the arena, ordered by data;
 * messages begin with the path. */
enum nano_status nano_safetensors_read(struct nano_safetensor **out, size_t *count,
                                       const void *file, size_t num_bytes, const char *path,
                                       struct nano_arena *arena, struct nano_error *err);

#endif
