/* ONNX builder: files for tests, field by field. A file may be as wrong as a test wants. */
#ifndef TESTS_ONNX_BUILDER_H
#define TESTS_ONNX_BUILDER_H

#include <stddef.h>
#include <stdint.h>

struct onnx_bytes {
    unsigned char data[1 << 16];
    size_t count;
};

void onnx_varint(struct onnx_bytes *out, uint64_t value);

/* A field of a number, of text, and of what was built elsewhere. */
void onnx_number(struct onnx_bytes *out, int field, uint64_t value);
void onnx_text(struct onnx_bytes *out, int field, const char *text);
void onnx_message(struct onnx_bytes *out, int field, const struct onnx_bytes *content);

/* An input or output of a graph: `shape` is a list such as "batch,4,past,32". */
void onnx_value(struct onnx_bytes *graph, int field, const char *name, int type, const char *shape);

/* A whole file of a graph. */
void onnx_model(struct onnx_bytes *out, const struct onnx_bytes *graph);

enum { ONNX_INPUT = 11, ONNX_OUTPUT = 12, ONNX_INITIALIZER = 5, ONNX_NODE = 1 };

#endif
