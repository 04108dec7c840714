/* Tiny models: metadata and tensors put together by hand, and their meaning in plain loops. */
#include "tests/tiny_model.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simd/kernels.h"
#include "simd/quantize.h"

#define RMS_EPS 1e-5
#define FREQ_BASE 1000.0
#define ORIGINAL_CONTEXT 32
#define MAX_ITEMS 256

const struct tiny_shape tiny_shapes[] = {
    {"llama", 61, 36, 52, 3, 6, 2, 6, 4, false, false, false, NULL, 0, 1},
    {"llama", 40, 24, 40, 2, 4, 1, 10, 0, true, true, true, NULL, 0, 2},
    {"llama", 33, 32, 17, 1, 2, 2, 16, 0, true, false, false, "linear", 4, 3},
    {"llama", 33, 32, 17, 2, 2, 1, 16, 0, true, false, false, "yarn", 8, 4},
    {"qwen2", 47, 30, 44, 3, 3, 1, 10, 0, true, true, false, NULL, 0, 5},
    {"qwen3", 53, 28, 36, 3, 6, 2, 8, 0, false, false, false, NULL, 0, 6},
    {"qwen2", 70, 64, 96, 2, 4, 2, 16, 0, true, true, false, NULL, 0, 7},
};
const int num_tiny_shapes = sizeof tiny_shapes / sizeof *tiny_shapes;

uint64_t tiny_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static double uniform(uint64_t *state)
{
    return (double)(tiny_random(state) >> 11) / (double)((uint64_t)1 << 52) - 1; /* [-1, 1) */
}

/* ---- making ---- */

struct maker {
    struct nano_weights *w;
    const struct tiny_shape *shape;
    const struct tiny_fault *fault;
    uint64_t random;
};

static char *copy(struct maker *m, const char *text)
{
    char *bytes = nano_arena_strdup(&m->w->arena, text, strlen(text));
    cr_assert_not_null(bytes);
    return bytes;
}

static struct nano_meta *add_meta(struct maker *m, const char *key, enum nano_meta_type type)
{
    static struct nano_meta omitted;
    char full[128];
    snprintf(full, sizeof full, "%s%s%s", strchr(key, '!') ? "" : m->shape->architecture,
             strchr(key, '!') ? "" : ".", strchr(key, '!') ? key + 1 : key);
    if (m->fault->omit && strcmp(m->fault->omit, key) == 0)
        return &omitted;
    struct nano_meta *meta = &m->w->metadata[m->w->num_metadata++];
    meta->key = (struct nano_string){copy(m, full), strlen(full)};
    meta->type = type;
    return meta;
}

static void add_int(struct maker *m, const char *key, int64_t value)
{
    const bool bad = m->fault->bad_key && strcmp(m->fault->bad_key, key) == 0;
    add_meta(m, key, NANO_META_I64)->value.i = bad ? m->fault->bad_value : value;
}

static void add_float(struct maker *m, const char *key, double value)
{
    add_meta(m, key, NANO_META_F32)->value.f = value;
}

static void add_string(struct maker *m, const char *key, const char *value)
{
    add_meta(m, key, NANO_META_STRING)->value.string =
        (struct nano_string){copy(m, value), strlen(value)};
}

static bool find_key(const struct maker *m, const char *key)
{
    char full[128];
    snprintf(full, sizeof full, "%s.%s", m->shape->architecture, key);
    return nano_weights_meta(m->w, full) != NULL;
}

/* Values of mean `mean` and about 1 / sqrt(cols) around it; rows 0: a vector. */
static void add_tensor(struct maker *m, const char *name, int64_t cols, int64_t rows, double mean)
{
    if (m->fault->omit && strcmp(m->fault->omit, name) == 0)
        return;
    if (m->fault->bad_shape && strcmp(m->fault->bad_shape, name) == 0)
        cols++;
    struct nano_tensor *t = &m->w->tensors[m->w->num_tensors++];
    const size_t count = (size_t)(cols * (rows ? rows : 1));
    float *data = nano_arena_alloc(&m->w->arena, count, sizeof *data);
    cr_assert_not_null(data);
    const double spread = rows ? 1.7 / sqrt((double)cols) : 0.3;
    for (size_t i = 0; i < count; i++)
        data[i] = (float)(mean + spread * uniform(&m->random));
    *t = (struct nano_tensor){.name = {copy(m, name), strlen(name)},
                              .format = NANO_FORMAT_F32,
                              .num_dims = rows ? 2 : 1,
                              .dims = {cols, rows ? rows : 1, 1, 1},
                              .data = data,
                              .num_bytes = count * sizeof *data};
    if (m->fault->bad_format && strcmp(m->fault->bad_format, name) == 0)
        t->format = NANO_FORMAT_F16;
}

static void add_layer_tensor(struct maker *m, int layer, const char *name, int64_t cols,
                             int64_t rows, double mean)
{
    char full[64];
    snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    add_tensor(m, full, cols, rows, mean);
}

static void add_layer(struct maker *m, int layer)
{
    const struct tiny_shape *s = m->shape;
    const int q = s->num_heads * s->head_dim, kv = s->num_kv_heads * s->head_dim;
    add_layer_tensor(m, layer, "attn_norm.weight", s->hidden_size, 0, 1.2);
    add_layer_tensor(m, layer, "attn_q.weight", s->hidden_size, q, 0);
    add_layer_tensor(m, layer, "attn_k.weight", s->hidden_size, kv, 0);
    add_layer_tensor(m, layer, "attn_v.weight", s->hidden_size, kv, 0);
    add_layer_tensor(m, layer, "attn_output.weight", q, s->hidden_size, 0);
    add_layer_tensor(m, layer, "ffn_norm.weight", s->hidden_size, 0, 0.8);
    add_layer_tensor(m, layer, "ffn_gate.weight", s->hidden_size, s->intermediate_size, 0);
    add_layer_tensor(m, layer, "ffn_up.weight", s->hidden_size, s->intermediate_size, 0);
    add_layer_tensor(m, layer, "ffn_down.weight", s->intermediate_size, s->hidden_size, 0);
    if (s->biases) {
        add_layer_tensor(m, layer, "attn_q.bias", q, 0, 0.1);
        add_layer_tensor(m, layer, "attn_k.bias", kv, 0, -0.1);
        add_layer_tensor(m, layer, "attn_v.bias", kv, 0, 0.2);
    }
    if (s->biases && strcmp(s->architecture, "llama") == 0) {
        add_layer_tensor(m, layer, "attn_output.bias", s->hidden_size, 0, 0.1);
        add_layer_tensor(m, layer, "ffn_gate.bias", s->intermediate_size, 0, 0.1);
        add_layer_tensor(m, layer, "ffn_down.bias", s->hidden_size, 0, -0.1);
    }
    if (strcmp(s->architecture, "qwen3") == 0) {
        add_layer_tensor(m, layer, "attn_q_norm.weight", s->head_dim, 0, 1.1);
        add_layer_tensor(m, layer, "attn_k_norm.weight", s->head_dim, 0, 0.9);
    }
}

void tiny_model_make(struct nano_weights *out, const struct tiny_shape *s,
                     const struct tiny_fault *fault)
{
    static const struct tiny_fault none;
    *out = (struct nano_weights){0};
    nano_arena_init(&out->arena);
    out->tensors = nano_arena_alloc(&out->arena, MAX_ITEMS, sizeof *out->tensors);
    out->metadata = nano_arena_alloc(&out->arena, MAX_ITEMS, sizeof *out->metadata);
    cr_assert(out->tensors && out->metadata);
    struct maker m = {.w = out, .shape = s, .fault = fault ? fault : &none, .random = s->seed};
    add_string(&m, "!general.architecture", s->architecture);
    add_int(&m, "block_count", s->num_layers);
    add_int(&m, "embedding_length", s->hidden_size);
    add_int(&m, "feed_forward_length", s->intermediate_size);
    add_int(&m, "context_length", 1024);
    add_int(&m, "attention.head_count", s->num_heads);
    add_int(&m, "attention.head_count_kv", s->num_kv_heads);
    add_int(&m, "attention.key_length", s->head_dim);
    add_int(&m, "attention.value_length", s->head_dim);
    add_float(&m, "attention.layer_norm_rms_epsilon", RMS_EPS);
    add_float(&m, "rope.freq_base", FREQ_BASE);
    if (s->rope_dims)
        add_int(&m, "rope.dimension_count", s->rope_dims);
    if (s->scaling) {
        add_string(&m, "rope.scaling.type", s->scaling);
        add_float(&m, "rope.scaling.factor", s->scaling_factor);
        add_int(&m, "rope.scaling.original_context_length", ORIGINAL_CONTEXT);
    }
    if (m.fault->bad_key && !find_key(&m, m.fault->bad_key))
        add_int(&m, m.fault->bad_key, 0);
    if (m.fault->float_key)
        add_float(&m, m.fault->float_key, m.fault->float_value);
    add_tensor(&m, "token_embd.weight", s->hidden_size, s->vocab_size, 0);
    add_tensor(&m, "output_norm.weight", s->hidden_size, 0, 1);
    if (!s->tied)
        add_tensor(&m, "output.weight", s->hidden_size, s->vocab_size, 0);
    if (s->rope_factors)
        add_tensor(&m, "rope_freqs.weight", s->head_dim / 2, 0, 2);
    for (int i = 0; i < s->num_layers; i++)
        add_layer(&m, i);
    if (m.fault->extra)
        add_tensor(&m, m.fault->extra, 4, 0, 0);
    struct nano_error err;
    cr_assert_eq(nano_weights_finish(out, &err), NANO_OK, "%s", err.message);
}

void tiny_model_quantize(struct nano_weights *w, enum nano_format format)
{
    for (size_t i = 0; i < w->num_tensors; i++) {
        struct nano_tensor *t = &w->tensors[i];
        if (t->num_dims < 2 || t->dims[0] % nano_format_traits(format)->block_length ||
            strstr(t->name.bytes, "norm") || strstr(t->name.bytes, "conv"))
            continue;
        const size_t row_bytes = nano_format_row_bytes(format, t->dims[0]);
        const int64_t rows = t->dims[1] * t->dims[2];
        unsigned char *data = nano_arena_alloc(&w->arena, (size_t)rows, row_bytes);
        cr_assert_not_null(data);
        nano_quantize_rows(format, t->data, data, rows, t->dims[0], NULL);
        t->format = format;
        t->data = data;
        t->num_bytes = (size_t)rows * row_bytes;
    }
}

void tiny_model_dequantize(struct nano_weights *w)
{
    static struct nano_kernels kernels;
    nano_kernels_init_ref(&kernels);
    for (size_t i = 0; i < w->num_tensors; i++) {
        struct nano_tensor *t = &w->tensors[i];
        if (t->format == NANO_FORMAT_F32)
            continue;
        float *data = nano_arena_alloc(&w->arena, (size_t)(t->dims[0] * t->dims[1]), sizeof *data);
        cr_assert_not_null(data);
        for (int64_t r = 0; r < t->dims[1]; r++)
            kernels.linear[t->format].get_row(data + r * t->dims[0], t->data, t->dims[1],
                                              t->dims[0], r);
        t->format = NANO_FORMAT_F32;
        t->data = data;
        t->num_bytes = (size_t)(t->dims[0] * t->dims[1]) * sizeof *data;
    }
}

/* ---- meaning ---- */

static const float *data_of(const struct nano_weights *w, int layer, const char *name)
{
    char full[64];
    if (layer >= 0)
        snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    else
        snprintf(full, sizeof full, "%s", name);
    const struct nano_tensor *t = nano_weights_find(w, full);
    return t ? t->data : NULL;
}

static void norm(double *out, const double *x, const float *weight, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    for (int i = 0; i < n; i++)
        out[i] = x[i] / sqrt(sum / n + RMS_EPS) * (double)weight[i];
}

void (*tiny_model_on_linear)(const char *weight, const double *x, int cols);

static void linear(double *out, const double *x, const struct nano_weights *w, int layer,
                   const char *name, int cols, int rows)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    const float *weight = data_of(w, layer, full);
    snprintf(full, sizeof full, "%s.bias", name);
    const float *bias = data_of(w, layer, full);
    if (tiny_model_on_linear) {
        if (layer >= 0)
            snprintf(full, sizeof full, "blk.%d.%s.weight", layer, name);
        else
            snprintf(full, sizeof full, "%s.weight", name);
        tiny_model_on_linear(full, x, cols);
    }
    for (int r = 0; r < rows; r++) {
        out[r] = bias ? (double)bias[r] : 0;
        for (int c = 0; c < cols; c++)
            out[r] += (double)weight[r * cols + c] * x[c];
    }
}

/* YaRN as the paper's formulas have it, pair by pair, in terms of wavelengths. */
static double frequency(const struct nano_weights *w, const struct tiny_shape *s, int pair,
                        int dims)
{
    const double f = pow(FREQ_BASE, -2.0 * pair / dims);
    if (s->rope_factors)
        return f / (double)data_of(w, -1, "rope_freqs.weight")[pair];
    if (s->scaling && strcmp(s->scaling, "linear") == 0)
        return f / s->scaling_factor;
    if (!s->scaling)
        return f;
    const double pi = acos(-1);
    const double low = floor(dims * log(ORIGINAL_CONTEXT / (32 * 2 * pi)) / (2 * log(FREQ_BASE)));
    const double high = ceil(dims * log(ORIGINAL_CONTEXT / (1 * 2 * pi)) / (2 * log(FREQ_BASE)));
    const double from = low < 0 ? 0 : low, to = high > dims - 1 ? dims - 1 : high;
    double stretched = (pair - from) / (to - from);
    stretched = stretched < 0 ? 0 : stretched > 1 ? 1 : stretched;
    return stretched * f / s->scaling_factor + (1 - stretched) * f;
}

static void rotate(double *head, const struct nano_weights *w, const struct tiny_shape *s,
                   int position)
{
    const int dims = s->rope_dims ? s->rope_dims : s->head_dim;
    const bool adjacent = strcmp(s->architecture, "llama") == 0;
    const double magnitude =
        s->scaling && strcmp(s->scaling, "yarn") == 0 ? 0.1 * log(s->scaling_factor) + 1 : 1;
    for (int i = 0; i < dims / 2; i++) {
        double *a = adjacent ? &head[2 * i] : &head[i],
               *b = adjacent ? &head[2 * i + 1] : &head[i + dims / 2];
        const double angle = position * frequency(w, s, i, dims);
        const double x = *a, y = *b;
        *a = magnitude * (x * cos(angle) - y * sin(angle));
        *b = magnitude * (x * sin(angle) + y * cos(angle));
    }
}

static void attend(double *out, const double *q, const double *keys, const double *values,
                   const struct tiny_shape *s, int kv_head, int num_positions)
{
    const int kv = s->num_kv_heads * s->head_dim;
    double *scores = malloc((size_t)num_positions * sizeof *scores), max = -INFINITY, sum = 0;
    for (int p = 0; p < num_positions; p++) {
        scores[p] = 0;
        for (int i = 0; i < s->head_dim; i++)
            scores[p] +=
                q[i] * keys[p * kv + kv_head * s->head_dim + i] / sqrt((double)s->head_dim);
        max = fmax(max, scores[p]);
    }
    for (int p = 0; p < num_positions; p++)
        sum += exp(scores[p] - max);
    for (int i = 0; i < s->head_dim; i++) {
        out[i] = 0;
        for (int p = 0; p < num_positions; p++)
            out[i] += exp(scores[p] - max) / sum * values[p * kv + kv_head * s->head_dim + i];
    }
    free(scores);
}

static double *room(size_t count)
{
    double *memory = calloc(count, sizeof *memory);
    cr_assert_not_null(memory);
    return memory;
}

static void forward_layer(const struct nano_weights *w, const struct tiny_shape *s, int layer,
                          double *x, int n)
{
    const int d = s->hidden_size, f = s->intermediate_size, h = s->head_dim;
    const int q_width = s->num_heads * h, kv = s->num_kv_heads * h;
    const bool qk_norm = strcmp(s->architecture, "qwen3") == 0;
    double *normed = room((size_t)d), *q = room((size_t)n * (size_t)q_width),
           *k = room((size_t)n * (size_t)kv);
    double *v = room((size_t)n * (size_t)kv), *heads = room((size_t)q_width),
           *delta = room((size_t)d);
    double *gate = room((size_t)f), *up = room((size_t)f);
    for (int t = 0; t < n; t++) {
        norm(normed, x + t * d, data_of(w, layer, "attn_norm.weight"), d);
        linear(q + t * q_width, normed, w, layer, "attn_q", d, q_width);
        linear(k + t * kv, normed, w, layer, "attn_k", d, kv);
        linear(v + t * kv, normed, w, layer, "attn_v", d, kv);
        for (int i = 0; i < s->num_heads; i++) {
            double *head = q + t * q_width + i * h;
            if (qk_norm)
                norm(head, head, data_of(w, layer, "attn_q_norm.weight"), h);
            rotate(head, w, s, t);
        }
        for (int i = 0; i < s->num_kv_heads; i++) {
            double *head = k + t * kv + i * h;
            if (qk_norm)
                norm(head, head, data_of(w, layer, "attn_k_norm.weight"), h);
            rotate(head, w, s, t);
        }
    }
    for (int t = 0; t < n; t++) {
        for (int i = 0; i < s->num_heads; i++)
            attend(heads + i * h, q + t * q_width + i * h, k, v, s,
                   i / (s->num_heads / s->num_kv_heads), t + 1);
        linear(delta, heads, w, layer, "attn_output", q_width, d);
        for (int i = 0; i < d; i++)
            x[t * d + i] += delta[i];
        norm(normed, x + t * d, data_of(w, layer, "ffn_norm.weight"), d);
        linear(gate, normed, w, layer, "ffn_gate", d, f);
        linear(up, normed, w, layer, "ffn_up", d, f);
        for (int i = 0; i < f; i++)
            gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
        linear(delta, gate, w, layer, "ffn_down", f, d);
        for (int i = 0; i < d; i++)
            x[t * d + i] += delta[i];
    }
    double *all[] = {normed, q, k, v, heads, delta, gate, up};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

void tiny_model_forward(const struct nano_weights *w, const struct tiny_shape *s,
                        const int32_t *tokens, int num_tokens, double *logits)
{
    const int d = s->hidden_size;
    double *x = room((size_t)num_tokens * (size_t)d), *normed = room((size_t)d);
    const float *embedding = data_of(w, -1, "token_embd.weight");
    for (int t = 0; t < num_tokens; t++)
        for (int i = 0; i < d; i++)
            x[t * d + i] = (double)embedding[tokens[t] * d + i];
    for (int layer = 0; layer < s->num_layers; layer++)
        forward_layer(w, s, layer, x, num_tokens);
    for (int t = 0; t < num_tokens; t++) {
        norm(normed, x + t * d, data_of(w, -1, "output_norm.weight"), d);
        linear(logits + t * s->vocab_size, normed, w, -1, s->tied ? "token_embd" : "output", d,
               s->vocab_size);
    }
    free(normed);
    free(x);
}
