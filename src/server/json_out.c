/* JSON out. */
#include "server/json_out.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"

void nano_json_deinit(struct nano_json_out *out)
{
    nano_mem_free(out->data);
    *out = (struct nano_json_out){0};
}

void nano_json_reset(struct nano_json_out *out)
{
    out->num_bytes = 0;
}

/* Room for so many bytes more. */
static bool reserve(struct nano_json_out *out, size_t num_bytes)
{
    if (out->failed || num_bytes > SIZE_MAX / 2 - out->num_bytes) {
        out->failed = true;
        return false;
    }
    if (out->num_bytes + num_bytes <= out->capacity)
        return true;
    void *data = out->data;
    if (!nano_mem_grow(&data, &out->capacity, out->num_bytes + num_bytes, 1)) {
        out->failed = true;
        return false;
    }
    out->data = data;
    return true;
}

void nano_json_raw(struct nano_json_out *out, const char *json, size_t num_bytes)
{
    if (num_bytes == 0 || !reserve(out, num_bytes))
        return;
    memcpy(out->data + out->num_bytes, json, num_bytes);
    out->num_bytes += num_bytes;
}

void nano_json_printf(struct nano_json_out *out, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    int length = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (length > 0)
        nano_json_raw(out, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
}

void nano_json_append(struct nano_json_out *out, const struct nano_json_out *piece)
{
    out->failed |= piece->failed;
    nano_json_raw(out, piece->data, piece->num_bytes);
}

static void escape_one(struct nano_json_out *out, unsigned char c)
{
    static const char names[] = "btn?fr"; /* of the bytes from 8 on */
    char escape[8];
    if (c == '"' || c == '\\')
        snprintf(escape, sizeof escape, "\\%c", c);
    else if (c >= 8 && c <= 13 && c != 11)
        snprintf(escape, sizeof escape, "\\%c", names[c - 8]);
    else
        snprintf(escape, sizeof escape, "\\u%04x", c);
    nano_json_raw(out, escape, strlen(escape));
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

void nano_json_escaped(struct nano_json_out *out, const char *text, size_t num_bytes)
{
    size_t begin = 0; /* of what can be copied as it is */
    if (num_bytes == 0)
        return; /* the text may be NULL */
    for (size_t i = 0; i < num_bytes;) {
        unsigned char c = (unsigned char)text[i];
        uint32_t codepoint;
        int length = is_plain(c) ? 1
                     : c >= 0x80 ? nano_utf8_decode(text + i, num_bytes - i, &codepoint)
                                 : 0;
        if (length > 0) {
            i += (size_t)length;
            continue;
        }
        nano_json_raw(out, text + begin, i - begin);
        if (c >= 0x80)
            NANO_JSON_LIT(out, NANO_UTF8_REPLACEMENT);
        else
            escape_one(out, c);
        begin = ++i;
    }
    nano_json_raw(out, text + begin, num_bytes - begin);
}

void nano_json_string(struct nano_json_out *out, const char *text, size_t num_bytes)
{
    NANO_JSON_LIT(out, "\"");
    nano_json_escaped(out, text, num_bytes);
    NANO_JSON_LIT(out, "\"");
}

void nano_json_cstring(struct nano_json_out *out, const char *text)
{
    if (text)
        nano_json_string(out, text, strlen(text));
    else
        NANO_JSON_LIT(out, "null");
}

void nano_json_int(struct nano_json_out *out, int64_t value)
{
    char digits[24];
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0)
        digits[--at] = '-';
    nano_json_raw(out, digits + at, sizeof digits - at);
}

void nano_json_ints(struct nano_json_out *out, const int32_t *values, size_t num)
{
    NANO_JSON_LIT(out, "[");
    for (size_t i = 0; i < num; i++) {
        if (i > 0)
            NANO_JSON_LIT(out, ",");
        nano_json_int(out, values[i]);
    }
    NANO_JSON_LIT(out, "]");
}

void nano_json_float(struct nano_json_out *out, double value)
{
    nano_json_printf(out, "%.9g", value);
}
