#include "tests/onnx_builder.h"

#include <stdlib.h>
#include <string.h>

static void put(struct onnx_bytes *out, const void *bytes, size_t count)
{
    if (out->count + count > sizeof out->data)
        abort();
    memcpy(out->data + out->count, bytes, count);
    out->count += count;
}

void onnx_varint(struct onnx_bytes *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        put(out, &(unsigned char){(unsigned char)(value | 0x80)}, 1);
    put(out, &(unsigned char){(unsigned char)value}, 1);
}

void onnx_number(struct onnx_bytes *out, int field, uint64_t value)
{
    onnx_varint(out, (uint64_t)field << 3);
    onnx_varint(out, value);
}

static void put_bytes(struct onnx_bytes *out, int field, const void *bytes, size_t count)
{
    onnx_varint(out, (uint64_t)field << 3 | 2);
    onnx_varint(out, count);
    put(out, bytes, count);
}

void onnx_text(struct onnx_bytes *out, int field, const char *text)
{
    put_bytes(out, field, text, strlen(text));
}

void onnx_message(struct onnx_bytes *out, int field, const struct onnx_bytes *content)
{
    put_bytes(out, field, content->data, content->count);
}

void onnx_value(struct onnx_bytes *graph, int field, const char *name, int type, const char *shape)
{
    struct onnx_bytes dims = {.count = 0}, tensor = {.count = 0}, wrapped = {.count = 0},
                      value = {.count = 0};
    for (const char *s = shape; *s;) {
        const size_t length = strcspn(s, ",");
        struct onnx_bytes dim = {.count = 0};
        if (*s >= '0' && *s <= '9')
            onnx_number(&dim, 1, strtoull(s, NULL, 10));
        else
            put_bytes(&dim, 2, s, length);
        onnx_message(&dims, 1, &dim);
        s += length + (s[length] == ',');
    }
    onnx_number(&tensor, 1, (uint64_t)type);
    onnx_message(&tensor, 2, &dims);
    onnx_message(&wrapped, 1, &tensor);
    onnx_text(&value, 1, name);
    onnx_message(&value, 2, &wrapped);
    onnx_message(graph, field, &value);
}

void onnx_model(struct onnx_bytes *out, const struct onnx_bytes *graph)
{
    out->count = 0;
    onnx_number(out, 1, 8);
    onnx_text(out, 2, "tests");
    onnx_message(out, 7, graph);
}
