/* LoRA adapter files: metadata, and tensors put together to pairs. */
#include "format/lora_file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/gguf.h"

#define SUFFIX_BYTES (sizeof ".lora_a" - 1)

static bool ends_with(struct nano_string name, const char *end)
{
    const size_t length = strlen(end);
    return name.num_bytes >= length &&
           memcmp(name.bytes + name.num_bytes - length, end, length) == 0;
}

static enum nano_status expect_string(const struct nano_weights *weights, const char *key,
                                      const char *expected, struct nano_error *err)
{
    struct nano_string value = {0};
    enum nano_status status = nano_meta_get_string(weights, key, &value, err);
    if (status != NANO_OK)
        return status;
    if (!value.bytes)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: no metadata key '%s', expected '%s': not a LoRA adapter",
                              nano_weights_label(weights), key, expected);
    if (value.num_bytes != strlen(expected) || !ends_with(value, expected))
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: metadata key '%s' is '%.*s', expected '%s': not a LoRA adapter",
                              nano_weights_label(weights), key,
                              (int)(value.num_bytes < 64 ? value.num_bytes : 64), value.bytes,
                              expected);
    return NANO_OK;
}

static enum nano_status read_metadata(const struct nano_weights *weights, double *alpha,
                                      struct nano_error *err)
{
    enum nano_status status;
    *alpha = 0;
    NANO_TRY(expect_string(weights, "general.type", "adapter", err));
    NANO_TRY(expect_string(weights, "adapter.type", "lora", err));
    NANO_TRY(nano_meta_get_float(weights, "adapter.lora.alpha", alpha, err));
    if (!isfinite(*alpha))
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: metadata key 'adapter.lora.alpha' is %g, expected a number",
                              nano_weights_label(weights), *alpha);
    if (nano_weights_meta(weights, "adapter.alora.invocation_tokens"))
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "%s: is an adapter that certain tokens switch on (aLoRA), which this "
                              "build does not know",
                              nano_weights_label(weights));
fail:
    return status;
}

/* NAME.lora_a's other half, or NULL with an error. */
static const struct nano_tensor *find_half(struct nano_weights *weights, const char *target,
                                           const char *suffix, const struct nano_tensor *other,
                                           char *name, struct nano_error *err)
{
    memcpy(name, target, strlen(target));
    memcpy(name + strlen(target), suffix, SUFFIX_BYTES + 1);
    const struct nano_tensor *half = nano_weights_find(weights, name);
    if (!half)
        nano_error_set(err, NANO_ERR_FORMAT, "%s: tensor '%.200s' has no '%.200s' beside it",
                       nano_weights_label(weights), other->name.bytes, name);
    return half;
}

static enum nano_status bad_shape(const struct nano_lora_file *file,
                                  const struct nano_tensor *tensor, const char *expected,
                                  const struct nano_tensor *beside, struct nano_error *err)
{
    return nano_error_set(err, NANO_ERR_FORMAT,
                          "%s: tensor '%.200s' is [%lld, %lld], expected %s beside '%.120s' [%lld, "
                          "%lld]",
                          nano_weights_label(&file->weights), tensor->name.bytes,
                          (long long)tensor->dims[0], (long long)tensor->dims[1], expected,
                          beside->name.bytes, (long long)beside->dims[0],
                          (long long)beside->dims[1]);
}

static enum nano_status check_pair(const struct nano_lora_file *file, struct nano_lora_pair *pair,
                                   double alpha, struct nano_error *err)
{
    const struct nano_tensor *const halves[] = {pair->a, pair->b};
    for (int i = 0; i < 2; i++)
        if (halves[i]->dims[2] * halves[i]->dims[3] != 1)
            return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                                  "%s: tensor '%.200s' has %d dimensions, expected 2: adapters of "
                                  "experts' matrices are not supported",
                                  nano_weights_label(&file->weights), halves[i]->name.bytes,
                                  halves[i]->num_dims);
    const int64_t rank = pair->b->dims[0];
    if (pair->is_lookup && pair->a->dims[0] != rank)
        return bad_shape(file, pair->a, "the same rank, [rank, tokens],", pair->b, err);
    if (!pair->is_lookup && pair->a->dims[1] != rank)
        return bad_shape(file, pair->a, "[columns, rank]", pair->b, err);
    if (rank > NANO_LORA_MAX_RANK)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "%s: tensor '%.200s' has rank %lld, expected at most %d",
                              nano_weights_label(&file->weights), pair->b->name.bytes,
                              (long long)rank, NANO_LORA_MAX_RANK);
    pair->rank = (int)rank;
    pair->scale = alpha != 0 ? (float)(alpha / (double)rank) : 1;
    return NANO_OK;
}

static enum nano_status add_tensor(struct nano_lora_file *file, const struct nano_tensor *tensor,
                                   double alpha, struct nano_error *err)
{
    struct nano_weights *weights = &file->weights;
    const bool is_a = ends_with(tensor->name, ".lora_a"), is_b = ends_with(tensor->name, ".lora_b");
    if (!is_a && !is_b && ends_with(tensor->name, "_norm.weight")) {
        file->num_norms++;
        return NANO_OK;
    }
    if (!is_a && !is_b)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: tensor '%.200s', expected names that end in .lora_a or .lora_b",
                              nano_weights_label(weights), tensor->name.bytes);
    char *target = nano_arena_strdup(&weights->arena, tensor->name.bytes,
                                     tensor->name.num_bytes - SUFFIX_BYTES);
    char *name = nano_arena_alloc(&weights->arena, tensor->name.num_bytes + 1, 1);
    if (!target || !name)
        return nano_error_no_memory(err, "an adapter", tensor->name.num_bytes);
    const struct nano_tensor *other =
        find_half(weights, target, is_a ? ".lora_b" : ".lora_a", tensor, name, err);
    if (!other)
        return NANO_ERR_FORMAT;
    if (is_b)
        return NANO_OK; /* its pair comes with the other half */
    struct nano_lora_pair *pair = &file->pairs[file->num_pairs++];
    *pair = (struct nano_lora_pair){.target = target,
                                    .a = tensor,
                                    .b = other,
                                    .is_lookup = strcmp(target, "token_embd.weight") == 0};
    return check_pair(file, pair, alpha, err);
}

enum nano_status nano_lora_file_open(struct nano_lora_file *out, const char *path,
                                     struct nano_error *err)
{
    enum nano_status status;
    double alpha;
    *out = (struct nano_lora_file){0};
    struct nano_weights *weights = &out->weights;
    NANO_TRY(nano_gguf_open(weights, path, err));
    NANO_TRY(read_metadata(weights, &alpha, err));
    out->pairs = nano_arena_alloc(&weights->arena, weights->num_tensors + 1, sizeof *out->pairs);
    if (!out->pairs) {
        status = nano_error_no_memory(err, "an adapter", weights->num_tensors * sizeof *out->pairs);
        goto fail;
    }
    for (size_t i = 0; i < weights->num_tensors; i++)
        NANO_TRY(add_tensor(out, &weights->tensors[i], alpha, err));
    if (out->num_pairs == 0) {
        status = nano_error_set(err, NANO_ERR_FORMAT, "%s: has no tensors of a LoRA adapter",
                                nano_weights_label(weights));
        goto fail;
    }
    return NANO_OK;
fail:
    nano_lora_file_close(out);
    return status;
}

enum nano_status nano_lora_refuse(const struct nano_weights *weights, struct nano_error *err)
{
    struct nano_string type = {0};
    if (nano_meta_get_string(weights, "general.type", &type, NULL) != NANO_OK ||
        type.num_bytes != strlen("adapter") || !ends_with(type, "adapter"))
        return NANO_OK;
    return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                          "%s: is an adapter, expected the model that it belongs to",
                          nano_weights_label(weights));
}

void nano_lora_file_close(struct nano_lora_file *file)
{
    nano_weights_close(&file->weights);
    *file = (struct nano_lora_file){0};
}

/* ---- against a model ---- */

static enum nano_status misfit(const struct nano_lora_file *file, const struct nano_tensor *half,
                               const struct nano_tensor *target, int dim, int64_t expected,
                               struct nano_error *err)
{
    char first[32], second[32];
    snprintf(first, sizeof first, "%lld", (long long)(dim == 0 ? expected : half->dims[0]));
    snprintf(second, sizeof second, "%lld", (long long)(dim == 1 ? expected : half->dims[1]));
    return nano_error_set(err, NANO_ERR_FORMAT,
                          "%s: tensor '%.200s' is [%lld, %lld], expected [%s, %s] for the model's "
                          "[%lld, %lld]",
                          nano_weights_label(&file->weights), half->name.bytes,
                          (long long)half->dims[0], (long long)half->dims[1], first, second,
                          (long long)target->dims[0], (long long)target->dims[1]);
}

static enum nano_status check_target(const struct nano_lora_file *file,
                                     const struct nano_lora_pair *pair,
                                     const struct nano_weights *model, struct nano_error *err)
{
    const struct nano_tensor *target = nano_weights_find(model, pair->target);
    if (!target)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: tensor '%.200s': the model %s has no '%.120s'",
                              nano_weights_label(&file->weights), pair->a->name.bytes,
                              nano_weights_label(model), pair->target);
    if (target->dims[2] * target->dims[3] != 1)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "%s: tensor '%.200s': '%.120s' of the model has %d dimensions, "
                              "expected 2",
                              nano_weights_label(&file->weights), pair->a->name.bytes, pair->target,
                              target->num_dims);
    const struct nano_tensor *of_rows = pair->is_lookup ? pair->a : pair->b;
    if (pair->is_lookup && pair->b->dims[1] != target->dims[0])
        return misfit(file, pair->b, target, 1, target->dims[0], err);
    if (!pair->is_lookup && pair->a->dims[0] != target->dims[0])
        return misfit(file, pair->a, target, 0, target->dims[0], err);
    if (of_rows->dims[1] != target->dims[1])
        return misfit(file, of_rows, target, 1, target->dims[1], err);
    return NANO_OK;
}

enum nano_status nano_lora_file_check(const struct nano_lora_file *file,
                                      const struct nano_weights *model, struct nano_error *err)
{
    struct nano_string has = {"", 0}, expected = {"", 0};
    enum nano_status status;
    NANO_TRY(nano_meta_get_string(&file->weights, "general.architecture", &has, err));
    NANO_TRY(nano_meta_get_string(model, "general.architecture", &expected, err));
    if (has.num_bytes != expected.num_bytes ||
        memcmp(has.bytes, expected.bytes, has.num_bytes) != 0)
        return nano_error_set(
            err, NANO_ERR_FORMAT, "%s: is an adapter for '%.*s' models, expected '%.*s' as in %s",
            nano_weights_label(&file->weights), (int)(has.num_bytes < 64 ? has.num_bytes : 64),
            has.bytes, (int)(expected.num_bytes < 64 ? expected.num_bytes : 64), expected.bytes,
            nano_weights_label(model));
    for (size_t i = 0; i < file->num_pairs; i++)
        NANO_TRY(check_target(file, &file->pairs[i], model, err));
fail:
    return status;
}
