/* Tensor formats: the enum and the traits that quant.def expands to. */
#ifndef NANO_SIMD_FORMATS_H
#define NANO_SIMD_FORMATS_H

#include <stddef.h>
#include <stdint.h>

enum nano_format {
#define NANO_FORMAT(NAME, name, gguf_id, length, bytes, activation) NANO_FORMAT_##NAME,
#include "simd/quant.def"
#undef NANO_FORMAT
    NANO_NUM_FORMATS
};

/* Formats of a linear's other operand, made once per linear.
 *   F32     as they are
 *   Q8_32   int8 in blocks of 32 with one scale each, rounded to f16 as Q8_0 has it
 *   Q8_256  int8 in blocks of 256 with one f32 scale each */
enum nano_activation {
    NANO_ACTIVATION_F32,
    NANO_ACTIVATION_Q8_32,
    NANO_ACTIVATION_Q8_256,
    NANO_NUM_ACTIVATIONS
};

struct nano_format_traits {
    const char *name;       /* "Q4_0" */
    const char *lower_name; /* "q4_0" */
    uint32_t gguf_id;
    int block_length;
    int block_bytes;
    enum nano_activation activation;
};

#ifdef __cplusplus
extern "C" {
#endif

const struct nano_format_traits *nano_format_traits(enum nano_format format);

/* NANO_NUM_FORMATS when there is none. The name is compared without regard to case. */
enum nano_format nano_format_from_gguf_id(uint32_t gguf_id);
enum nano_format nano_format_from_name(const char *name);

/* Bytes of a row of `cols` weights as stored in a file; cols is a multiple of the block length. */
size_t nano_format_row_bytes(enum nano_format format, int64_t cols);

#ifdef __cplusplus
}
#endif

#endif
