/* Plan of a quantisation. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/quantize_plan.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "format/quant_mix.h"

#define IMPORTANCE_KEYS "quantize.imatrix."
#define NUM_ADDED_KEYS 6
#define QUANTIZATION_VERSION 2 /* of the block formats, as ggml counts (GGML_QNT_VERSION) */

/* What the caller's parameters amount to. */
struct request {
    const struct nano_quantize_params *params;
    enum nano_mix_id mix;               /* NANO_NUM_MIXES: every tensor keeps its format */
    enum nano_format embedding, output; /* NANO_NUM_FORMATS: not given */
    pcre2_code **patterns;
    enum nano_format *formats; /* [num_rules] */
    pcre2_match_data *match;
};

static enum nano_status read_format(enum nano_format *out, const char *name, const char *what,
                                    struct nano_error *err)
{
    *out = name ? nano_format_from_name(name) : NANO_NUM_FORMATS;
    if (name && *out == NANO_NUM_FORMATS)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "%s: '%.60s' is no format, expected one like Q6_K or F16", what,
                              name);
    return NANO_OK;
}

static enum nano_status read_type(struct request *request, const char *name, struct nano_error *err)
{
    char known[320] = "COPY";
    if (name && strcasecmp(name, "COPY") == 0)
        return NANO_OK;
    if (name)
        request->mix = nano_quant_mix_find(name);
    if (request->mix != NANO_NUM_MIXES)
        return NANO_OK;
    for (size_t i = 0; nano_quantize_type_name(i); i++) {
        strncat(known, " ", sizeof known - strlen(known) - 1);
        strncat(known, nano_quantize_type_name(i), sizeof known - strlen(known) - 1);
    }
    return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                          "type '%.40s' is unknown, expected one of %s", name ? name : "", known);
}

static enum nano_status read_rules(struct request *request, struct nano_error *err)
{
    const struct nano_quantize_params *params = request->params;
    const size_t count = params->num_rules > 0 ? (size_t)params->num_rules : 0;
    enum nano_status status = NANO_OK;
    if (count == 0)
        return NANO_OK;
    request->patterns = nano_mem_calloc(count, sizeof *request->patterns);
    request->formats = nano_mem_calloc(count, sizeof *request->formats);
    request->match = pcre2_match_data_create(1, NULL);
    if (!request->patterns || !request->formats || !request->match)
        return nano_error_no_memory(err, "rules", count * sizeof *request->patterns);
    for (size_t i = 0; i < count; i++) {
        const struct nano_quantize_rule *rule = &params->rules[i];
        int code;
        PCRE2_SIZE offset;
        NANO_TRY(read_format(&request->formats[i], rule->format, rule->pattern, err));
        request->patterns[i] = pcre2_compile((PCRE2_SPTR)rule->pattern, PCRE2_ZERO_TERMINATED,
                                             PCRE2_CASELESS, &code, &offset, NULL);
        if (!request->patterns[i]) {
            PCRE2_UCHAR reason[160] = "";
            pcre2_get_error_message(code, reason, sizeof reason);
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "pattern '%.200s': at %zu: %s",
                                  rule->pattern, (size_t)offset, (const char *)reason);
        }
    }
fail:
    return status;
}

static void request_deinit(struct request *request)
{
    for (int i = 0; request->patterns && i < request->params->num_rules; i++)
        pcre2_code_free(request->patterns[i]);
    pcre2_match_data_free(request->match);
    nano_mem_free(request->patterns);
    nano_mem_free(request->formats);
}

static enum nano_status request_init(struct request *request,
                                     const struct nano_quantize_params *params,
                                     struct nano_error *err)
{
    enum nano_status status;
    *request = (struct request){.params = params, .mix = NANO_NUM_MIXES};
    NANO_TRY(read_type(request, params->type, err));
    NANO_TRY(read_format(&request->embedding, params->token_embedding_format,
                         "the token embedding's format", err));
    NANO_TRY(
        read_format(&request->output, params->output_format, "the output tensor's format", err));
    NANO_TRY(read_rules(request, err));
fail:
    return status;
}

/* The caller's choice for a tensor; NANO_NUM_FORMATS: none. */
static enum nano_format chosen_by_caller(const struct request *request,
                                         const struct nano_quant_chooser *chooser,
                                         const struct nano_tensor *tensor)
{
    const enum nano_tensor_role role = nano_tensor_role(tensor->name.bytes);
    if (role == NANO_ROLE_EMBEDDING && request->embedding != NANO_NUM_FORMATS)
        return request->embedding;
    if (role == NANO_ROLE_HEAD && request->output != NANO_NUM_FORMATS)
        return request->output;
    for (int i = 0; i < request->params->num_rules; i++) {
        if (pcre2_match(request->patterns[i], (PCRE2_SPTR)tensor->name.bytes,
                        tensor->name.num_bytes, 0, 0, request->match, NULL) >= 0)
            return request->formats[i];
    }
    return role == NANO_ROLE_EMBEDDING && chooser->is_tied ? request->output : NANO_NUM_FORMATS;
}

static enum nano_format choose(const struct request *request, struct nano_quant_chooser *chooser,
                               const struct nano_tensor *tensor, bool *is_fallback)
{
    *is_fallback = false;
    if (request->mix == NANO_NUM_MIXES || !nano_quant_allows(tensor) ||
        (request->params->leave_output && nano_tensor_role(tensor->name.bytes) == NANO_ROLE_HEAD))
        return tensor->format;
    enum nano_format format = chosen_by_caller(request, chooser, tensor);
    if (format == NANO_NUM_FORMATS)
        format = request->params->pure ? nano_quant_mix(request->mix)->format
                                       : nano_quant_choose(chooser, tensor);
    const enum nano_format fitting = nano_quant_fit(format, tensor->dims[0]);
    *is_fallback = fitting != format;
    return fitting;
}

static enum nano_status check(struct nano_quantize_plan *plan, const struct request *request,
                              const struct nano_quantize_step *step, enum nano_format to,
                              struct nano_error *err)
{
    const struct nano_tensor *tensor = step->from;
    const char *name = nano_format_traits(to)->name;
    if (tensor->format == to)
        return NANO_OK;
    if (nano_format_traits(tensor->format)->block_length > 1 && !request->params->allow_requantize)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "%s: tensor '%.200s' is quantised already (%s): making it %s loses "
                              "quality and has to be asked for (allow_requantize)",
                              nano_weights_label(plan->weights), tensor->name.bytes,
                              nano_format_traits(tensor->format)->name, name);
    if (!step->importance && nano_quant_needs_importance(request->mix, tensor->name.bytes, to)) {
        if (!request->params->dry_run)
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                                  "%s: tensor '%.200s': %s gives nonsense without an importance "
                                  "matrix, and %s",
                                  nano_weights_label(plan->weights), tensor->name.bytes, name,
                                  request->params->importance_path ? "the given one lacks it"
                                                                   : "none is given");
        if (!plan->result.needs_importance)
            plan->result.needs_importance = tensor->name.bytes;
    }
    return NANO_OK;
}

static enum nano_status plan_tensor(struct nano_quantize_plan *plan, const struct request *request,
                                    struct nano_quant_chooser *chooser, size_t i,
                                    struct nano_error *err)
{
    const struct nano_tensor *from = &plan->weights->tensors[i];
    struct nano_quantize_step *step = &plan->steps[i];
    struct nano_tensor *to = &plan->to.tensors[i];
    struct nano_quantize_result *result = &plan->result;
    *step = (struct nano_quantize_step){.from = from};
    *to = *from;
    to->data = NULL;
    to->format = choose(request, chooser, from, &step->is_fallback);
    if (to->format != from->format && request->params->importance_path) {
        const enum nano_status status =
            nano_importance_find(&plan->importance, from->name.bytes, from->dims[0], from->dims[2],
                                 &step->importance, err);
        /* an embedding is looked up, not multiplied: files hold what they like for it */
        if (status != NANO_OK && nano_tensor_role(from->name.bytes) != NANO_ROLE_EMBEDDING)
            return status;
    }
    uint64_t num_params = 1;
    for (int d = 0; d < from->num_dims; d++)
        num_params *= (uint64_t)from->dims[d];
    if (to->format != from->format)
        to->num_bytes = (size_t)(num_params / (uint64_t)from->dims[0]) *
                        nano_format_row_bytes(to->format, from->dims[0]);
    result->num_params += num_params;
    result->from_bytes += from->num_bytes;
    result->to_bytes += to->num_bytes;
    result->num_converted += to->format != from->format;
    result->num_fallbacks += step->is_fallback;
    return check(plan, request, step, to->format, err);
}

static enum nano_status plan_tensors(struct nano_quantize_plan *plan, const struct request *request,
                                     struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    const struct nano_weights *weights = plan->weights;
    const size_t count = weights->num_tensors;
    struct nano_quant_chooser chooser = {0};
    const struct nano_tensor **sorted = nano_mem_alloc(count, sizeof *sorted);
    plan->steps = nano_arena_alloc(&plan->to.arena, count, sizeof *plan->steps);
    plan->to.tensors = nano_arena_alloc(&plan->to.arena, count, sizeof *plan->to.tensors);
    if (!sorted || !plan->steps || !plan->to.tensors) {
        status = nano_error_no_memory(err, "the plan", count * sizeof *plan->to.tensors);
        goto fail;
    }
    plan->to.num_tensors = plan->result.num_tensors = count;
    for (size_t i = 0; i < count; i++)
        sorted[i] = &weights->tensors[i];
    if (count)
        qsort(sorted, count, sizeof *sorted, nano_quant_compare);
    if (request->mix != NANO_NUM_MIXES)
        nano_quant_begin(&chooser, request->mix, weights, request->params->importance_path);
    for (size_t i = 0; i < count; i++)
        NANO_TRY(plan_tensor(plan, request, &chooser, (size_t)(sorted[i] - weights->tensors), err));
fail:
    nano_mem_free(sorted);
    return status;
}

/* Adds the number, in place of one that is there. */
static void set_u32(struct nano_meta_builder *builder, const char *key, uint32_t value)
{
    struct nano_meta *old = (struct nano_meta *)(uintptr_t)nano_weights_meta(builder->weights, key);
    if (old)
        *old = (struct nano_meta){.key = old->key, .type = NANO_META_U32, .value.u = value};
    else
        nano_meta_add_u32(builder, key, value);
}

static enum nano_status plan_metadata(struct nano_quantize_plan *plan,
                                      const struct request *request, struct nano_error *err)
{
    const struct nano_weights *from = plan->weights;
    struct nano_meta_builder builder = {.weights = &plan->to,
                                        .capacity = from->num_metadata + NUM_ADDED_KEYS};
    const bool has_importance = request->params->importance_path != NULL;
    plan->to.metadata =
        nano_arena_alloc(&plan->to.arena, builder.capacity, sizeof *plan->to.metadata);
    if (!plan->to.metadata)
        return nano_error_no_memory(err, "metadata", builder.capacity * sizeof *from->metadata);
    for (size_t i = 0; i < from->num_metadata; i++) {
        const struct nano_meta *meta = &from->metadata[i];
        if (!has_importance ||
            strncmp(meta->key.bytes, IMPORTANCE_KEYS, sizeof IMPORTANCE_KEYS - 1) != 0)
            plan->to.metadata[plan->to.num_metadata++] = *meta;
    }
    if (request->mix != NANO_NUM_MIXES) {
        set_u32(&builder, "general.quantization_version", QUANTIZATION_VERSION);
        set_u32(&builder, "general.file_type", nano_quant_mix(request->mix)->file_type);
    }
    if (has_importance)
        nano_importance_add_metadata(&plan->importance, &builder);
    return nano_meta_build_finish(&builder, err);
}

enum nano_status nano_quantize_plan_create(struct nano_quantize_plan *plan,
                                           const struct nano_weights *weights,
                                           const struct nano_quantize_params *params,
                                           struct nano_error *err)
{
    enum nano_status status;
    struct request request;
    *plan = (struct nano_quantize_plan){.weights = weights};
    if (weights->onnx)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "%s is an ONNX graph, which cannot be quantised here",
                              nano_weights_label(weights));
    nano_arena_init(&plan->to.arena);
    NANO_TRY(request_init(&request, params, err));
    if (params->importance_path)
        NANO_TRY(nano_importance_open(&plan->importance, params->importance_path, err));
    NANO_TRY(plan_tensors(plan, &request, err));
    NANO_TRY(plan_metadata(plan, &request, err));
fail:
    request_deinit(&request);
    if (status != NANO_OK)
        nano_quantize_plan_destroy(plan);
    return status;
}

void nano_quantize_plan_destroy(struct nano_quantize_plan *plan)
{
    nano_importance_close(&plan->importance);
    nano_weights_close(&plan->to);
    *plan = (struct nano_quantize_plan){0};
}
