/* Synthetic weights: the table of shapes, and the choice of formats. */
#include "format/synthetic_shape.h"

#include <stdio.h>
#include <string.h>

#include "format/synthetic_fill.h"

/* From the config.json that each model was published with. */
static const struct nano_synthetic_shape shapes[] = {
    {
        .name = "qwen2-0.5b",
        .title = "Qwen2 0.5B",
        .architecture = "qwen2",
        .pre_tokenizer = "qwen2",
        .num_layers = 24,
        .hidden_size = 896,
        .num_heads = 14,
        .num_kv_heads = 2,
        .head_dim = 64,
        .intermediate_size = 4864,
        .vocab_size = 151936,
        .context_length = 32768,
        .rope_theta = 1e6f,
        .rms_norm_eps = 1e-6f,
        .tied = true,
        .qkv_bias = true,
    },
    {
        .name = "qwen3-0.6b",
        .title = "Qwen3 0.6B",
        .architecture = "qwen3",
        .pre_tokenizer = "qwen2",
        .num_layers = 28,
        .hidden_size = 1024,
        .num_heads = 16,
        .num_kv_heads = 8,
        .head_dim = 128,
        .intermediate_size = 3072,
        .vocab_size = 151936,
        .context_length = 40960,
        .rope_theta = 1e6f,
        .rms_norm_eps = 1e-6f,
        .tied = true,
        .qk_norm = true,
    },
    {
        .name = "llama-1b",
        .title = "Llama 3.2 1B",
        .architecture = "llama",
        .pre_tokenizer = "llama-bpe",
        .num_layers = 16,
        .hidden_size = 2048,
        .num_heads = 32,
        .num_kv_heads = 8,
        .head_dim = 64,
        .intermediate_size = 8192,
        .vocab_size = 128256,
        .context_length = 131072,
        .rope_theta = 5e5f,
        .rms_norm_eps = 1e-5f,
        .rope_factor = 32.0f,
        .tied = true,
    },
    {
        .name = "qwen3-4b",
        .title = "Qwen3 4B",
        .architecture = "qwen3",
        .pre_tokenizer = "qwen2",
        .num_layers = 36,
        .hidden_size = 2560,
        .num_heads = 32,
        .num_kv_heads = 8,
        .head_dim = 128,
        .intermediate_size = 9728,
        .vocab_size = 151936,
        .context_length = 40960,
        .rope_theta = 1e6f,
        .rms_norm_eps = 1e-6f,
        .tied = true,
        .qk_norm = true,
    },
    {
        .name = "llama-8b",
        .title = "Llama 3.1 8B",
        .architecture = "llama",
        .pre_tokenizer = "llama-bpe",
        .num_layers = 32,
        .hidden_size = 4096,
        .num_heads = 32,
        .num_kv_heads = 8,
        .head_dim = 128,
        .intermediate_size = 14336,
        .vocab_size = 128256,
        .context_length = 131072,
        .rope_theta = 5e5f,
        .rms_norm_eps = 1e-5f,
        .rope_factor = 8.0f,
    },
};

static const struct {
    const char *name;
    struct nano_synthetic_mix mix;
} mixes[] = {
    {"q4_k_m", {NANO_FORMAT_Q4_K, true, 15}},
    {"q5_k_m", {NANO_FORMAT_Q5_K, true, 17}},
};

/* general.file_type of a file whose matrices are all in one format (llama_ftype in llama.h; of the
 * K formats the small mix, which comes nearest). */
static const uint32_t file_types[NANO_NUM_FORMATS] = {
    [NANO_FORMAT_F32] = 0,   [NANO_FORMAT_F16] = 1,     [NANO_FORMAT_BF16] = 32,
    [NANO_FORMAT_Q4_0] = 2,  [NANO_FORMAT_Q4_1] = 3,    [NANO_FORMAT_Q5_0] = 8,
    [NANO_FORMAT_Q5_1] = 9,  [NANO_FORMAT_Q8_0] = 7,    [NANO_FORMAT_Q2_K] = 10,
    [NANO_FORMAT_Q3_K] = 11, [NANO_FORMAT_Q4_K] = 14,   [NANO_FORMAT_Q5_K] = 16,
    [NANO_FORMAT_Q6_K] = 18, [NANO_FORMAT_IQ4_NL] = 25, [NANO_FORMAT_IQ4_XS] = 30,
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void append(char *out, size_t out_bytes, const char *name)
{
    size_t used = strlen(out);
    snprintf(out + used, out_bytes - used, "%s%s", used ? " " : "", name);
}

static const struct nano_synthetic_shape *find_shape(const char *name, size_t num_bytes)
{
    for (size_t i = 0; i < COUNT(shapes); i++) {
        if (strlen(shapes[i].name) == num_bytes && memcmp(shapes[i].name, name, num_bytes) == 0)
            return &shapes[i];
    }
    return NULL;
}

static bool find_mix(const char *name, struct nano_synthetic_mix *out)
{
    for (size_t i = 0; i < COUNT(mixes); i++) {
        if (strcmp(mixes[i].name, name) == 0) {
            *out = mixes[i].mix;
            return true;
        }
    }
    enum nano_format format = nano_format_from_name(name);
    if (format == NANO_NUM_FORMATS || !nano_synthetic_fills(format))
        return false;
    *out = (struct nano_synthetic_mix){.format = format, .file_type = file_types[format]};
    return true;
}

enum nano_status nano_synthetic_parse(const char *spec, const struct nano_synthetic_shape **shape,
                                      struct nano_synthetic_mix *mix, struct nano_error *err)
{
    char known[320] = "";
    const char *colon = strchr(spec, ':');
    size_t shape_bytes = colon ? (size_t)(colon - spec) : strlen(spec);
    *shape = find_shape(spec, shape_bytes);
    if (!*shape) {
        for (size_t i = 0; i < COUNT(shapes); i++)
            append(known, sizeof known, shapes[i].name);
        return nano_error_set(
            err, NANO_ERR_INVALID_ARGUMENT,
            "synthetic model '%.60s': shape '%.*s' is unknown, expected one of %s", spec,
            (int)(shape_bytes < 60 ? shape_bytes : 60), spec, known);
    }
    if (!colon || !find_mix(colon + 1, mix)) {
        for (size_t i = 0; i < COUNT(mixes); i++)
            append(known, sizeof known, mixes[i].name);
        for (int i = 0; i < NANO_NUM_FORMATS; i++)
            if (nano_synthetic_fills((enum nano_format)i))
                append(known, sizeof known, nano_format_traits((enum nano_format)i)->lower_name);
        return nano_error_set(
            err, NANO_ERR_INVALID_ARGUMENT,
            "synthetic model '%.60s': format '%.60s' cannot be made, expected one of %s", spec,
            colon ? colon + 1 : "", known);
    }
    return NANO_OK;
}

/* The rules below are those of llama_tensor_get_type_impl and tensor_type_fallback in llama.cpp's
 * src/llama-quant.cpp for dense models without an importance matrix. */

static bool gets_more_bits(int layer, int num_layers)
{
    int eighth = num_layers / 8;
    return layer < eighth || layer >= 7 * num_layers / 8 || (layer - eighth) % 3 == 2;
}

/* For rows that are no whole number of blocks of 256. */
static enum nano_format fallback(enum nano_format format)
{
    switch (format) {
    case NANO_FORMAT_Q2_K:
    case NANO_FORMAT_Q3_K:
    case NANO_FORMAT_IQ4_XS:
        return NANO_FORMAT_IQ4_NL;
    case NANO_FORMAT_Q4_K:
        return NANO_FORMAT_Q5_0;
    case NANO_FORMAT_Q5_K:
        return NANO_FORMAT_Q5_1;
    case NANO_FORMAT_Q6_K:
        return NANO_FORMAT_Q8_0;
    default:
        return format;
    }
}

enum nano_format nano_synthetic_format(const struct nano_synthetic_shape *shape,
                                       const struct nano_synthetic_mix *mix,
                                       enum nano_synthetic_role role, int layer, int64_t cols)
{
    enum nano_format format = mix->format;
    int block_length = nano_format_traits(format)->block_length;
    if (block_length == 1)
        return format;
    if (role == NANO_ROLE_HEAD || (role == NANO_ROLE_EMBEDDING && shape->tied)) {
        if (cols % block_length != 0)
            format = NANO_FORMAT_Q8_0;
        else if (format != NANO_FORMAT_Q8_0)
            format = NANO_FORMAT_Q6_K;
    } else if (mix->more_bits && (role == NANO_ROLE_ATTN_V || role == NANO_ROLE_FFN_DOWN) &&
               gets_more_bits(layer, shape->num_layers)) {
        format = NANO_FORMAT_Q6_K;
    }
    return cols % nano_format_traits(format)->block_length == 0 ? format : fallback(format);
}
