/* Printing of metadata values. */
#include "engine/meta_print.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define ELLIPSIS "\xE2\x80\xA6"
#define MAX_ELEMENTS 8
#define MAX_ELEMENT_BYTES 24 /* of a string in an array */

/* A bounded line; room for the ellipsis and the final zero is always kept. */
struct line {
    char *out;
    size_t num_bytes, capacity;
    bool cut;
};

static void append(struct line *line, const char *bytes, size_t num_bytes)
{
    if (line->cut)
        return;
    if (num_bytes > line->capacity - line->num_bytes) {
        line->cut = true;
        return;
    }
    memcpy(line->out + line->num_bytes, bytes, num_bytes);
    line->num_bytes += num_bytes;
}

static void append_string(struct line *line, struct nano_string string, size_t max_bytes)
{
    size_t i = 0;
    while (i < string.num_bytes && i < max_bytes && !line->cut) {
        uint32_t c;
        int length = nano_utf8_decode(string.bytes + i, string.num_bytes - i, &c);
        if (length > 0 && c >= 32 && c != 127 && !(c >= 0x80 && c < 0xA0)) {
            append(line, string.bytes + i, (size_t)length);
        } else {
            char escaped[8];
            int n = length > 0 && c == '\n' ? snprintf(escaped, sizeof escaped, "\\n")
                                            : snprintf(escaped, sizeof escaped, "\\x%02x",
                                                       (unsigned char)string.bytes[i]);
            append(line, escaped, (size_t)n);
            length = 1;
        }
        i += (size_t)length;
    }
    if (i < string.num_bytes)
        append(line, ELLIPSIS, strlen(ELLIPSIS));
}

/* The shortest decimal that reads back as the same number. */
static void append_float(struct line *line, double value, bool is_f32)
{
    char text[40];
    int length = 0;
    for (int digits = 6; digits <= 17; digits++) {
        length = snprintf(text, sizeof text, "%.*g", digits, value);
        double back = strtod(text, NULL);
        if (back == value || (is_f32 && (float)back == (float)value))
            break;
    }
    append(line, text, (size_t)length);
}

static bool is_float(enum nano_meta_type type)
{
    return type == NANO_META_F32 || type == NANO_META_F64;
}

static void append_int(struct line *line, enum nano_meta_type type, int64_t value)
{
    char text[32];
    int length;
    if (type == NANO_META_BOOL)
        length = snprintf(text, sizeof text, "%s", value ? "true" : "false");
    else if (type == NANO_META_U64)
        length = snprintf(text, sizeof text, "%" PRIu64, (uint64_t)value);
    else
        length = snprintf(text, sizeof text, "%" PRId64, value);
    append(line, text, (size_t)length);
}

static void append_array(struct line *line, const struct nano_meta *meta)
{
    append(line, "[", 1);
    for (size_t i = 0; i < meta->num_elements; i++) {
        if (i > 0)
            append(line, ", ", 2);
        if (i == MAX_ELEMENTS) {
            append(line, ELLIPSIS, strlen(ELLIPSIS));
            break;
        }
        if (meta->element_type == NANO_META_STRING) {
            append(line, "\"", 1);
            append_string(line, meta->strings[i], MAX_ELEMENT_BYTES);
            append(line, "\"", 1);
        } else if (is_float(meta->element_type)) {
            append_float(line, nano_meta_array_float(meta, i), meta->element_type == NANO_META_F32);
        } else {
            append_int(line, meta->element_type, nano_meta_array_int(meta, i));
        }
    }
    append(line, "]", 1);
}

void nano_meta_print_value(const struct nano_meta *meta, char *out, size_t out_bytes)
{
    struct line line = {out, 0, out_bytes - strlen(ELLIPSIS) - 1, false};
    switch (meta->type) {
    case NANO_META_ARRAY:
        append_array(&line, meta);
        break;
    case NANO_META_STRING:
        append_string(&line, meta->value.string, SIZE_MAX);
        break;
    case NANO_META_F32:
    case NANO_META_F64:
        append_float(&line, meta->value.f, meta->type == NANO_META_F32);
        break;
    case NANO_META_I8:
    case NANO_META_I16:
    case NANO_META_I32:
    case NANO_META_I64:
        append_int(&line, meta->type, meta->value.i);
        break;
    default:
        append_int(&line, meta->type, (int64_t)meta->value.u);
        break;
    }
    if (line.cut) {
        memcpy(out + line.num_bytes, ELLIPSIS, strlen(ELLIPSIS));
        line.num_bytes += strlen(ELLIPSIS);
    }
    out[line.num_bytes] = '\0';
}

static const char *type_name(enum nano_meta_type type)
{
    static const char *const names[] = {
        [NANO_META_U8] = "u8",   [NANO_META_I8] = "i8",       [NANO_META_U16] = "u16",
        [NANO_META_I16] = "i16", [NANO_META_U32] = "u32",     [NANO_META_I32] = "i32",
        [NANO_META_F32] = "f32", [NANO_META_BOOL] = "bool",   [NANO_META_STRING] = "string",
        [NANO_META_U64] = "u64", [NANO_META_ARRAY] = "array", [NANO_META_I64] = "i64",
        [NANO_META_F64] = "f64",
    };
    return names[type];
}

void nano_meta_print_type(const struct nano_meta *meta, char *out, size_t out_bytes)
{
    if (meta->type == NANO_META_ARRAY)
        snprintf(out, out_bytes, "%s[%zu]", type_name(meta->element_type), meta->num_elements);
    else
        snprintf(out, out_bytes, "%s", type_name(meta->type));
}
