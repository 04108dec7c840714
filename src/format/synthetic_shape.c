/* Synthetic weights: the table of shapes. */
#include "format/synthetic_shape.h"

#include <stdio.h>
#include <string.h>

#include "format/synthetic_fill.h"

/* From the config.json that each model was published with; moe-8x2 is a small Mixtral. */
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
        .name = "qwen35-0.8b",
        .title = "Qwen3.5 0.8B",
        .architecture = "qwen35",
        .pre_tokenizer = "qwen35",
        .num_layers = 24,
        .hidden_size = 1024,
        .num_heads = 8,
        .num_kv_heads = 2,
        .head_dim = 256,
        .intermediate_size = 3584,
        .vocab_size = 248320,
        .context_length = 262144,
        .rope_theta = 1e7f,
        .rms_norm_eps = 1e-6f,
        .tied = true,
        .qk_norm = true,
        .inner_size = 2048,
        .state_size = 128,
        .num_state_heads = 16,
        .num_state_groups = 16,
        .conv_kernel = 4,
        .full_attention_interval = 4,
        .rope_dims = 64,
    },
    {
        .name = "mamba2-130m",
        .title = "Mamba2 130M",
        .architecture = "mamba2",
        .pre_tokenizer = "olmo",
        .num_layers = 24,
        .hidden_size = 768,
        .vocab_size = 50288,
        .context_length = 1048576,
        .rms_norm_eps = 1e-5f,
        .tied = true,
        .inner_size = 1536,
        .state_size = 128,
        .num_state_heads = 24,
        .num_state_groups = 1,
        .conv_kernel = 4,
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
    {
        .name = "moe-8x2",
        .title = "Mixture of 8 experts, 2 used",
        .architecture = "llama",
        .pre_tokenizer = "gpt-2",
        .num_layers = 16,
        .hidden_size = 1024,
        .num_heads = 16,
        .num_kv_heads = 4,
        .head_dim = 64,
        .intermediate_size = 3584,
        .vocab_size = 32000,
        .context_length = 32768,
        .num_experts = 8,
        .num_experts_used = 2,
        .rope_theta = 1e6f,
        .rms_norm_eps = 1e-5f,
    },
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

enum nano_status nano_synthetic_parse(const char *spec, const struct nano_synthetic_shape **shape,
                                      enum nano_mix_id *mix, struct nano_error *err)
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
    *mix = colon ? nano_quant_mix_find(colon + 1) : NANO_NUM_MIXES;
    if (*mix == NANO_NUM_MIXES || !nano_synthetic_fills(nano_quant_mix(*mix)->format)) {
        for (int i = 0; i < NANO_NUM_MIXES; i++) {
            const struct nano_quant_mix *known_mix = nano_quant_mix((enum nano_mix_id)i);
            if (nano_synthetic_fills(known_mix->format))
                append(known, sizeof known, known_mix->name);
        }
        return nano_error_set(
            err, NANO_ERR_INVALID_ARGUMENT,
            "synthetic model '%.60s': format '%.60s' cannot be made, expected one of %s", spec,
            colon ? colon + 1 : "", known);
    }
    return NANO_OK;
}
