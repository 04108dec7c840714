/* Which tensors are quantised on load, and to what. */
#include "format/requantize.h"

#include <string.h>

#define MAX_BLOCK_LENGTH 256

static bool is_matrix_of_model(const struct nano_tensor *tensor)
{
    static const char *const kept[] = {"_norm.weight", "ffn_gate_inp",  "ssm_conv1d", "shortconv",
                                       "rope_freqs",   "position_embd", "token_types"};
    static const char suffix[] = ".weight";
    const struct nano_string *name = &tensor->name;
    if (tensor->num_dims < 2 || name->num_bytes < sizeof suffix - 1 ||
        strcmp(name->bytes + name->num_bytes - (sizeof suffix - 1), suffix) != 0)
        return false;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (strstr(name->bytes, kept[i]))
            return false;
    return true;
}

/* What rows that are no whole blocks of the format are quantised to. */
static enum nano_format fitting_format(enum nano_format format, int64_t cols)
{
    if (cols % nano_format_traits(format)->block_length == 0)
        return format;
    switch (format) {
    case NANO_FORMAT_Q4_K:
        format = NANO_FORMAT_Q5_0;
        break;
    case NANO_FORMAT_Q5_K:
        format = NANO_FORMAT_Q5_1;
        break;
    case NANO_FORMAT_Q6_K:
        format = NANO_FORMAT_Q8_0;
        break;
    default:
        format = NANO_FORMAT_IQ4_NL;
    }
    return cols % nano_format_traits(format)->block_length == 0 ? format : NANO_FORMAT_F16;
}

/* By bytes of 256 weights. */
static bool is_smaller(enum nano_format a, enum nano_format b)
{
    return nano_format_row_bytes(a, MAX_BLOCK_LENGTH) < nano_format_row_bytes(b, MAX_BLOCK_LENGTH);
}

static enum nano_format format_for(const struct nano_weights *weights,
                                   const struct nano_tensor *tensor, enum nano_format format)
{
    const bool tied = !nano_weights_find(weights, "output.weight");
    const bool makes_logits =
        strcmp(tensor->name.bytes, tied ? "token_embd.weight" : "output.weight") == 0;
    if (makes_logits && is_smaller(format, NANO_FORMAT_Q6_K)) {
        format = NANO_FORMAT_Q6_K;
        if (tensor->dims[0] % MAX_BLOCK_LENGTH)
            format = NANO_FORMAT_Q8_0;
    }
    return fitting_format(format, tensor->dims[0]);
}

static enum nano_status quantize_tensor(struct nano_weights *weights, struct nano_tensor *tensor,
                                        enum nano_format format, struct nano_error *err)
{
    struct nano_tensor_source *source = nano_arena_alloc(&weights->arena, 1, sizeof *source);
    struct nano_tensor *stored = nano_arena_alloc(&weights->arena, 1, sizeof *stored);
    if (!source || !stored)
        return nano_error_no_memory(err, "tensors", sizeof *stored);
    const int64_t rows =
        (int64_t)(tensor->num_bytes / nano_format_row_bytes(tensor->format, tensor->dims[0]));
    *stored = *tensor;
    source->quantized = stored;
    tensor->source = source;
    tensor->data = NULL;
    tensor->format = format;
    tensor->num_bytes = (size_t)rows * nano_format_row_bytes(format, tensor->dims[0]);
    return NANO_OK;
}

/* A file's own name for its mix is no longer true. */
static void forget_file_type(struct nano_weights *weights)
{
    size_t kept = 0;
    for (size_t i = 0; i < weights->num_metadata; i++)
        if (strcmp(weights->metadata[i].key.bytes, "general.file_type") != 0)
            weights->metadata[kept++] = weights->metadata[i];
    weights->num_metadata = kept;
}

enum nano_status nano_weights_quantize(struct nano_weights *weights, const char *format_name,
                                       struct nano_error *err)
{
    enum nano_status status;
    const enum nano_format format = nano_format_from_name(format_name);
    if (format == NANO_NUM_FORMATS)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "quantization '%.40s' is unknown, expected the name of a format such "
                              "as q8_0 or q4_0",
                              format_name);
    for (size_t i = 0; i < weights->num_tensors; i++) {
        struct nano_tensor *tensor = &weights->tensors[i];
        const enum nano_format wanted = format_for(weights, tensor, format);
        if (is_matrix_of_model(tensor) && is_smaller(wanted, tensor->format))
            NANO_TRY(quantize_tensor(weights, tensor, wanted, err));
    }
    forget_file_type(weights);
    return NANO_OK;
fail:
    return status;
}
