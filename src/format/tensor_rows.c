/* Reading a tensor's rows, whatever they are made from (declared in weights.h). */
#include <string.h>

#include "format/weights.h"
#include "simd/dequantize.h"

void nano_tensor_read_rows(const struct nano_tensor *tensor, int64_t row_begin, int64_t row_end,
                           void *dst)
{
    const size_t row_bytes = nano_format_row_bytes(tensor->format, tensor->dims[0]);
    if (row_begin < row_end)
        memcpy(dst, (const char *)tensor->data + (size_t)row_begin * row_bytes,
               (size_t)(row_end - row_begin) * row_bytes);
}

void nano_tensor_read_rows_f32(const struct nano_tensor *tensor, int64_t row_begin, int64_t row_end,
                               float *dst)
{
    const size_t row_bytes = nano_format_row_bytes(tensor->format, tensor->dims[0]);
    nano_dequantize_rows(tensor->format, (const char *)tensor->data + (size_t)row_begin * row_bytes,
                         dst, row_end - row_begin, tensor->dims[0]);
}
