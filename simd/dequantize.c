/* From the formats that a file stores to f32. */
#include "simd/dequantize.h"

#include "simd/ref/ref.h"

void nano_dequantize_rows(enum nano_format format, const void *src, float *dst, int64_t rows,
                          int64_t cols)
{
    static void (*const get_row[NANO_NUM_FORMATS])(NANO_GET_ROW_PARAMS) = {
#define NANO_FORMAT(NAME, name, gguf_id, length, bytes, activation) \
    [NANO_FORMAT_##NAME] = nano_get_row_##name##_ref,
#include "simd/quant.def"
#undef NANO_FORMAT
    };
    for (int64_t row = 0; row < rows; row++)
        get_row[format](dst + row * cols, src, rows, cols, row);
}
