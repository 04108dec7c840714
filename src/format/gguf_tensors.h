/* Tensor infos of one GGUF file: names, formats, shapes, and where in the file the bytes are. */
#ifndef NANO_FORMAT_GGUF_TENSORS_H
#define NANO_FORMAT_GGUF_TENSORS_H

#include "format/gguf_reader.h"

/* Reads `count` infos, after which the data begins at the next multiple of `alignment`. The tensors
 * are in the reader's arena; all of them lie inside the file and none overlaps another. */
enum nano_status nano_gguf_read_tensors(struct nano_gguf_reader *reader, uint64_t count,
                                        size_t alignment, struct nano_tensor **out,
                                        size_t *num_tensors);

#endif
