/* Builder, first half: hyper-parameters and weights. */
#include "models/builder.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAME_BYTES 160

#define MAX_LAYERS 1024
#define MAX_HEADS 1024
#define MAX_HEAD_DIM 1024
#define MAX_HIDDEN_SIZE ((int64_t)1 << 20)
#define MAX_INTERMEDIATE_SIZE ((int64_t)1 << 22)
#define MAX_VOCAB_SIZE ((int64_t)1 << 24)
#define MAX_CONTEXT ((int64_t)1 << 30)

void nano_build_fail(struct nano_builder *b, enum nano_status status, const char *fmt, ...)
{
    if (b->status != NANO_OK)
        return;
    char message[sizeof b->err->message];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    b->status = nano_error_set(b->err, status, "%s: %s", nano_weights_label(b->weights), message);
}

static void prefixed_key(const struct nano_builder *b, const char *key, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "%s.%s", b->program->config.architecture, key);
}

/* True if the key is there; a missing one without a fallback ends the build. */
static bool have_key(struct nano_builder *b, const char *name, bool required)
{
    if (nano_weights_meta(b->weights, name))
        return true;
    if (required)
        nano_build_fail(b, NANO_ERR_FORMAT, "metadata key '%s' is missing", name);
    return false;
}

bool nano_build_bool(struct nano_builder *b, const char *key, bool fallback)
{
    if (b->status != NANO_OK)
        return fallback;
    char name[NAME_BYTES];
    prefixed_key(b, key, name);
    bool value = fallback;
    if (nano_weights_meta(b->weights, name))
        b->status = nano_meta_get_bool(b->weights, name, &value, b->err);
    return value;
}

int64_t nano_build_int(struct nano_builder *b, const char *key, int64_t min, int64_t max,
                       int64_t fallback)
{
    const int64_t harmless = min > 1 ? min : 1;
    if (b->status != NANO_OK)
        return harmless;
    char name[NAME_BYTES];
    prefixed_key(b, key, name);
    int64_t value = fallback;
    if (have_key(b, name, fallback < min || fallback > max))
        b->status = nano_meta_get_int(b->weights, name, min, max, &value, b->err);
    return b->status == NANO_OK ? value : harmless;
}

double nano_build_float(struct nano_builder *b, const char *key, double min, double max,
                        double fallback)
{
    if (b->status != NANO_OK)
        return 1;
    char name[NAME_BYTES];
    prefixed_key(b, key, name);
    double value = fallback;
    if (!have_key(b, name, !(fallback >= min && fallback <= max)))
        return value;
    b->status = nano_meta_get_float(b->weights, name, &value, b->err);
    if (b->status == NANO_OK && !(value >= min && value <= max))
        nano_build_fail(b, NANO_ERR_FORMAT, "metadata key '%s' is %g, expected %g to %g", name,
                        value, min, max);
    return b->status == NANO_OK ? value : 1;
}

/* The array under the key, NULL for a single value; an array must have an integer per layer. */
static const struct nano_meta *layer_array(struct nano_builder *b, const char *name)
{
    const struct nano_meta *meta = nano_weights_meta(b->weights, name);
    if (!meta || meta->type != NANO_META_ARRAY)
        return NULL;
    if (meta->element_type == NANO_META_STRING ||
        meta->num_elements < (size_t)b->program->config.num_layers)
        nano_build_fail(b, NANO_ERR_FORMAT,
                        "metadata key '%s' is an array of %zu, expected %lld integers", name,
                        meta->num_elements, (long long)b->program->config.num_layers);
    return meta;
}

int64_t nano_build_layer_int(struct nano_builder *b, const char *key, int layer, int64_t min,
                             int64_t max, int64_t fallback)
{
    const int64_t harmless = min > 1 ? min : 1;
    if (b->status != NANO_OK)
        return harmless;
    char name[NAME_BYTES];
    prefixed_key(b, key, name);
    const struct nano_meta *array = layer_array(b, name);
    if (b->status != NANO_OK)
        return harmless;
    if (!array)
        return nano_build_int(b, key, min, max, fallback);
    const int64_t value = nano_meta_array_int(array, (size_t)layer);
    if (value < min || value > max)
        nano_build_fail(b, NANO_ERR_FORMAT,
                        "metadata key '%s' is %lld for layer %d, expected %lld to %lld", name,
                        (long long)value, layer, (long long)min, (long long)max);
    return b->status == NANO_OK ? value : harmless;
}

/* The largest over the layers. */
static int64_t largest_int(struct nano_builder *b, const char *key, int64_t min, int64_t max,
                           int64_t fallback)
{
    int64_t largest = min;
    for (int layer = 0; layer < b->program->config.num_layers; layer++) {
        const int64_t value = nano_build_layer_int(b, key, layer, min, max, fallback);
        largest = value > largest ? value : largest;
    }
    return largest;
}

const struct nano_model_config *nano_build_config_base(struct nano_builder *b)
{
    struct nano_model_config *c = &b->program->config;
    c->num_layers = nano_build_int(b, "block_count", 1, MAX_LAYERS, NANO_REQUIRED);
    c->hidden_size = nano_build_int(b, "embedding_length", 1, MAX_HIDDEN_SIZE, NANO_REQUIRED);
    c->intermediate_size = largest_int(b, "feed_forward_length", 0, MAX_INTERMEDIATE_SIZE, 0);
    c->max_position_embeddings = nano_build_int(b, "context_length", 1, MAX_CONTEXT, NANO_REQUIRED);
    const double layer_norm_eps = nano_build_float(b, "attention.layer_norm_epsilon", -1, 1, -1);
    c->rms_norm_eps =
        (float)nano_build_float(b, "attention.layer_norm_rms_epsilon", 0, 1, layer_norm_eps);

    const struct nano_tensor *embedding = nano_weights_find(b->weights, "token_embd.weight");
    if (!embedding)
        nano_build_fail(b, NANO_ERR_FORMAT, "tensor 'token_embd.weight' is missing");
    else if (embedding->dims[1] < 1 || embedding->dims[1] > MAX_VOCAB_SIZE)
        nano_build_fail(b, NANO_ERR_FORMAT,
                        "tensor 'token_embd.weight' has %lld rows, expected 1 to %lld",
                        (long long)embedding->dims[1], (long long)MAX_VOCAB_SIZE);
    c->vocab_size = b->status == NANO_OK ? embedding->dims[1] : 1;
    return c;
}

const struct nano_model_config *nano_build_config(struct nano_builder *b)
{
    struct nano_model_config *c = &b->program->config;
    nano_build_config_base(b);
    c->num_heads = largest_int(b, "attention.head_count", 1, MAX_HEADS, NANO_REQUIRED);
    c->num_kv_heads = largest_int(b, "attention.head_count_kv", 0, MAX_HEADS, c->num_heads);
    if (c->num_kv_heads < 1 || c->num_heads % c->num_kv_heads)
        nano_build_fail(b, NANO_ERR_FORMAT,
                        "%s.attention.head_count %lld is no multiple of head_count_kv %lld",
                        c->architecture, (long long)c->num_heads, (long long)c->num_kv_heads);
    const bool divides = c->hidden_size % c->num_heads == 0;
    char key[NAME_BYTES];
    prefixed_key(b, "attention.key_length", key);
    if (!divides && !nano_weights_meta(b->weights, key))
        nano_build_fail(b, NANO_ERR_FORMAT,
                        "%s.embedding_length %lld is no multiple of attention.head_count %lld, and "
                        "'%s' is missing",
                        c->architecture, (long long)c->hidden_size, (long long)c->num_heads, key);
    c->head_dim = nano_build_int(b, "attention.key_length", 1, MAX_HEAD_DIM,
                                 divides ? c->hidden_size / c->num_heads : NANO_REQUIRED);
    const int64_t value_length =
        nano_build_int(b, "attention.value_length", 1, MAX_HEAD_DIM, c->head_dim);
    if (value_length != c->head_dim)
        nano_build_fail(b, NANO_ERR_UNSUPPORTED,
                        "%s.attention.value_length is %lld, expected key_length's %lld",
                        c->architecture, (long long)value_length, (long long)c->head_dim);
    return c;
}

/* "blk.%d.attn_q.weight" -> "blk.7.attn_q.weight" */
static void layer_name(const struct nano_builder *b, const char *name, char out[NAME_BYTES])
{
    const char *mark = strstr(name, "%d");
    if (mark)
        snprintf(out, NAME_BYTES, "%.*s%d%s", (int)(mark - name), name, b->layer, mark + 2);
    else
        snprintf(out, NAME_BYTES, "%s", name);
}

static const struct nano_tensor *find_weight(struct nano_builder *b, const char *name, int num_dims,
                                             const int64_t dims[3])
{
    if (b->status != NANO_OK)
        return NULL;
    char full_name[NAME_BYTES];
    layer_name(b, name, full_name);
    const struct nano_tensor *tensor;
    b->status = nano_weights_require(b->weights, full_name, num_dims, dims, &tensor, b->err);
    if (b->status != NANO_OK)
        return NULL;
    if (num_dims == 1 && tensor->format != NANO_FORMAT_F32)
        nano_build_fail(b, NANO_ERR_UNSUPPORTED, "tensor '%s': format %s, expected F32", full_name,
                        nano_format_traits(tensor->format)->name);
    if (b->used)
        b->used[tensor - b->weights->tensors] = true;
    return tensor;
}

const struct nano_tensor *nano_build_weight(struct nano_builder *b, const char *name, int64_t cols,
                                            int64_t rows)
{
    return find_weight(b, name, rows ? 2 : 1, (const int64_t[3]){cols, rows, 0});
}

const struct nano_tensor *nano_build_weight_3d(struct nano_builder *b, const char *name,
                                               int64_t cols, int64_t rows, int64_t count)
{
    return find_weight(b, name, 3, (const int64_t[3]){cols, rows, count});
}

const struct nano_tensor *nano_build_weight_optional(struct nano_builder *b, const char *name,
                                                     int64_t cols, int64_t rows)
{
    if (b->status != NANO_OK)
        return NULL;
    char full_name[NAME_BYTES];
    layer_name(b, name, full_name);
    return nano_weights_find(b->weights, full_name) ? nano_build_weight(b, name, cols, rows) : NULL;
}
