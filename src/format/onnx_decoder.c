/* Finds a decoder's inputs and outputs by name and checks that they fit together. */
#include "format/onnx_decoder.h"

#include <stdio.h>
#include <string.h>

#define MAX_LAYERS 1024
#define DEFAULT_CONTEXT_LENGTH 2048
#define MAX_NAMES_BYTES 200
/* So that sizes in bytes do not overflow. */
#define MAX_VOCAB_SIZE ((int64_t)1 << 30)
#define MAX_HEAD_SIZE 65536

static int find(const struct nano_onnx_value *values, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(values[i].name, name) == 0)
            return i;
    return -1;
}

/* The pattern with the layer's number for %d, if it has one. */
static const char *layer_name(char *out, size_t out_bytes, const char *pattern, int layer)
{
    const char *number = strstr(pattern, "%d");
    if (number)
        snprintf(out, out_bytes, "%.*s%d%s", (int)(number - pattern), pattern, layer, number + 2);
    else
        snprintf(out, out_bytes, "%s", pattern);
    return out;
}

/* The first names of a list, for messages. */
static const char *list_names(char *out, const struct nano_onnx_value *values, int count)
{
    size_t length = 0;
    *out = '\0';
    for (int i = 0; i < count; i++) {
        const size_t needed = strlen(values[i].name) + 8;
        if (length + needed > MAX_NAMES_BYTES) {
            snprintf(out + length, MAX_NAMES_BYTES - length, ", …");
            break;
        }
        length += (size_t)snprintf(out + length, MAX_NAMES_BYTES - length, "%s%s", i ? ", " : "",
                                   values[i].name);
    }
    return count ? out : "none";
}

static enum nano_status missing(const struct nano_onnx_graph *g, const char *kind, const char *name,
                                struct nano_error *err)
{
    char names[MAX_NAMES_BYTES];
    const bool is_output = strcmp(kind, "output") == 0;
    return nano_error_set(err, NANO_ERR_FORMAT,
                          "%s: has no %s '%s', which a decoder has; its %ss are %s", g->path, kind,
                          name, kind,
                          is_output ? list_names(names, g->outputs, g->num_outputs)
                                    : list_names(names, g->inputs, g->num_inputs));
}

/* "[batch, 4, ?, 32]" as far as it is known. */
static const char *print_shape(char *out, size_t out_bytes, const struct nano_onnx_value *value)
{
    size_t length = (size_t)snprintf(out, out_bytes, "%s [", nano_onnx_type_name(value->type));
    for (int d = 0; d < value->num_dims && length + 24 < out_bytes; d++) {
        length += (size_t)snprintf(out + length, out_bytes - length, "%s", d ? ", " : "");
        length += value->dims[d] < 0 ? (size_t)snprintf(out + length, out_bytes - length, "?")
                                     : (size_t)snprintf(out + length, out_bytes - length, "%lld",
                                                        (long long)value->dims[d]);
    }
    snprintf(out + length, out_bytes - length, "]");
    return out;
}

static enum nano_status wrong(const struct nano_onnx_graph *g, const struct nano_onnx_value *value,
                              const char *expected, struct nano_error *err)
{
    char shape[128];
    return nano_error_set(err, NANO_ERR_FORMAT, "%s: '%s' is %s, expected %s", g->path, value->name,
                          print_shape(shape, sizeof shape, value), expected);
}

static bool is_float(int type)
{
    return type == NANO_ONNX_FLOAT || type == NANO_ONNX_FLOAT16 || type == NANO_ONNX_BFLOAT16;
}

/* What is known of both must be equal. */
static bool agrees(int64_t a, int64_t b)
{
    return a < 0 || b < 0 || a == b;
}

/* ---- tokens ---- */

/* A limit that the graph itself sets. */
static void limit(int *out, int64_t dim)
{
    if (dim > 0 && dim < INT32_MAX && (*out == 0 || dim < *out))
        *out = (int)dim;
}

/* A configuration may give one thing two names, but not two things one name. */
static enum nano_status named_twice(const struct nano_onnx_graph *g,
                                    const struct nano_onnx_value *value, struct nano_error *err)
{
    return nano_error_set(err, NANO_ERR_FORMAT,
                          "%s: '%s' is the name of two things in the folder's "
                          "genai_config.json",
                          g->path, value->name);
}

/* An input of a number per token; -1 where there is none. */
static enum nano_status read_tokens(struct nano_onnx_decoder *d, const char *name, int *out,
                                    struct nano_error *err)
{
    const struct nano_onnx_graph *g = d->graph;
    *out = find(g->inputs, g->num_inputs, name);
    if (*out < 0)
        return NANO_OK;
    const struct nano_onnx_value *value = &g->inputs[*out];
    if ((out != &d->input_ids && *out == d->input_ids) ||
        (out == &d->position_ids && *out == d->attention_mask))
        return named_twice(g, value, err);
    if ((value->type != NANO_ONNX_INT64 && value->type != NANO_ONNX_INT32) || value->num_dims != 2)
        return wrong(g, value, "INT64 or INT32 [batch, tokens]", err);
    limit(&d->max_batch, value->dims[0]);
    return NANO_OK;
}

static enum nano_status read_logits(struct nano_onnx_decoder *d, struct nano_error *err)
{
    const struct nano_onnx_graph *g = d->graph;
    d->logits = find(g->outputs, g->num_outputs, g->names.logits);
    if (d->logits < 0)
        return missing(g, "output", g->names.logits, err);
    const struct nano_onnx_value *value = &g->outputs[d->logits];
    if (!is_float(value->type) || value->num_dims < 2 || value->num_dims > 3)
        return wrong(g, value, "FLOAT, FLOAT16 or BFLOAT16 [batch, tokens, vocabulary]", err);
    const int last = value->num_dims - 1;
    d->vocab_size = value->dims[last] > 0 ? value->dims[last] : g->vocab_size;
    if (d->vocab_size <= 0)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: the size of the vocabulary stands neither in '%s' nor in the "
                              "folder's config.json or genai_config.json",
                              g->path, value->name);
    if (d->vocab_size > MAX_VOCAB_SIZE)
        return wrong(g, value, "a vocabulary of less than 2^30", err);
    limit(&d->max_batch, value->dims[0]);
    d->last_logits_only = last == 1 || value->dims[1] == 1;
    return NANO_OK;
}

static enum nano_status read_cache_branch(struct nano_onnx_decoder *d, struct nano_error *err)
{
    const struct nano_onnx_graph *g = d->graph;
    d->use_cache_branch = find(g->inputs, g->num_inputs, "use_cache_branch");
    if (d->use_cache_branch >= 0 && g->inputs[d->use_cache_branch].type != NANO_ONNX_BOOL)
        return wrong(g, &g->inputs[d->use_cache_branch], "BOOL", err);
    return NANO_OK;
}

/* ---- past and present ---- */

static enum nano_status read_shape(struct nano_onnx_decoder *d, struct nano_onnx_kv *kv,
                                   struct nano_error *err)
{
    const struct nano_onnx_graph *g = d->graph;
    const struct nano_onnx_value *past = &g->inputs[kv->input], *present = &g->outputs[kv->output];
    const int n = past->num_dims;
    if (n >= 3 && past->dims[n - 2] >= 0)
        return wrong(g, past, "a past of any length", err);
    if (!is_float(past->type) || n < 3 || n > 5 || (n == 5 && !agrees(past->dims[0], 2)))
        return wrong(g, past,
                     "FLOAT, FLOAT16 or BFLOAT16 [batch, heads, past, head_dim], "
                     "[batch, past, width] or [2, batch, heads, past, head_dim]",
                     err);
    bool same = past->type == present->type && n == present->num_dims;
    for (int i = 0; same && i < n; i++)
        same = i == n - 2 || agrees(past->dims[i], present->dims[i]);
    if (!same) {
        char shape[128];
        print_shape(shape, sizeof shape, past);
        return wrong(g, present, strcat(shape, " as its past, but longer"), err);
    }
    kv->type = past->type;
    kv->element_bytes = nano_onnx_type_bits(past->type) / 8;
    kv->num_dims = n;
    kv->num_planes = n == 5 ? 2 : 1;
    limit(&d->max_batch, past->dims[n == 5]);
    kv->num_heads = n == 3 ? 1 : past->dims[n - 3] > 0 ? past->dims[n - 3] : present->dims[n - 3];
    kv->head_dim = past->dims[n - 1] > 0 ? past->dims[n - 1] : present->dims[n - 1];
    kv->num_heads = kv->num_heads > 0 ? kv->num_heads : g->num_kv_heads;
    kv->head_dim = kv->head_dim > 0 ? kv->head_dim : g->head_dim;
    if (kv->num_heads <= 0 || kv->head_dim <= 0)
        return wrong(g, past, "heads and head_dim as numbers, here or in the folder's config", err);
    if (kv->num_heads > MAX_HEAD_SIZE || kv->head_dim > MAX_HEAD_SIZE)
        return wrong(g, past, "at most 65536 heads and columns", err);
    kv->token_bytes = kv->num_planes * kv->num_heads * kv->head_dim * kv->element_bytes;
    return NANO_OK;
}

/* The tensor that has this name in a layer, if there is one. */
static enum nano_status read_kv(struct nano_onnx_decoder *d, const char *past, const char *present,
                                int layer, bool *found, struct nano_error *err)
{
    const struct nano_onnx_graph *g = d->graph;
    char name[256];
    struct nano_onnx_kv *kv = &d->kv[d->num_kv];
    kv->input = find(g->inputs, g->num_inputs, layer_name(name, sizeof name, past, layer));
    *found = kv->input >= 0;
    if (!*found)
        return NANO_OK;
    kv->output = find(g->outputs, g->num_outputs, layer_name(name, sizeof name, present, layer));
    if (kv->output < 0)
        return missing(g, "output", name, err);
    for (int k = 0; k < d->num_kv; k++)
        if (d->kv[k].input == kv->input || d->kv[k].output == kv->output)
            return named_twice(g, &g->inputs[kv->input], err);
    if (kv->input == d->input_ids || kv->input == d->attention_mask ||
        kv->input == d->position_ids || kv->output == d->logits)
        return named_twice(g, &g->inputs[kv->input], err);
    enum nano_status status = read_shape(d, kv, err);
    if (status == NANO_OK) {
        d->token_bytes += kv->token_bytes;
        d->num_kv++;
    }
    return status;
}

static enum nano_status read_past(struct nano_onnx_decoder *d, struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    const struct nano_onnx_graph *g = d->graph;
    const struct nano_onnx_names *names = &g->names;
    char name[256];
    for (int layer = 0; layer < MAX_LAYERS && d->num_kv < g->num_inputs; layer++) {
        bool key, value = false, both;
        NANO_TRY(read_kv(d, names->past_key, names->present_key, layer, &key, err));
        if (key)
            NANO_TRY(read_kv(d, names->past_value, names->present_value, layer, &value, err));
        if (key && !value)
            return missing(g, "input", layer_name(name, sizeof name, names->past_value, layer),
                           err);
        NANO_TRY(read_kv(d, names->past, names->present, layer, &both, err));
        d->num_layers += key || both;
    }
fail:
    return status;
}

/* Graphs that only make presents, Optimum's decoder_model.onnx, have no past at all; in others each
 * present must have one. */
static enum nano_status check_presents(const struct nano_onnx_decoder *d, struct nano_error *err)
{
    const struct nano_onnx_graph *g = d->graph;
    const struct nano_onnx_names *names = &g->names;
    const char *const pairs[][2] = {{names->past_key, names->present_key},
                                    {names->past_value, names->present_value},
                                    {names->past, names->present}};
    char name[256];
    for (int layer = 0; d->num_kv > 0 && layer < MAX_LAYERS; layer++)
        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
            layer_name(name, sizeof name, pairs[i][1], layer);
            if (find(g->outputs, g->num_outputs, name) < 0)
                continue;
            layer_name(name, sizeof name, pairs[i][0], layer);
            if (find(g->inputs, g->num_inputs, name) < 0)
                return missing(g, "input", name, err);
        }
    return NANO_OK;
}

/* Everything that is fed must be known: an input left out is an error when it runs. */
static enum nano_status check_inputs(const struct nano_onnx_decoder *d, struct nano_error *err)
{
    const struct nano_onnx_graph *g = d->graph;
    for (int i = 0; i < g->num_inputs; i++) {
        bool known = i == d->input_ids || i == d->attention_mask || i == d->position_ids ||
                     i == d->use_cache_branch;
        for (int k = 0; k < d->num_kv && !known; k++)
            known = i == d->kv[k].input;
        if (!known)
            return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                                  "%s: input '%s' is none that is known: %s, %s, %s, "
                                  "use_cache_branch, %s, %s, %s",
                                  g->path, g->inputs[i].name, g->names.input_ids,
                                  g->names.attention_mask, g->names.position_ids, g->names.past_key,
                                  g->names.past_value, g->names.past);
    }
    return NANO_OK;
}

enum nano_status nano_onnx_decoder_read(struct nano_onnx_decoder *d,
                                        const struct nano_onnx_graph *graph,
                                        struct nano_arena *arena, struct nano_error *err)
{
    enum nano_status status;
    const size_t most = (size_t)graph->num_inputs + 1;
    *d = (struct nano_onnx_decoder){.graph = graph};
    d->kv = nano_arena_alloc(arena, most, sizeof *d->kv);
    if (!d->kv)
        return nano_error_no_memory(err, "the decoder", most * sizeof *d->kv);
    NANO_TRY(read_tokens(d, graph->names.input_ids, &d->input_ids, err));
    if (d->input_ids < 0)
        return missing(graph, "input", graph->names.input_ids, err);
    limit(&d->max_tokens, graph->inputs[d->input_ids].dims[1]);
    if (d->max_tokens > 1)
        return wrong(graph, &graph->inputs[d->input_ids], "one token, or any number", err);
    NANO_TRY(read_tokens(d, graph->names.attention_mask, &d->attention_mask, err));
    NANO_TRY(read_tokens(d, graph->names.position_ids, &d->position_ids, err));
    NANO_TRY(read_cache_branch(d, err));
    NANO_TRY(read_logits(d, err));
    NANO_TRY(read_past(d, err));
    NANO_TRY(check_presents(d, err));
    NANO_TRY(check_inputs(d, err));
    if (d->num_kv == 0 && d->max_tokens > 0)
        return wrong(graph, &graph->inputs[d->input_ids],
                     "any number of tokens: without a past all are computed anew", err);
    if (d->num_kv == 0 && d->use_cache_branch >= 0)
        return wrong(graph, &graph->inputs[d->use_cache_branch], "a past to go with it", err);
    if (d->max_batch > 1)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "%s: takes %d sequences at once, expected one or any number",
                              graph->path, d->max_batch);
    d->context_length = graph->context_length ? graph->context_length : DEFAULT_CONTEXT_LENGTH;
fail:
    return status;
}
