/* Reads the edge of an ONNX graph. */
#include "format/onnx_graph.h"

#include <string.h>

#include "format/little_endian.h"

#define MAX_DEPTH 8 /* of graphs in attributes of nodes */
#define MAX_VALUES 4096
#define MAX_WEIGHT_BYTES ((uint64_t)1 << 60)
#define MAX_ELEMENTS ((uint64_t)1 << 48)

/* Field numbers of onnx.proto. */
enum { MODEL_GRAPH = 7 };
enum { GRAPH_NODE = 1, GRAPH_INITIALIZER = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12 };
enum { NODE_OP_TYPE = 4, NODE_ATTRIBUTE = 5, ATTRIBUTE_TENSOR = 5, ATTRIBUTE_GRAPH = 6 };
enum { TENSOR_DIMS = 1, TENSOR_TYPE = 2, TENSOR_NAME = 8 };
enum { VALUE_NAME = 1, VALUE_TYPE = 2, TYPE_TENSOR = 1, TENSOR_ELEM_TYPE = 1, TENSOR_SHAPE = 2 };
enum { SHAPE_DIM = 1, DIM_VALUE = 1 };

static const struct {
    const char *name;
    int bits;
} types[] = {
    [1] = {"FLOAT", 32},   [2] = {"UINT8", 8},      [3] = {"INT8", 8},     [4] = {"UINT16", 16},
    [5] = {"INT16", 16},   [6] = {"INT32", 32},     [7] = {"INT64", 64},   [8] = {"STRING", 0},
    [9] = {"BOOL", 8},     [10] = {"FLOAT16", 16},  [11] = {"DOUBLE", 64}, [12] = {"UINT32", 32},
    [13] = {"UINT64", 64}, [16] = {"BFLOAT16", 16}, [17] = {"FP8E4M3", 8}, [18] = {"FP8E4M3UZ", 8},
    [19] = {"FP8E5M2", 8}, [20] = {"FP8E5M2UZ", 8}, [21] = {"UINT4", 4},   [22] = {"INT4", 4},
    [23] = {"FP4E2M1", 4},
};

const char *nano_onnx_type_name(int type)
{
    const bool known =
        type > 0 && type < (int)(sizeof types / sizeof *types) && types[type].name != NULL;
    return known ? types[type].name : "unknown";
}

int nano_onnx_type_bits(int type)
{
    return type > 0 && type < (int)(sizeof types / sizeof *types) ? types[type].bits : 0;
}

/* ---- protobuf ---- */

/* A message, read field by field. */
struct message {
    const unsigned char *at, *end;
    bool damaged;
};

struct field {
    int number;
    uint64_t value;         /* of a varint */
    struct message content; /* of a length-delimited field; else empty */
};

static uint64_t read_varint(struct message *m)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (m->at >= m->end)
            break;
        const unsigned char byte = *m->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return value;
    }
    m->damaged = true;
    return 0;
}

/* The next field; false at the end, or where the bytes are no message. */
static bool next_field(struct message *m, struct field *out)
{
    if (m->damaged || m->at >= m->end)
        return false;
    const uint64_t key = read_varint(m);
    uint64_t skipped = 0;
    *out = (struct field){.number = (int)(key >> 3 & 0x1fffffff)};
    switch (key & 7) {
    case 0:
        out->value = read_varint(m);
        break;
    case 1:
        skipped = 8;
        break;
    case 5:
        skipped = 4;
        break;
    case 2:
        skipped = read_varint(m);
        if (skipped <= (uint64_t)(m->end - m->at))
            out->content = (struct message){m->at, m->at + skipped, false};
        break;
    default:
        m->damaged = true;
    }
    if (skipped > (uint64_t)(m->end - m->at))
        m->damaged = true;
    if (m->damaged || out->number == 0) {
        m->damaged = true;
        return false;
    }
    m->at += skipped;
    return true;
}

/* ---- the graph ---- */

struct reader {
    struct nano_onnx_graph *graph;
    struct nano_arena *arena;
    struct nano_error *err;
    enum nano_status status; /* the first error */
};

static void fail(struct reader *r, const char *part)
{
    if (r->status == NANO_OK)
        r->status = nano_error_set(r->err, NANO_ERR_FORMAT,
                                   "%s: %s is damaged, or this is no ONNX "
                                   "file",
                                   r->graph->path, part);
}

static const char *copy_string(struct reader *r, const struct message *content)
{
    const char *copy = nano_arena_strdup(r->arena, (const char *)content->at,
                                         (size_t)(content->end - content->at));
    if (!copy && r->status == NANO_OK)
        r->status = nano_error_no_memory(r->err, "a name", (size_t)(content->end - content->at));
    return copy ? copy : "";
}

static bool is_text(const struct message *content, const char *text)
{
    const size_t length = strlen(text);
    return (size_t)(content->end - content->at) == length &&
           (length == 0 || memcmp(content->at, text, length) == 0);
}

static void read_dim(struct reader *r, struct message dim, struct nano_onnx_value *out)
{
    struct field f;
    int64_t value = -1;
    while (next_field(&dim, &f))
        if (f.number == DIM_VALUE)
            value = (int64_t)f.value;
    if (dim.damaged)
        fail(r, out->name);
    if (out->num_dims >= 0 && out->num_dims < NANO_ONNX_MAX_DIMS)
        out->dims[out->num_dims++] = value < 0 ? -1 : value;
    else
        out->num_dims = -1;
}

static void read_shape(struct reader *r, struct message shape, struct nano_onnx_value *out)
{
    struct field f;
    out->num_dims = 0;
    while (next_field(&shape, &f))
        if (f.number == SHAPE_DIM)
            read_dim(r, f.content, out);
    if (shape.damaged)
        fail(r, out->name);
}

static void read_type(struct reader *r, struct message type, struct nano_onnx_value *out)
{
    struct field f, inner;
    while (next_field(&type, &f)) {
        if (f.number != TYPE_TENSOR)
            continue;
        while (next_field(&f.content, &inner)) {
            if (inner.number == TENSOR_ELEM_TYPE)
                out->type = (int)(inner.value & 0xffff);
            else if (inner.number == TENSOR_SHAPE)
                read_shape(r, inner.content, out);
        }
        type.damaged |= f.content.damaged;
    }
    if (type.damaged)
        fail(r, out->name);
}

static void read_value(struct reader *r, struct message value, struct nano_onnx_value *out)
{
    struct field f;
    *out = (struct nano_onnx_value){.name = "", .num_dims = -1};
    struct message type = {0};
    while (next_field(&value, &f)) {
        if (f.number == VALUE_NAME)
            out->name = copy_string(r, &f.content);
        else if (f.number == VALUE_TYPE)
            type = f.content;
    }
    if (value.damaged)
        fail(r, "an input or output");
    read_type(r, type, out);
}

/* Dims are single varints or packed into one field. */
static void read_tensor(struct reader *r, struct message tensor)
{
    struct field f;
    uint64_t count = 1;
    int type = 0;
    while (next_field(&tensor, &f)) {
        if (f.number == TENSOR_TYPE)
            type = (int)(f.value & 0xffff);
        if (f.number != TENSOR_DIMS)
            continue;
        struct message dims = f.content;
        do {
            const uint64_t dim = dims.at < dims.end ? read_varint(&dims) : f.value;
            tensor.damaged |= dims.damaged || (dim && count > MAX_ELEMENTS / dim);
            count = tensor.damaged ? 0 : count * dim;
        } while (dims.at < dims.end);
    }
    if (tensor.damaged) {
        fail(r, "an initializer");
        return;
    }
    struct nano_onnx_graph *g = r->graph;
    const uint64_t num_bytes = (count * (uint64_t)nano_onnx_type_bits(type) + 7) / 8;
    if (g->weight_bytes + num_bytes > MAX_WEIGHT_BYTES ||
        g->num_params + count > MAX_WEIGHT_BYTES) {
        fail(r, "the size of an initializer");
        return;
    }
    g->num_params += count;
    g->weight_bytes += num_bytes;
    g->type_bytes[type > 0 && type < NANO_ONNX_NUM_TYPES ? type : 0] += num_bytes;
}

static void read_graph(struct reader *r, struct message graph, int depth);

static void read_node(struct reader *r, struct message node, int depth)
{
    struct field f, inner;
    while (next_field(&node, &f)) {
        if (f.number == NODE_OP_TYPE && is_text(&f.content, "GroupQueryAttention"))
            r->graph->has_group_query_attention = true;
        if (f.number != NODE_ATTRIBUTE)
            continue;
        while (next_field(&f.content, &inner)) {
            if (inner.number == ATTRIBUTE_GRAPH)
                read_graph(r, inner.content, depth + 1);
            else if (inner.number == ATTRIBUTE_TENSOR)
                read_tensor(r, inner.content);
        }
        node.damaged |= f.content.damaged;
    }
    if (node.damaged)
        fail(r, "a node");
}

/* Room for the values of a graph that have this field number. */
static struct nano_onnx_value *make_values(struct reader *r, struct message graph, int number)
{
    struct field f;
    size_t count = 0;
    while (next_field(&graph, &f))
        count += f.number == number;
    if (count > MAX_VALUES) {
        fail(r, "the list of inputs or outputs");
        return NULL;
    }
    struct nano_onnx_value *values = nano_arena_alloc(r->arena, count + 1, sizeof *values);
    if (!values)
        r->status = nano_error_no_memory(r->err, "inputs and outputs", count * sizeof *values);
    return values;
}

static void read_graph(struct reader *r, struct message graph, int depth)
{
    struct nano_onnx_graph *g = r->graph;
    struct field f;
    if (depth > MAX_DEPTH) {
        fail(r, "a nested graph");
        return;
    }
    while (r->status == NANO_OK && next_field(&graph, &f)) {
        if (f.number == GRAPH_NODE)
            read_node(r, f.content, depth);
        else if (f.number == GRAPH_INITIALIZER)
            read_tensor(r, f.content);
        else if (f.number == GRAPH_INPUT && depth == 0)
            read_value(r, f.content, &g->inputs[g->num_inputs++]);
        else if (f.number == GRAPH_OUTPUT && depth == 0)
            read_value(r, f.content, &g->outputs[g->num_outputs++]);
    }
    if (graph.damaged)
        fail(r, "the graph");
}

/* Older files list initializers among the inputs. They have a name and a shape that is fixed; only
 * names of initializers tell them apart, so those are looked for again. */
static bool is_initializer(struct message graph, const char *name)
{
    struct field f, inner;
    while (next_field(&graph, &f)) {
        if (f.number != GRAPH_INITIALIZER)
            continue;
        while (next_field(&f.content, &inner))
            if (inner.number == TENSOR_NAME && is_text(&inner.content, name))
                return true;
    }
    return false;
}

enum nano_status nano_onnx_graph_read(struct nano_onnx_graph *out, const struct nano_os_file *file,
                                      const char *path, struct nano_arena *arena,
                                      struct nano_error *err)
{
    struct message model = {0};
    struct message graph = {0};
    struct field f;
    *out = (struct nano_onnx_graph){
        .path = path,
        .names = {.input_ids = "input_ids",
                  .attention_mask = "attention_mask",
                  .position_ids = "position_ids",
                  .logits = "logits",
                  .past_key = "past_key_values.%d.key",
                  .past_value = "past_key_values.%d.value",
                  .present_key = "present.%d.key",
                  .present_value = "present.%d.value",
                  .past = "past_%d",
                  .present = "present_%d"},
    };
    struct reader r = {out, arena, err, NANO_OK};
    if (file->num_bytes > 0)
        model = (struct message){file->data, (const unsigned char *)file->data + file->num_bytes,
                                 false};
    while (next_field(&model, &f))
        if (f.number == MODEL_GRAPH)
            graph = f.content;
    if (model.damaged || !graph.at) {
        fail(&r, model.damaged ? "the file" : "its graph is missing: the file");
        return r.status;
    }
    out->inputs = make_values(&r, graph, GRAPH_INPUT);
    if (r.status == NANO_OK)
        out->outputs = make_values(&r, graph, GRAPH_OUTPUT);
    if (r.status == NANO_OK)
        read_graph(&r, graph, 0);
    int count = 0;
    for (int i = 0; r.status == NANO_OK && i < out->num_inputs; i++)
        if (!is_initializer(graph, out->inputs[i].name))
            out->inputs[count++] = out->inputs[i];
    out->num_inputs = count;
    return r.status;
}
