/* Reading a tensor's rows, whatever they are made from (declared in weights.h). */
#include <math.h>
#include <string.h>

#include "format/little_endian.h"
#include "format/weights.h"
#include "simd/dequantize.h"
#include "simd/half.h"
#include "simd/quantize.h"

#define PIECE_COLS 1024 /* quantised at a time: whole blocks of every format */
#define BLOCK_COLS 256  /* the same of as few columns as can be */

static float f8_e4m3_to_f32(uint8_t bits)
{
    return (bits & 0x7F) == 0x7F ? NAN : nano_e4m3_to_f32(bits);
}

static int64_t stored_row(const struct nano_tensor_source *source, int64_t row)
{
    const int64_t n = source->pair_rows;
    if (n == 0)
        return row;
    const int64_t i = row % n;
    return row - i + i / 2 + i % 2 * (n / 2);
}

/* Element [row, c] as stored, in bf16: what models of this kind are computed with. */
static uint16_t f8_weight(const struct nano_tensor_source *source, int64_t row, int64_t cols,
                          int64_t c)
{
    const float *scales = source->scales + row / source->block_rows * source->scale_cols;
    return nano_f32_to_bf16(f8_e4m3_to_f32(source->data[(size_t)(row * cols + c)]) *
                            nano_le_load_f32(scales + c / source->block_cols));
}

static void read_piece_f32(const struct nano_tensor *tensor, int64_t row, int64_t first, int64_t n,
                           float *dst);

static void quantize_row(const struct nano_tensor *tensor, int64_t row, unsigned char *dst)
{
    float piece[PIECE_COLS];
    for (int64_t first = 0; first < tensor->dims[0]; first += PIECE_COLS) {
        const int64_t left = tensor->dims[0] - first, n = left < PIECE_COLS ? left : PIECE_COLS;
        read_piece_f32(tensor->source->quantized, row, first, n, piece);
        nano_quantize_rows(tensor->format, piece,
                           dst + nano_format_row_bytes(tensor->format, first), 1, n, NULL);
    }
}

/* A row that is in memory in the tensor's format; NULL when it is made. */
static const unsigned char *row_in_memory(const struct nano_tensor *tensor, int64_t row)
{
    const size_t row_bytes = nano_format_row_bytes(tensor->format, tensor->dims[0]);
    const struct nano_tensor_source *source = tensor->source;
    if (tensor->data)
        return (const unsigned char *)tensor->data + (size_t)row * row_bytes;
    if (source->quantized || source->part_of || source->type == NANO_STORED_F8_E4M3)
        return NULL;
    return source->data + (size_t)stored_row(source, row) * row_bytes;
}

/* The row of the tensor that a made one's row is part of; transposed, of its column 0. */
static int64_t part_row(const struct nano_tensor *tensor, int64_t row)
{
    const struct nano_tensor_source *source = tensor->source;
    const int64_t matrix = row / tensor->dims[1];
    return matrix * source->part_rows + source->first_row +
           (source->transposed ? 0 : row % tensor->dims[1]);
}

static void store_float(enum nano_format format, void *dst, float x)
{
    if (format == NANO_FORMAT_F32)
        memcpy(dst, &x, sizeof x);
    else
        nano_le_store(dst, format == NANO_FORMAT_F16 ? nano_f32_to_f16(x) : nano_f32_to_bf16(x), 2);
}

/* Rows [begin, end) of one matrix: of each row that they are columns of, a block at a time. */
static void transpose_rows(const struct nano_tensor *tensor, int64_t begin, int64_t end,
                           unsigned char *dst)
{
    const struct nano_tensor *from = tensor->source->part_of;
    const int64_t rows = tensor->dims[1], first_column = begin % rows, count = end - begin;
    const size_t bytes = nano_format_row_bytes(tensor->format, 1);
    for (int64_t c = 0; c < tensor->dims[0]; c++) {
        float piece[BLOCK_COLS];
        for (int64_t i = 0; i < count; i++) {
            const int64_t column = first_column + i, at = column % BLOCK_COLS,
                          left = rows - (column - at);
            if (i == 0 || at == 0)
                read_piece_f32(from, part_row(tensor, begin) + c, column - at,
                               left < BLOCK_COLS ? left : BLOCK_COLS, piece);
            store_float(tensor->format, dst + (size_t)(i * tensor->dims[0] + c) * bytes, piece[at]);
        }
    }
}

/* Columns [first, first + n) of a row, where n is at most PIECE_COLS and both are whole blocks. */
static void read_piece_f32(const struct nano_tensor *tensor, int64_t row, int64_t first, int64_t n,
                           float *dst)
{
    const unsigned char *stored = row_in_memory(tensor, row);
    const struct nano_tensor_source *source = tensor->source;
    if (stored) {
        nano_dequantize_rows(tensor->format, stored + nano_format_row_bytes(tensor->format, first),
                             dst, 1, n);
        return;
    }
    if (source->quantized) {
        unsigned char blocks[PIECE_COLS * sizeof(float)];
        float piece[PIECE_COLS];
        read_piece_f32(source->quantized, row, first, n, piece);
        nano_quantize_rows(tensor->format, piece, blocks, 1, n, NULL);
        nano_dequantize_rows(tensor->format, blocks, dst, 1, n);
        return;
    }
    if (source->part_of && !source->transposed) {
        read_piece_f32(source->part_of, part_row(tensor, row), first, n, dst);
        return;
    }
    if (source->part_of) {
        float block[BLOCK_COLS];
        unsigned char rounded[sizeof(float)];
        const int64_t column = row % tensor->dims[1], at = column % BLOCK_COLS,
                      left = tensor->dims[1] - (column - at);
        for (int64_t c = 0; c < n; c++) {
            read_piece_f32(source->part_of, part_row(tensor, row) + first + c, column - at,
                           left < BLOCK_COLS ? left : BLOCK_COLS, block);
            store_float(tensor->format, rounded, block[at]);
            nano_dequantize_rows(tensor->format, rounded, dst + c, 1, 1);
        }
        return;
    }
    for (int64_t c = 0; c < n; c++)
        dst[c] = nano_bf16_to_f32(
            f8_weight(source, stored_row(source, row), tensor->dims[0], first + c));
}

size_t nano_tensor_stored_bytes(const struct nano_tensor *tensor)
{
    if (tensor->data)
        return tensor->num_bytes;
    const struct nano_tensor_source *source = tensor->source;
    return source->quantized ? nano_tensor_stored_bytes(source->quantized)
           : source->part_of ? nano_tensor_stored_bytes(source->part_of)
                             : source->num_bytes;
}

void nano_tensor_read_rows(const struct nano_tensor *tensor, int64_t row_begin, int64_t row_end,
                           void *dst)
{
    const size_t row_bytes = nano_format_row_bytes(tensor->format, tensor->dims[0]);
    if (tensor->data && row_begin < row_end)
        memcpy(dst, (const char *)tensor->data + (size_t)row_begin * row_bytes,
               (size_t)(row_end - row_begin) * row_bytes);
    if (tensor->data)
        return;
    const struct nano_tensor_source *source = tensor->source;
    unsigned char *out = dst;
    for (int64_t row = row_begin, end; source->part_of && source->transposed && row < row_end;
         out += (size_t)(end - row) * row_bytes, row = end) {
        const int64_t matrix_end = (row / tensor->dims[1] + 1) * tensor->dims[1];
        end = matrix_end < row_end ? matrix_end : row_end;
        transpose_rows(tensor, row, end, out);
    }
    if (source->part_of && source->transposed)
        return;
    for (int64_t row = row_begin; row < row_end; row++, out += row_bytes) {
        const unsigned char *stored = row_in_memory(tensor, row);
        if (source->part_of)
            nano_tensor_read_rows(source->part_of, part_row(tensor, row), part_row(tensor, row) + 1,
                                  out);
        else if (stored)
            memcpy(out, stored, row_bytes);
        else if (source->quantized)
            quantize_row(tensor, row, out);
        else
            for (int64_t c = 0; c < tensor->dims[0]; c++)
                nano_le_store(out + 2 * c,
                              f8_weight(source, stored_row(source, row), tensor->dims[0], c), 2);
    }
}

void nano_tensor_read_rows_f32(const struct nano_tensor *tensor, int64_t row_begin, int64_t row_end,
                               float *dst)
{
    const int64_t cols = tensor->dims[0];
    for (int64_t row = row_begin; row < row_end; row++) {
        for (int64_t first = 0; first < cols; first += PIECE_COLS)
            read_piece_f32(tensor, row, first,
                           cols - first < PIECE_COLS ? cols - first : PIECE_COLS,
                           dst + (row - row_begin) * cols + first);
    }
}
