/* From stored tensors to those of the weights. */
#include "format/hf_tensors.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "format/hf_rope.h"

#define NAME_BYTES 256

struct maker {
    struct nano_weights *weights;
    const struct nano_hf_model *model;
    const struct nano_hf_files *files;
    const char *prefix; /* of the stored names */
    bool *used;         /* [files->num_tensors] */
    struct nano_error *err;
};

static enum nano_status no_memory(const struct maker *m)
{
    return nano_error_no_memory(m->err, "tensors", m->weights->arena.total_bytes);
}

static const struct nano_safetensor *use(struct maker *m, const char *name)
{
    const struct nano_safetensor *stored = nano_hf_files_find(m->files, name);
    if (stored)
        m->used[stored - m->files->tensors] = true;
    return stored;
}

/* "layers.*.mlp" with 7 -> "layers.7.mlp" */
static void expand(char *out, const char *prefix, const char *name, int64_t layer,
                   const char *suffix)
{
    const char *star = strchr(name, '*');
    if (star)
        snprintf(out, NAME_BYTES, "%s%.*s%lld%s%s", prefix, (int)(star - name), name,
                 (long long)layer, star + 1, suffix);
    else
        snprintf(out, NAME_BYTES, "%s%s%s", prefix, name, suffix);
}

static enum nano_status wrong_shape(const struct maker *m, const struct nano_safetensor *stored,
                                    const struct nano_hf_name *row, int num_dims)
{
    const int64_t rows = m->model->sizes[row->rows], cols = m->model->sizes[row->cols];
    char found[100] = "", expected[100];
    size_t used = 0;
    for (int i = 0; i < stored->num_dims && used < sizeof found; i++)
        used += (size_t)snprintf(found + used, sizeof found - used, "%s%lld", i ? ", " : "",
                                 (long long)stored->dims[i]);
    if (num_dims == 1)
        snprintf(expected, sizeof expected, "[%lld] (%s", (long long)rows,
                 nano_hf_size_name(row->rows));
    else
        snprintf(expected, sizeof expected, "[%lld, %lld] (%s, %s", (long long)rows,
                 (long long)cols, nano_hf_size_name(row->rows), nano_hf_size_name(row->cols));
    return nano_error_set(m->err, NANO_ERR_FORMAT,
                          "%s: tensor '%.150s': shape [%s], expected %s of %s)", stored->path,
                          stored->name.bytes, found, expected, m->model->config_path);
}

static enum nano_status check_shape(const struct maker *m, const struct nano_safetensor *stored,
                                    const struct nano_hf_name *row, int num_dims)
{
    const int64_t rows = m->model->sizes[row->rows], cols = m->model->sizes[row->cols];
    if (stored->num_dims != num_dims || (rows && stored->dims[0] != rows) || stored->dims[0] < 1 ||
        (num_dims == 2 && (stored->dims[1] != cols || cols < 1)))
        return wrong_shape(m, stored, row, num_dims);
    return NANO_OK;
}

static struct nano_tensor *add(struct maker *m, const char *name)
{
    struct nano_tensor *tensor = &m->weights->tensors[m->weights->num_tensors];
    *tensor = (struct nano_tensor){.dims = {1, 1, 1, 1}};
    tensor->name.num_bytes = strlen(name);
    tensor->name.bytes = nano_arena_strdup(&m->weights->arena, name, tensor->name.num_bytes);
    if (!tensor->name.bytes)
        return NULL;
    m->weights->num_tensors++;
    return tensor;
}

static const struct {
    enum nano_format format;
    size_t bytes;
} presented[] = {
    [NANO_STORED_F32] = {NANO_FORMAT_F32, 4},
    [NANO_STORED_F16] = {NANO_FORMAT_F16, 2},
    [NANO_STORED_BF16] = {NANO_FORMAT_BF16, 2},
    [NANO_STORED_F8_E4M3] = {NANO_FORMAT_BF16, 1},
};

static enum nano_status wrong_type(const struct maker *m, const struct nano_safetensor *stored,
                                   const char *expected)
{
    return nano_error_set(m->err, NANO_ERR_UNSUPPORTED,
                          "%s: tensor '%.200s': dtype is %s, expected %s", stored->path,
                          stored->name.bytes, stored->dtype, expected);
}

/* A stored float tensor of `count` elements as f32 in the arena; NULL without memory. */
static float *to_f32(const struct maker *m, const struct nano_safetensor *stored, int64_t count)
{
    float *out = nano_arena_alloc(&m->weights->arena, (size_t)count, sizeof *out);
    const struct nano_tensor view = {.format = presented[stored->type].format,
                                     .dims = {count, 1, 1, 1},
                                     .data = stored->data,
                                     .num_bytes = stored->num_bytes};
    if (out)
        nano_tensor_read_rows_f32(&view, 0, 1, out);
    return out;
}

/* Scales of whole tensors, of rows, or of blocks. */
static enum nano_status find_scales(struct maker *m, const struct nano_safetensor *stored,
                                    struct nano_tensor_source *source)
{
    static const char *const suffixes[] = {"_scale_inv", "_scale"};
    const int64_t rows = stored->dims[0], cols = stored->dims[1];
    const struct nano_safetensor *scales = NULL;
    char name[NAME_BYTES];
    for (size_t i = 0; i < 2 && !scales; i++) {
        snprintf(name, sizeof name, "%s%s", stored->name.bytes, suffixes[i]);
        scales = use(m, name);
    }
    if (!scales)
        return nano_error_set(m->err, NANO_ERR_FORMAT,
                              "%s: tensor '%.150s': dtype is F8_E4M3, but there is no tensor "
                              "'%.150s_scale_inv' or '…_scale'",
                              stored->path, stored->name.bytes, stored->name.bytes);
    if (scales->type >= NANO_STORED_F8_E4M3)
        return wrong_type(m, scales, "F32, F16 or BF16");
    int64_t count = 1;
    for (int i = 0; i < scales->num_dims; i++)
        count *= scales->dims[i];
    const int64_t first = scales->num_dims ? scales->dims[0] : 1;
    const int64_t block_rows = m->model->block_rows, block_cols = m->model->block_cols;
    const int64_t grid_cols = (cols - 1) / block_cols + 1;
    source->scale_cols = 1;
    source->block_cols = cols;
    if (count == 1) {
        source->block_rows = rows;
    } else if (count == rows && first == rows) {
        source->block_rows = 1;
    } else if (scales->num_dims == 2 && first == (rows - 1) / block_rows + 1 &&
               scales->dims[1] == grid_cols) {
        source->block_rows = block_rows;
        source->block_cols = block_cols;
        source->scale_cols = grid_cols;
    } else {
        return nano_error_set(m->err, NANO_ERR_FORMAT,
                              "%s: tensor '%.200s': shape fits neither one scale, one per row nor "
                              "blocks of %lld x %lld of [%lld, %lld]",
                              scales->path, scales->name.bytes, (long long)block_rows,
                              (long long)block_cols, (long long)rows, (long long)cols);
    }
    source->scales = to_f32(m, scales, count);
    return source->scales ? NANO_OK : no_memory(m);
}

/* Rows of q and k that GGUF has as rotary pairs. */
static int64_t pair_rows(const struct maker *m, const struct nano_hf_name *row)
{
    const bool is_rotary =
        strcmp(row->name, "blk.*.attn_q") == 0 || strcmp(row->name, "blk.*.attn_k") == 0;
    return m->model->architecture->pairs && is_rotary ? m->model->sizes[NANO_HF_HEAD] : 0;
}

static enum nano_status add_matrix(struct maker *m, const struct nano_safetensor *stored,
                                   const struct nano_hf_name *row, const char *name)
{
    enum nano_status status;
    NANO_TRY(check_shape(m, stored, row, 2));
    if (stored->type == NANO_STORED_OTHER)
        return wrong_type(m, stored, "F32, F16, BF16 or F8_E4M3");
    struct nano_tensor *tensor = add(m, name);
    if (!tensor)
        return no_memory(m);
    tensor->format = presented[stored->type].format;
    tensor->num_dims = 2;
    tensor->dims[0] = stored->dims[1];
    tensor->dims[1] = stored->dims[0];
    tensor->num_bytes =
        (size_t)stored->dims[0] * nano_format_row_bytes(tensor->format, tensor->dims[0]);
    const bool aligned = (uintptr_t)stored->data % presented[stored->type].bytes == 0;
    if (aligned && pair_rows(m, row) == 0 && stored->type != NANO_STORED_F8_E4M3) {
        tensor->data = stored->data;
        return NANO_OK;
    }
    struct nano_tensor_source *source = nano_arena_alloc(&m->weights->arena, 1, sizeof *source);
    if (!source)
        return no_memory(m);
    source->type = stored->type;
    source->data = stored->data;
    source->num_bytes = stored->num_bytes;
    source->pair_rows = pair_rows(m, row);
    if (stored->type == NANO_STORED_F8_E4M3)
        NANO_TRY(find_scales(m, stored, source));
    tensor->source = source;
fail:
    return status;
}

static enum nano_status add_vector(struct maker *m, const struct nano_safetensor *stored,
                                   const struct nano_hf_name *row, const char *name)
{
    enum nano_status status;
    NANO_TRY(check_shape(m, stored, row, 1));
    if (stored->type >= NANO_STORED_F8_E4M3)
        return wrong_type(m, stored, "F32, F16 or BF16");
    const int64_t n = stored->dims[0], pairs = pair_rows(m, row);
    float *values = to_f32(m, stored, n);
    struct nano_tensor *tensor = add(m, name);
    if (!values || !tensor)
        return no_memory(m);
    if (m->model->architecture->norms_less_one && strstr(row->name, "norm"))
        for (int64_t i = 0; i < n; i++)
            values[i] += 1;
    if (pairs) { /* as the matrix's rows */
        float *ordered = nano_arena_alloc(&m->weights->arena, (size_t)n, sizeof *ordered);
        if (!ordered)
            return no_memory(m);
        for (int64_t i = 0; i < n; i++) {
            const int64_t at = i % pairs;
            ordered[i] = values[i - at + at / 2 + at % 2 * (pairs / 2)];
        }
        values = ordered;
    }
    tensor->format = NANO_FORMAT_F32;
    tensor->num_dims = 1;
    tensor->dims[0] = n;
    tensor->num_bytes = (size_t)n * sizeof *values;
    tensor->data = values;
fail:
    return status;
}

static enum nano_status missing(const struct maker *m, const char *name, const char *why)
{
    return nano_error_set(m->err, NANO_ERR_FORMAT, "%s: tensor '%.200s' is missing%s",
                          m->weights->path, name, why);
}

static bool has_bias(const struct nano_hf_model *model, enum nano_hf_bias bias)
{
    return bias == NANO_HF_BIAS_ALWAYS ||
           (bias == NANO_HF_BIAS_ATTENTION && model->attention_bias) ||
           (bias == NANO_HF_BIAS_MLP && model->mlp_bias);
}

static enum nano_status add_row(struct maker *m, const struct nano_hf_name *row, int64_t layer)
{
    enum nano_status status = NANO_OK;
    char stored_name[NAME_BYTES], name[NAME_BYTES];
    const bool is_head = strcmp(row->name, "output") == 0;
    const char *prefix = m->prefix;
    if (is_head) /* which stands outside the model */
        prefix = strncmp(prefix, "language_model.", 15) == 0 ? "language_model." : "";
    expand(stored_name, prefix, row->stored, layer, ".weight");
    expand(name, "", row->name, layer, ".weight");
    const struct nano_safetensor *stored = use(m, stored_name);
    if (is_head && m->model->tied)
        return NANO_OK;
    if (!stored)
        return missing(m, stored_name,
                       is_head ? ", and config.json's tie_word_embeddings is false" : "");
    NANO_TRY(row->cols ? add_matrix(m, stored, row, name) : add_vector(m, stored, row, name));
    if (!has_bias(m->model, row->bias))
        return NANO_OK;
    expand(stored_name, prefix, row->stored, layer, ".bias");
    expand(name, "", row->name, layer, ".bias");
    stored = use(m, stored_name);
    if (!stored)
        return missing(m, stored_name,
                       row->bias == NANO_HF_BIAS_ATTENTION
                           ? ", but config.json's attention_bias is true"
                       : row->bias == NANO_HF_BIAS_MLP ? ", but config.json's mlp_bias is true"
                                                       : "");
    NANO_TRY(add_vector(m, stored, row, name));
fail:
    return status;
}

/* Everything of a layer, or, with -1, what is in none: files are read in this order. */
static enum nano_status add_rows(struct maker *m, int64_t layer)
{
    enum nano_status status = NANO_OK;
    for (const struct nano_hf_name *row = m->model->architecture->names; row->stored; row++)
        if ((strchr(row->stored, '*') != NULL) == (layer >= 0))
            NANO_TRY(add_row(m, row, layer));
fail:
    return status;
}

/* A vector with an element per rotary pair, to be filled; NULL without memory. */
static float *add_pairs(struct maker *m, const char *name)
{
    const int64_t num_pairs = m->model->rotary_dims / 2;
    struct nano_tensor *tensor = add(m, name);
    float *factors = nano_arena_alloc(&m->weights->arena, (size_t)num_pairs, sizeof *factors);
    if (!tensor || !factors)
        return NULL;
    tensor->format = NANO_FORMAT_F32;
    tensor->num_dims = 1;
    tensor->dims[0] = num_pairs;
    tensor->num_bytes = (size_t)num_pairs * sizeof *factors;
    tensor->data = factors;
    return factors;
}

static enum nano_status add_long_factors(struct maker *m, const char *name, const json_t *array)
{
    float *factors = add_pairs(m, name);
    if (!factors)
        return no_memory(m);
    for (size_t i = 0; i < json_array_size(array); i++)
        factors[i] = (float)json_number_value(json_array_get(array, i));
    return NANO_OK;
}

static enum nano_status add_rope_factors(struct maker *m)
{
    enum nano_status status = NANO_OK;
    if (m->model->llama3.factor != 0) {
        float *factors = add_pairs(m, "rope_freqs.weight");
        if (!factors)
            return no_memory(m);
        nano_hf_rope_factors(m->model, factors, m->model->rotary_dims / 2);
    }
    if (m->model->longrope.long_factors) {
        NANO_TRY(add_long_factors(m, "rope_factors_long.weight", m->model->longrope.long_factors));
        NANO_TRY(
            add_long_factors(m, "rope_factors_short.weight", m->model->longrope.short_factors));
    }
fail:
    return status;
}

/* What the program does not compute with would change the model's meaning, but for tables that it
 * makes itself, scales of activations, and parts that are beside the language model. */
static enum nano_status check_all_used(const struct maker *m)
{
    static const char *const harmless[] = {"rotary_emb.inv_freq",
                                           ".input_scale",
                                           ".activation_scale",
                                           ".k_scale",
                                           ".v_scale",
                                           "visual.",
                                           "vision_",
                                           "mtp.",
                                           "multi_modal_projector."};
    for (size_t i = 0; i < m->files->num_tensors; i++) {
        const struct nano_safetensor *stored = &m->files->tensors[i];
        bool fine = m->used[i];
        for (size_t k = 0; k < sizeof harmless / sizeof *harmless; k++)
            fine |= strstr(stored->name.bytes, harmless[k]) != NULL;
        if (!fine)
            return nano_error_set(m->err, NANO_ERR_UNSUPPORTED,
                                  "%s: tensor '%.200s' is no part of %s as %s describes it",
                                  stored->path, stored->name.bytes,
                                  m->model->architecture->class_name, m->model->config_path);
    }
    return NANO_OK;
}

static enum nano_status find_prefix(struct maker *m)
{
    static const char *const prefixes[] = {"model.", "model.language_model.",
                                           "language_model.model.", ""};
    char name[NAME_BYTES];
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        snprintf(name, sizeof name, "%sembed_tokens.weight", prefixes[i]);
        m->prefix = prefixes[i];
        if (nano_hf_files_find(m->files, name))
            return NANO_OK;
    }
    return missing(m, "model.embed_tokens.weight", "");
}

enum nano_status nano_hf_tensors_make(struct nano_weights *weights,
                                      const struct nano_hf_model *model,
                                      const struct nano_hf_files *files, struct nano_error *err)
{
    enum nano_status status;
    struct maker m = {.weights = weights, .model = model, .files = files, .err = err};
    NANO_TRY(find_prefix(&m));
    /* every tensor but those of rope factors is stored */
    weights->tensors =
        nano_arena_alloc(&weights->arena, files->num_tensors + 3, sizeof *weights->tensors);
    m.used = nano_mem_calloc(files->num_tensors, sizeof *m.used);
    if (!weights->tensors || !m.used) {
        status = no_memory(&m);
        goto fail;
    }
    NANO_TRY(add_rows(&m, -1));
    for (int64_t layer = 0; layer < model->num_layers; layer++)
        NANO_TRY(add_rows(&m, layer));
    NANO_TRY(add_rope_factors(&m));
    NANO_TRY(check_all_used(&m));
fail:
    nano_mem_free(m.used);
    return status;
}
