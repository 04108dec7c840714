/* The known classes of models: their rows, with the defaults of transformers' configuration
 * classes, and the fields that only they have. */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "format/hf_config.h"

#define MAX_CONTEXT ((int64_t)1 << 30)
#define MAX_SCALE 1e6

/* ---- windows in some of the layers ---- */

/* -1: the layer's type is unknown. */
static int is_full(const json_t *types, size_t layer)
{
    const char *type = json_string_value(json_array_get(types, layer));
    if (type && strcmp(type, "full_attention") == 0)
        return 1;
    return type && strcmp(type, "sliding_attention") == 0 ? 0 : -1;
}

/* The p for which the last of every p layers sees everything; 0 if it is none that does, -1 if
 * there is no p. */
static int64_t find_period(const json_t *types, size_t num_layers)
{
    size_t period = 0;
    for (size_t i = 0; i < num_layers; i++) {
        if (period == 0 && is_full(types, i) == 1)
            period = i + 1;
        if (is_full(types, i) != (period && (i + 1) % period == 0))
            return -1;
    }
    return (int64_t)period;
}

/* As layer_types names them, or by a period; where all have one, as GGUF files have it. */
static void add_windows(struct nano_hf_model *model, struct nano_hf_json *config,
                        struct nano_meta_builder *builder, int64_t default_window,
                        int64_t default_period)
{
    const char *key = ".attention.sliding_window_pattern";
    const json_t *types = nano_hf_find(config, "layer_types");
    const size_t num_layers = (size_t)model->num_layers;
    nano_meta_add_u32(
        builder, ".attention.sliding_window",
        (uint32_t)nano_hf_int(config, "sliding_window", 1, MAX_CONTEXT, default_window));
    if (!types) {
        nano_meta_add_u32(
            builder, key,
            (uint32_t)nano_hf_int(config, "sliding_window_pattern", 1, 1 << 16, default_period));
        return;
    }
    if (json_array_size(types) != num_layers) {
        nano_hf_fail(config, NANO_ERR_FORMAT, "layer_types has %zu elements, expected %zu",
                     json_array_size(types), num_layers);
        return;
    }
    for (size_t i = 0; i < num_layers; i++)
        if (is_full(types, i) < 0)
            nano_hf_fail(config, NANO_ERR_UNSUPPORTED,
                         "layer_types[%zu] is unknown, expected full_attention or "
                         "sliding_attention",
                         i);
    const int64_t period = find_period(types, num_layers);
    if (period >= 0) {
        nano_meta_add_u32(builder, key, (uint32_t)period);
        return;
    }
    unsigned char *flags = nano_meta_add_numbers(builder, key, NANO_META_BOOL, num_layers);
    for (size_t i = 0; i < num_layers && flags; i++)
        flags[i] = is_full(types, i) == 0;
}

/* ---- fields of single classes ---- */

static double scale_field(struct nano_hf_json *config, const char *field, double fallback)
{
    return nano_hf_float(config, field, 1e-6, MAX_SCALE, fallback);
}

/* A null is what says that there is no cap. */
static void add_softcap(struct nano_hf_json *config, struct nano_meta_builder *builder,
                        const char *field, double fallback)
{
    char key[64];
    const bool is_null = json_is_null(json_object_get(config->object, field));
    snprintf(key, sizeof key, ".%s", field);
    nano_meta_add_f32(builder, key,
                      is_null ? 0 : nano_hf_float(config, field, 0, MAX_SCALE, fallback));
}

static void add_query_scale(struct nano_hf_json *config, struct nano_meta_builder *builder)
{
    nano_meta_add_f32(builder, ".attention.scale",
                      1 / sqrt(scale_field(config, "query_pre_attn_scalar", 256)));
}

static void read_gemma2(struct nano_hf_model *model, struct nano_hf_json *config,
                        struct nano_meta_builder *builder)
{
    add_windows(model, config, builder, 4096, 2);
    add_query_scale(config, builder);
    add_softcap(config, builder, "attn_logit_softcapping", 50);
    add_softcap(config, builder, "final_logit_softcapping", 30);
}

static void read_gemma3(struct nano_hf_model *model, struct nano_hf_json *config,
                        struct nano_meta_builder *builder)
{
    struct nano_hf_json of_windows = *config;
    of_windows.outer = NULL;
    of_windows.object =
        json_object_get(nano_hf_find(config, "rope_parameters"), "sliding_attention");
    add_windows(model, config, builder, 4096, 6);
    add_query_scale(config, builder);
    add_softcap(config, builder, "final_logit_softcapping", 0);
    if (nano_hf_float(config, "attn_logit_softcapping", 0, MAX_SCALE, 0) != 0)
        nano_hf_fail(config, NANO_ERR_UNSUPPORTED,
                     "attn_logit_softcapping is not supported in this class");
    nano_meta_add_f32(
        builder, ".rope.freq_base_swa",
        nano_hf_float(&of_windows, "rope_theta", 1.0001, 1e12,
                      nano_hf_float(config, "rope_local_base_freq", 1.0001, 1e12, 10000)));
    if (config->status == NANO_OK)
        config->status = of_windows.status;
}

static void read_olmo3(struct nano_hf_model *model, struct nano_hf_json *config,
                       struct nano_meta_builder *builder)
{
    add_windows(model, config, builder, 4096, 4);
}

static void read_granite(struct nano_hf_model *model, struct nano_hf_json *config,
                         struct nano_meta_builder *builder)
{
    (void)model;
    nano_meta_add_f32(builder, ".embedding_scale", scale_field(config, "embedding_multiplier", 1));
    nano_meta_add_f32(builder, ".residual_scale", scale_field(config, "residual_multiplier", 1));
    nano_meta_add_f32(builder, ".attention.scale", scale_field(config, "attention_multiplier", 1));
    nano_meta_add_f32(builder, ".logit_scale", scale_field(config, "logits_scaling", 1));
}

static void read_starcoder2(struct nano_hf_model *model, struct nano_hf_json *config,
                            struct nano_meta_builder *builder)
{
    (void)builder;
    model->attention_bias = model->mlp_bias = nano_hf_bool(config, "use_bias", true);
}

/* Which layers rotate is the same in all models so far. */
static void read_smollm3(struct nano_hf_model *model, struct nano_hf_json *config,
                         struct nano_meta_builder *builder)
{
    const json_t *rotates = nano_hf_find(config, "no_rope_layers"); /* 0: it does not */
    (void)builder;
    for (size_t i = 0; i < json_array_size(rotates) && i < (size_t)model->num_layers; i++)
        if ((json_integer_value(json_array_get(rotates, i)) == 0) != ((i + 1) % 4 == 0))
            nano_hf_fail(config, NANO_ERR_UNSUPPORTED,
                         "no_rope_layers[%zu] is not supported, expected 0 in every fourth", i);
    if (!rotates && nano_hf_int(config, "no_rope_layer_interval", 0, 1 << 16, 4) != 4)
        nano_hf_fail(config, NANO_ERR_UNSUPPORTED,
                     "no_rope_layer_interval is not supported, expected 4");
    if (nano_hf_bool(config, "use_sliding_window", false))
        nano_hf_fail(config, NANO_ERR_UNSUPPORTED,
                     "use_sliding_window is not supported in this class");
}

static void read_ministral3(struct nano_hf_model *model, struct nano_hf_json *config,
                            struct nano_meta_builder *builder)
{
    struct nano_hf_json rope = *config;
    (void)model;
    rope.object = nano_hf_find(config, "rope_parameters");
    rope.outer = NULL;
    const double scale = nano_hf_float(&rope, "llama_4_scaling_beta", 0, 100, 0);
    if (scale > 0)
        nano_meta_add_f32(builder, ".attention.temperature_scale", scale);
    if (config->status == NANO_OK)
        config->status = rope.status;
}

/* ---- the table ---- */

#define SIZES(layers, hidden, ffn, length, q_heads, kv_heads, dim)                            \
    .num_layers = layers, .hidden_size = hidden, .intermediate_size = ffn, .context = length, \
    .num_heads = q_heads, .num_kv_heads = kv_heads, .head_dim = dim

const struct nano_hf_architecture nano_hf_architectures[] = {
    {"LlamaForCausalLM", "llama", "llama", nano_hf_names_llama, .pairs = true,
     SIZES(32, 4096, 11008, 2048, 32, 0, 0)},
    {"MistralForCausalLM", "mistral", "llama", nano_hf_names_llama, .pairs = true,
     SIZES(32, 4096, 14336, 131072, 32, 8, 0), .sliding_window = 4096},
    {"Qwen2ForCausalLM", "qwen2", "qwen2", nano_hf_names_qwen2,
     SIZES(32, 4096, 22016, 32768, 32, 32, 0), .sliding_window = INT_MAX},
    {"Qwen3ForCausalLM", "qwen3", "qwen3", nano_hf_names_qwen3,
     SIZES(32, 4096, 22016, 32768, 32, 32, 128), .sliding_window = INT_MAX},
    {"GemmaForCausalLM", "gemma", "gemma", nano_hf_names_gemma, .tied = true, .gelu = true,
     .norms_less_one = true, SIZES(28, 3072, 24576, 8192, 16, 16, 256)},
    {"Gemma2ForCausalLM", "gemma2", "gemma2", nano_hf_names_gemma2, .tied = true, .gelu = true,
     .norms_less_one = true, SIZES(26, 2304, 9216, 8192, 8, 4, 256), .read_more = read_gemma2},
    {"Gemma3ForCausalLM", "gemma3_text", "gemma3", nano_hf_names_gemma3, .tied = true, .gelu = true,
     .norms_less_one = true, SIZES(26, 2304, 9216, 131072, 8, 4, 256), .rope_theta = 1e6,
     .read_more = read_gemma3},
    {"Gemma3ForConditionalGeneration", "gemma3", "gemma3", nano_hf_names_gemma3, .tied = true,
     .gelu = true, .norms_less_one = true, SIZES(26, 2304, 9216, 131072, 8, 4, 256),
     .rope_theta = 1e6, .read_more = read_gemma3},
    {"Phi3ForCausalLM", "phi3", "phi3", nano_hf_names_phi3, SIZES(32, 3072, 8192, 4096, 32, 0, 0),
     .norm_eps = 1e-5},
    {"Ministral3ForCausalLM", "ministral3", "mistral3", nano_hf_names_llama, .pairs = true,
     SIZES(34, 4096, 14336, 262144, 32, 8, 128), .rope_theta = 1e6, .norm_eps = 1e-5,
     .read_more = read_ministral3},
    {"Mistral3ForConditionalGeneration", "ministral3", "mistral3", nano_hf_names_llama,
     .pairs = true, SIZES(34, 4096, 14336, 262144, 32, 8, 128), .rope_theta = 1e6, .norm_eps = 1e-5,
     .read_more = read_ministral3},
    {"Mistral3ForConditionalGeneration", "mistral", "llama", nano_hf_names_llama, .pairs = true,
     SIZES(32, 4096, 14336, 131072, 32, 8, 0), .sliding_window = 4096},
    {"Olmo2ForCausalLM", "olmo2", "olmo2", nano_hf_names_olmo2,
     SIZES(32, 4096, 11008, 2048, 32, 0, 0), .norm_eps = 1e-5},
    {"Olmo3ForCausalLM", "olmo3", "olmo2", nano_hf_names_olmo2,
     SIZES(32, 4096, 11008, 2048, 32, 0, 0), .norm_eps = 1e-5, .read_more = read_olmo3},
    {"GraniteForCausalLM", "granite", "granite", nano_hf_names_llama, .pairs = true,
     SIZES(32, 4096, 11008, 2048, 32, 0, 0), .read_more = read_granite},
    {"Starcoder2ForCausalLM", "starcoder2", "starcoder2", nano_hf_names_starcoder2, .tied = true,
     .gelu = true, SIZES(30, 3072, 12288, 4096, 24, 2, 0), .norm_eps = 1e-5,
     .read_more = read_starcoder2},
    {"SmolLM3ForCausalLM", "smollm3", "smollm3", nano_hf_names_llama, .pairs = true, .tied = true,
     SIZES(36, 2048, 11008, 32768, 16, 4, 0), .rope_theta = 2e6, .read_more = read_smollm3},
    {0},
};
