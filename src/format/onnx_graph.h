/* ONNX graphs: what a file says about itself, read without ONNX Runtime.
 *
 * Only the names, types and shapes at the graph's edge, the size of the weights and which of some
 * operators occur are taken; the nodes stay the runtime's business. Format: protobuf, as
 * https://github.com/onnx/onnx/blob/main/onnx/onnx.proto says. */
#ifndef NANO_FORMAT_ONNX_GRAPH_H
#define NANO_FORMAT_ONNX_GRAPH_H

#include "format/weights.h"

#define NANO_ONNX_MAX_DIMS 6
#define NANO_ONNX_NUM_TYPES 32

/* TensorProto.DataType; other numbers occur too. */
enum nano_onnx_type {
    NANO_ONNX_FLOAT = 1,
    NANO_ONNX_UINT8 = 2,
    NANO_ONNX_INT8 = 3,
    NANO_ONNX_INT32 = 6,
    NANO_ONNX_INT64 = 7,
    NANO_ONNX_BOOL = 9,
    NANO_ONNX_FLOAT16 = 10,
    NANO_ONNX_BFLOAT16 = 16
};

/* "FLOAT16" …; "unknown" for other numbers. */
const char *nano_onnx_type_name(int type);

/* Bits of an element; 0 for strings and unknown types. */
int nano_onnx_type_bits(int type);

/* An input or output. */
struct nano_onnx_value {
    const char *name;
    int type;
    int num_dims; /* -1: no shape is given, or more dims than NANO_ONNX_MAX_DIMS */
    int64_t dims[NANO_ONNX_MAX_DIMS]; /* -1: known only when it runs */
};

/* Names of a decoder's inputs and outputs; "%d" stands for the layer. What a folder's
 * genai_config.json does not say are Optimum's names, or onnxruntime-genai's where Optimum has
 * none. */
struct nano_onnx_names {
    const char *input_ids, *attention_mask, *position_ids, *logits;
    const char *past_key, *past_value, *present_key, *present_value;
    const char *past, *present; /* keys and values in one tensor */
};

struct nano_onnx_graph {
    const char *path;
    struct nano_onnx_value *inputs, *outputs;
    int num_inputs, num_outputs;
    uint64_t num_params, weight_bytes; /* of all initializers, also those in files beside it */
    uint64_t type_bytes[NANO_ONNX_NUM_TYPES]; /* of them, by type; index 0: the others */
    bool has_group_query_attention;           /* com.microsoft's: rows of past begin at column 0 */

    /* Of the folder: */
    struct nano_onnx_names names;
    int64_t vocab_size, context_length; /* 0: not said */
    int64_t num_heads, num_kv_heads, head_dim;
};

/* Reads a mapped file. Strings are copied to the arena; names are the defaults. */
enum nano_status nano_onnx_graph_read(struct nano_onnx_graph *out, const struct nano_os_file *file,
                                      const char *path, struct nano_arena *arena,
                                      struct nano_error *err);

#endif
