/* GGUF files: weights as one file (declared in gguf.h). */
#include "base/memory.h"
#include "format/gguf.h"
#include "format/gguf_writer.h"

#define PIECE_BYTES ((size_t)1 << 20)

/* Tensors whose bytes are made when read: as many rows at a time as a piece holds. */
static enum nano_status append_rows(struct nano_gguf_writer *writer,
                                    const struct nano_tensor *tensor, struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    const size_t row_bytes = nano_format_row_bytes(tensor->format, tensor->dims[0]);
    const int64_t rows = row_bytes ? (int64_t)(tensor->num_bytes / row_bytes) : 0;
    const int64_t rows_at_once =
        row_bytes && row_bytes < PIECE_BYTES ? (int64_t)(PIECE_BYTES / row_bytes) : 1;
    void *piece = nano_mem_alloc((size_t)rows_at_once, row_bytes);
    if (!piece)
        return nano_error_no_memory(err, "rows of a tensor", (size_t)rows_at_once * row_bytes);
    for (int64_t row = 0; row < rows; row += rows_at_once) {
        const int64_t end = row + rows_at_once < rows ? row + rows_at_once : rows;
        nano_tensor_read_rows(tensor, row, end, piece);
        NANO_TRY(nano_gguf_writer_append(writer, piece, (size_t)(end - row) * row_bytes, err));
    }
fail:
    nano_mem_free(piece);
    return status;
}

enum nano_status nano_gguf_save(const struct nano_weights *weights, const char *path,
                                struct nano_error *err)
{
    enum nano_status status;
    struct nano_gguf_writer writer = {0};
    NANO_TRY(nano_gguf_writer_open(&writer, path, weights->metadata, weights->num_metadata,
                                   weights->tensors, weights->num_tensors, err));
    for (size_t i = 0; i < weights->num_tensors; i++) {
        const struct nano_tensor *tensor = &weights->tensors[i];
        if (tensor->data)
            NANO_TRY(nano_gguf_writer_append(&writer, tensor->data, tensor->num_bytes, err));
        else
            NANO_TRY(append_rows(&writer, tensor, err));
    }
    return nano_gguf_writer_finish(&writer, err);
fail:
    nano_gguf_writer_discard(&writer);
    return status;
}
