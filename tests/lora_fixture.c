/* LoRA adapters for tests. */
#include "lora_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "simd/dequantize.h"
#include "simd/quantize.h"

static double uniform(uint64_t *state) /* [-1, 1) */
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u; /* splitmix64 */
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-52 - 1;
}

static bool changes(const struct lora_spec *spec, const struct nano_tensor *tensor)
{
    const bool is_embedding = strcmp(tensor->name.bytes, "token_embd.weight") == 0;
    if (tensor->num_dims != 2 || (is_embedding && !spec->lookup) ||
        (spec->only && !strstr(tensor->name.bytes, spec->only)))
        return false;
    if (!spec->program)
        return true;
    const struct nano_weights *weights = spec->program->weights;
    const struct nano_adapter_part part = {.target = nano_weights_find(weights, tensor->name.bytes),
                                           .a = tensor,
                                           .stored = weights,
                                           .is_lookup = is_embedding};
    return nano_adapter_part_check(&part, spec->program, NULL) == NANO_OK;
}

/* The values of one half, rows of `cols`, and what the format makes of them. */
static float *values(const struct lora_spec *spec, const struct nano_tensor *tensor, int half,
                     int64_t rows, int64_t cols, void **stored, size_t *num_bytes)
{
    const size_t count = (size_t)(rows * cols);
    uint64_t state = spec->seed * 2 + (uint64_t)half;
    for (const char *c = tensor->name.bytes; *c; c++)
        state = state * 131 + (unsigned char)*c;
    float *data = malloc(count * sizeof *data);
    *num_bytes = (size_t)rows * nano_format_row_bytes(spec->format, cols);
    *stored = malloc(*num_bytes);
    cr_assert(data && *stored);
    const double spread = half ? 0.7 : 1 / sqrt((double)cols);
    for (size_t i = 0; i < count; i++)
        data[i] = (float)(spread * uniform(&state));
    nano_quantize_rows(spec->format, data, *stored, rows, cols, NULL);
    nano_dequantize_rows(spec->format, *stored, data, rows, cols);
    return data;
}

static bool is_lookup(const struct nano_tensor *tensor)
{
    return strcmp(tensor->name.bytes, "token_embd.weight") == 0;
}

static void put_half(struct gguf_builder *builder, const struct nano_tensor *tensor,
                     const struct lora_spec *spec, int half)
{
    const int64_t cols = tensor->dims[0], rows = tensor->dims[1], rank = spec->rank;
    int64_t dims[2] = {half ? rank : cols, half ? rows : rank};
    if (is_lookup(tensor)) {
        dims[0] = rank;
        dims[1] = half ? cols : rows;
    }
    char name[128];
    void *stored;
    size_t num_bytes;
    snprintf(name, sizeof name, "%s.lora_%c", tensor->name.bytes, half ? 'b' : 'a');
    free(values(spec, tensor, half, dims[1], dims[0], &stored, &num_bytes));
    gguf_builder_tensor(builder, name, nano_format_traits(spec->format)->gguf_id, 2, dims, stored,
                        num_bytes);
    free(stored);
}

void lora_metadata(struct gguf_builder *builder, const char *architecture)
{
    gguf_builder_string(builder, "general.type", "adapter");
    gguf_builder_string(builder, "general.architecture", architecture);
    gguf_builder_string(builder, "adapter.type", "lora");
}

void lora_write_file(char path[LORA_PATH_BYTES], struct gguf_builder *builder)
{
    snprintf(path, LORA_PATH_BYTES, "/tmp/nanovllm-lora-XXXXXX");
    const int file = mkstemp(path);
    cr_assert_geq(file, 0);
    close(file);
    gguf_builder_write(builder, path);
}

void lora_write(char path[LORA_PATH_BYTES], const struct nano_weights *model,
                const struct lora_spec *spec)
{
    struct gguf_builder builder;
    struct nano_string architecture = {0};
    char name[64];
    gguf_builder_init(&builder);
    nano_meta_get_string(model, "general.architecture", &architecture, NULL);
    snprintf(name, sizeof name, "%.*s", (int)architecture.num_bytes, architecture.bytes);
    lora_metadata(&builder, name);
    if (spec->alpha != 0)
        gguf_builder_f32(&builder, "adapter.lora.alpha", spec->alpha);
    for (int half = 1; half >= 0; half--) /* in no helpful order */
        for (size_t i = 0; i < model->num_tensors; i++)
            if (changes(spec, &model->tensors[i]))
                put_half(&builder, &model->tensors[i], spec, half);
    lora_write_file(path, &builder);
    gguf_builder_deinit(&builder);
}

static void merge_tensor(struct nano_weights *model, struct nano_tensor *tensor,
                         const struct lora_spec *spec, double scale)
{
    const int64_t cols = tensor->dims[0], rows = tensor->dims[1], rank = spec->rank;
    const bool lookup = is_lookup(tensor);
    void *stored_a, *stored_b;
    size_t a_bytes, b_bytes;
    float *a = lookup ? values(spec, tensor, 0, rows, rank, &stored_a, &a_bytes)
                      : values(spec, tensor, 0, rank, cols, &stored_a, &a_bytes);
    float *b = lookup ? values(spec, tensor, 1, cols, rank, &stored_b, &b_bytes)
                      : values(spec, tensor, 1, rows, rank, &stored_b, &b_bytes);
    float *data = nano_arena_alloc(&model->arena, (size_t)(rows * cols), sizeof *data);
    cr_assert_not_null(data);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < cols; c++) {
            double sum = 0;
            for (int64_t k = 0; k < rank; k++)
                sum += lookup ? (double)a[r * rank + k] * (double)b[c * rank + k]
                              : (double)b[r * rank + k] * (double)a[k * cols + c];
            const double w = (double)((const float *)tensor->data)[r * cols + c];
            data[r * cols + c] = (float)(w + scale * sum);
        }
    }
    tensor->data = data;
    free(a);
    free(b);
    free(stored_a);
    free(stored_b);
}

void lora_merge(struct nano_weights *model, const struct lora_spec *spec, double scale)
{
    if (spec->alpha != 0)
        scale *= (double)spec->alpha / spec->rank;
    for (size_t i = 0; i < model->num_tensors; i++)
        if (changes(spec, &model->tensors[i]))
            merge_tensor(model, &model->tensors[i], spec, scale);
}

struct nano_adapter lora_adapter(const struct nano_lora_file *file,
                                 const struct nano_weights *model, float scale)
{
    struct nano_adapter_part *parts = calloc(file->num_pairs, sizeof *parts);
    cr_assert_not_null(parts);
    for (size_t i = 0; i < file->num_pairs; i++)
        parts[i] =
            (struct nano_adapter_part){.target = nano_weights_find(model, file->pairs[i].target),
                                       .a = file->pairs[i].a,
                                       .b = file->pairs[i].b,
                                       .stored = &file->weights,
                                       .scale = scale * file->pairs[i].scale,
                                       .is_lookup = file->pairs[i].is_lookup};
    return (struct nano_adapter){parts, file->num_pairs};
}
