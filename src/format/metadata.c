/* Weights: typed look-ups of metadata (declared in weights.h). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "format/little_endian.h"
#include "format/weights.h"

static const char *const type_names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                         "bool", "string", "array", "u64", "i64", "f64"};
static const unsigned char type_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

const char *nano_meta_type_name(enum nano_meta_type type)
{
    return (unsigned)type < sizeof type_names / sizeof *type_names ? type_names[type] : "unknown";
}

size_t nano_meta_type_bytes(enum nano_meta_type type)
{
    return (unsigned)type < sizeof type_bytes ? type_bytes[type] : 0;
}

const struct nano_meta *nano_weights_meta(const struct nano_weights *weights, const char *key)
{
    size_t num_bytes = strlen(key);
    for (size_t i = 0; i < weights->num_metadata; i++) {
        const struct nano_string *other = &weights->metadata[i].key;
        if (other->num_bytes == num_bytes && memcmp(other->bytes, key, num_bytes) == 0)
            return &weights->metadata[i];
    }
    return NULL;
}

/* What a message says about a value, e.g. "u32 7", "string 'llama'" or "array of 3 strings". */
static void describe(char *out, size_t out_bytes, const struct nano_meta *meta)
{
    char text[41];
    size_t length;
    const char *type = nano_meta_type_name(meta->type);
    switch (meta->type) {
    case NANO_META_U8:
    case NANO_META_U16:
    case NANO_META_U32:
    case NANO_META_U64:
        snprintf(out, out_bytes, "%s %" PRIu64, type, meta->value.u);
        return;
    case NANO_META_I8:
    case NANO_META_I16:
    case NANO_META_I32:
    case NANO_META_I64:
        snprintf(out, out_bytes, "%s %" PRId64, type, meta->value.i);
        return;
    case NANO_META_F32:
    case NANO_META_F64:
        snprintf(out, out_bytes, "%s %g", type, meta->value.f);
        return;
    case NANO_META_BOOL:
        snprintf(out, out_bytes, "%s %s", type, meta->value.u ? "true" : "false");
        return;
    case NANO_META_STRING:
        length = meta->value.string.num_bytes < sizeof text - 1 ? meta->value.string.num_bytes
                                                                : sizeof text - 1;
        for (size_t i = 0; i < length; i++) {
            unsigned char c = (unsigned char)meta->value.string.bytes[i];
            text[i] = c < 0x20 || c > 0x7E ? '?' : (char)c;
        }
        text[length] = '\0';
        snprintf(out, out_bytes, "%s '%s'", type, text);
        return;
    case NANO_META_ARRAY:
        snprintf(out, out_bytes, "array of %zu %s", meta->num_elements,
                 nano_meta_type_name(meta->element_type));
        return;
    }
    snprintf(out, out_bytes, "%s", type);
}

static enum nano_status wrong_value(const struct nano_weights *weights,
                                    const struct nano_meta *meta, const char *expected,
                                    struct nano_error *err)
{
    char found[96];
    describe(found, sizeof found, meta);
    return nano_error_set(err, NANO_ERR_FORMAT, "%s: key '%.200s' is %s, expected %s",
                          nano_weights_label(weights), meta->key.bytes, found, expected);
}

enum nano_status nano_meta_get_int(const struct nano_weights *weights, const char *key, int64_t min,
                                   int64_t max, int64_t *out, struct nano_error *err)
{
    const struct nano_meta *meta = nano_weights_meta(weights, key);
    if (!meta)
        return NANO_OK;
    bool fits;
    int64_t value = 0;
    switch (meta->type) {
    case NANO_META_U8:
    case NANO_META_U16:
    case NANO_META_U32:
    case NANO_META_U64:
        fits = meta->value.u <= INT64_MAX;
        value = fits ? (int64_t)meta->value.u : 0;
        break;
    case NANO_META_I8:
    case NANO_META_I16:
    case NANO_META_I32:
    case NANO_META_I64:
        fits = true;
        value = meta->value.i;
        break;
    default:
        fits = false;
    }
    if (!fits || value < min || value > max) {
        char expected[80];
        snprintf(expected, sizeof expected, "an integer from %" PRId64 " to %" PRId64, min, max);
        return wrong_value(weights, meta, expected, err);
    }
    *out = value;
    return NANO_OK;
}

enum nano_status nano_meta_get_float(const struct nano_weights *weights, const char *key,
                                     double *out, struct nano_error *err)
{
    const struct nano_meta *meta = nano_weights_meta(weights, key);
    if (!meta)
        return NANO_OK;
    if (meta->type != NANO_META_F32 && meta->type != NANO_META_F64)
        return wrong_value(weights, meta, "a floating-point number", err);
    *out = meta->value.f;
    return NANO_OK;
}

enum nano_status nano_meta_get_bool(const struct nano_weights *weights, const char *key, bool *out,
                                    struct nano_error *err)
{
    const struct nano_meta *meta = nano_weights_meta(weights, key);
    if (!meta)
        return NANO_OK;
    if (meta->type != NANO_META_BOOL)
        return wrong_value(weights, meta, "a bool", err);
    *out = meta->value.u != 0;
    return NANO_OK;
}

enum nano_status nano_meta_get_string(const struct nano_weights *weights, const char *key,
                                      struct nano_string *out, struct nano_error *err)
{
    const struct nano_meta *meta = nano_weights_meta(weights, key);
    if (!meta)
        return NANO_OK;
    if (meta->type != NANO_META_STRING)
        return wrong_value(weights, meta, "a string", err);
    *out = meta->value.string;
    return NANO_OK;
}

static const unsigned char *element(const struct nano_meta *meta, size_t i)
{
    return (const unsigned char *)meta->elements + i * nano_meta_type_bytes(meta->element_type);
}

int64_t nano_meta_array_int(const struct nano_meta *meta, size_t i)
{
    switch (meta->element_type) {
    case NANO_META_U8:
    case NANO_META_U16:
    case NANO_META_U32:
    case NANO_META_U64:
    case NANO_META_BOOL: {
        uint64_t value = nano_le_load(element(meta, i), nano_meta_type_bytes(meta->element_type));
        return value <= INT64_MAX ? (int64_t)value : INT64_MAX;
    }
    case NANO_META_I8:
    case NANO_META_I16:
    case NANO_META_I32:
    case NANO_META_I64:
        return nano_le_load_signed(element(meta, i), nano_meta_type_bytes(meta->element_type));
    case NANO_META_F32:
    case NANO_META_F64: {
        double value = nano_meta_array_float(meta, i);
        return value > -9e18 && value < 9e18 ? (int64_t)value : 0;
    }
    default:
        return 0;
    }
}

double nano_meta_array_float(const struct nano_meta *meta, size_t i)
{
    switch (meta->element_type) {
    case NANO_META_F32:
        return (double)nano_le_load_f32(element(meta, i));
    case NANO_META_F64:
        return nano_le_load_f64(element(meta, i));
    default:
        return (double)nano_meta_array_int(meta, i);
    }
}
