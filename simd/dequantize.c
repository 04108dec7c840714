/* From the formats that a file stores to f32. */
#include "simd/dequantize.h"

#include <string.h>

#include "simd/half.h"
#include "simd/ref/ref.h"

/* Values are converted in groups of a fixed size, without branches: compilers make vectors of that.
 */
enum { GROUP = 16 };

/* The bits of nano_f16_to_f32. Powers of two are exact, and so subnormals need no case. */
static inline float widen_f16(uint16_t h)
{
    const uint32_t magnitude = h & 0x7FFF;
    uint32_t bits = nano_f32_bits(nano_f32_from_bits(magnitude << 13) * 0x1p112f);
    bits |= magnitude >= 0x7C00 ? 0x7F800000 : 0;
    bits |= magnitude > 0x7C00 ? 0x400000 : 0;
    return nano_f32_from_bits(bits | (uint32_t)(h & 0x8000) << 16);
}

static inline float widen_bf16(uint16_t h)
{
    return nano_f32_from_bits((uint32_t)h << 16);
}

#define WIDEN(name)                                                              \
    static void name##_values(float *dst, const uint8_t *src, int64_t count)     \
    {                                                                            \
        int64_t i = 0;                                                           \
        for (; i + GROUP <= count; i += GROUP) {                                 \
            uint16_t h[GROUP];                                                   \
            for (int k = 0; k < GROUP; k++)                                      \
                h[k] = (uint16_t)(src[2 * (i + k)] | src[2 * (i + k) + 1] << 8); \
            for (int k = 0; k < GROUP; k++)                                      \
                dst[i + k] = name(h[k]);                                         \
        }                                                                        \
        for (; i < count; i++)                                                   \
            dst[i] = name(nano_load_u16(src + 2 * i));                           \
    }
WIDEN(widen_f16)
WIDEN(widen_bf16)
#undef WIDEN

void nano_dequantize_rows(enum nano_format format, const void *src, float *dst, int64_t rows,
                          int64_t cols)
{
    static void (*const get_row[NANO_NUM_FORMATS])(NANO_GET_ROW_PARAMS) = {
#define NANO_FORMAT(NAME, name, gguf_id, length, bytes, activation) \
    [NANO_FORMAT_##NAME] = nano_get_row_##name##_ref,
#include "simd/quant.def"
#undef NANO_FORMAT
    };
    if (format == NANO_FORMAT_F16) {
        widen_f16_values(dst, src, rows * cols);
        return;
    }
    if (format == NANO_FORMAT_BF16) {
        widen_bf16_values(dst, src, rows * cols);
        return;
    }
    for (int64_t row = 0; row < rows; row++)
        get_row[format](dst + row * cols, src, rows, cols, row);
}
