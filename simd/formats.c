/* The traits table, expanded from quant.def, and its look-ups. */
#include "simd/formats.h"

#include <assert.h>

#include "simd/blocks.h"

static const struct nano_format_traits traits[NANO_NUM_FORMATS] = {
#define NANO_FORMAT(NAME, name, gguf_id, length, bytes, activation) \
    [NANO_FORMAT_##NAME] = {#NAME, #name, gguf_id, length, bytes, NANO_ACTIVATION_##activation},
#include "simd/quant.def"
#undef NANO_FORMAT
};

#define NANO_FORMAT(NAME, name, gguf_id, length, bytes, activation) \
    _Static_assert(sizeof(struct nano_block_##name) == (bytes), #NAME " differs from quant.def");
#include "simd/quant.def"
#undef NANO_FORMAT

const int8_t nano_iq4_values[16] = {NANO_IQ4_VALUES};

const int8_t nano_fp4_values[16] = {NANO_FP4_VALUES};

const struct nano_format_traits *nano_format_traits(enum nano_format format)
{
    assert((unsigned)format < NANO_NUM_FORMATS);
    return &traits[format];
}

enum nano_format nano_format_from_gguf_id(uint32_t gguf_id)
{
    int i = 0;
    while (i < NANO_NUM_FORMATS && traits[i].gguf_id != gguf_id)
        i++;
    return (enum nano_format)i;
}

/* Locale-free: format names are ASCII. */
static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static int equals_lower(const char *name, const char *lower_name)
{
    while (*name && lower(*name) == *lower_name) {
        name++;
        lower_name++;
    }
    return *name == *lower_name;
}

enum nano_format nano_format_from_name(const char *name)
{
    int i = 0;
    while (i < NANO_NUM_FORMATS && !equals_lower(name, traits[i].lower_name))
        i++;
    return (enum nano_format)i;
}

size_t nano_format_row_bytes(enum nano_format format, int64_t cols)
{
    const struct nano_format_traits *t = nano_format_traits(format);
    assert(cols >= 0 && cols % t->block_length == 0);
    return (size_t)(cols / t->block_length) * (size_t)t->block_bytes;
}
