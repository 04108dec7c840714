/* What configurations of all classes have, and how the weights are stored. */
#include "format/hf_config.h"

#include <limits.h>
#include <string.h>

#include "format/hf_rope.h"

#define MAX_SIZE ((int64_t)1 << 24)
#define MAX_CONTEXT ((int64_t)1 << 30)

/* The row of a class; of several with its name that with the model type, if there is one. */
static const struct nano_hf_architecture *find_row(const char *class_name, const char *model_type)
{
    const struct nano_hf_architecture *found = NULL;
    for (const struct nano_hf_architecture *a = nano_hf_architectures; a->class_name; a++) {
        const bool same_type = strcmp(a->model_type, model_type) == 0;
        if (class_name ? strcmp(a->class_name, class_name) == 0 && (!found || same_type)
                       : same_type && !found)
            found = a;
    }
    return found;
}

static const struct nano_hf_architecture *find_architecture(struct nano_hf_json *config)
{
    const json_t *classes = json_object_get(config->object, "architectures");
    const json_t *text = json_object_get(config->object, "text_config");
    const char *class_name = json_string_value(json_array_get(classes, 0));
    const char *text_type = json_string_value(json_object_get(text, "model_type"));
    const char *model_type = nano_hf_string(config, "model_type", "");
    const struct nano_hf_architecture *found =
        find_row(class_name, class_name && text_type ? text_type : model_type);
    const bool has_more =
        found && found[1].class_name && strcmp(found[1].class_name, found->class_name) == 0;
    if (has_more && text_type && strcmp(found->model_type, text_type) != 0) {
        nano_hf_fail(config, NANO_ERR_UNSUPPORTED,
                     "text_config: model_type '%.80s' of %s is unknown, expected %s or %s",
                     text_type, found->class_name, found->model_type, found[1].model_type);
        return NULL;
    }
    if (found)
        return found;
    char known[400] = "";
    size_t used = 0;
    for (const struct nano_hf_architecture *a = nano_hf_architectures;
         a->class_name && used < sizeof known; a++)
        if (a == find_row(a->class_name, "")) /* not one more of the class */
            used += (size_t)snprintf(known + used, sizeof known - used, " %s", a->class_name);
    if (class_name || *model_type)
        nano_hf_fail(config, NANO_ERR_UNSUPPORTED, "%s '%.80s' is unknown, expected one of:%s",
                     class_name ? "architectures: class" : "model_type",
                     class_name ? class_name : model_type, known);
    else
        nano_hf_fail(config, NANO_ERR_FORMAT, "architectures is missing, expected one of:%s",
                     known);
    return NULL;
}

/* How the numbers are stored. Weights of other methods have other names, shapes and types. */
static void read_quantization(struct nano_hf_model *model, struct nano_hf_json *config)
{
    struct nano_hf_json quantization = *config;
    model->block_rows = model->block_cols = 128;
    quantization.outer = NULL;
    quantization.object = nano_hf_find(config, "quantization_config");
    if (!quantization.object)
        quantization.object = nano_hf_find(config, "compression_config");
    if (!quantization.object)
        return;
    const char *method = nano_hf_string(&quantization, "quant_method", "");
    const char *format = nano_hf_string(&quantization, "format", "");
    const json_t *block = nano_hf_find(&quantization, "weight_block_size");
    if (strcmp(method, "compressed-tensors") == 0 && strcmp(format, "float-quantized") != 0)
        nano_hf_fail(&quantization, NANO_ERR_UNSUPPORTED,
                     "quantization_config: compressed-tensors of format '%.40s' is not supported, "
                     "expected float-quantized",
                     format);
    else if (strcmp(method, "fp8") != 0 && strcmp(method, "fbgemm_fp8") != 0 &&
             strcmp(method, "compressed-tensors") != 0)
        nano_hf_fail(&quantization, NANO_ERR_UNSUPPORTED,
                     "quantization_config: quant_method '%.40s' is not supported, expected fp8",
                     method);
    if (block) {
        model->block_rows = json_integer_value(json_array_get(block, 0));
        model->block_cols = json_integer_value(json_array_get(block, 1));
        if (json_array_size(block) != 2 || model->block_rows < 1 || model->block_cols < 1)
            nano_hf_fail(&quantization, NANO_ERR_FORMAT,
                         "quantization_config: weight_block_size is no pair of numbers from 1");
    }
    config->status = quantization.status;
}

/* Attention to a window is that to everything for as long as all of a sequence is in it. */
static int64_t context_length(struct nano_hf_json *config,
                              const struct nano_hf_architecture *architecture)
{
    const int64_t context =
        nano_hf_int(config, "max_position_embeddings", 1, MAX_CONTEXT, architecture->context);
    const bool has_field = json_object_get(config->object, "sliding_window") != NULL;
    const bool has_window = architecture->sliding_window == INT_MAX
                                ? nano_hf_bool(config, "use_sliding_window", false)
                                : architecture->sliding_window != 0;
    const int64_t fallback = has_field && architecture->sliding_window != INT_MAX ? context
                             : architecture->sliding_window == INT_MAX
                                 ? 4096
                                 : architecture->sliding_window;
    if (!has_window)
        return context;
    const int64_t window = nano_hf_int(config, "sliding_window", 1, MAX_CONTEXT, fallback);
    return window < context ? window : context;
}

static void read_sizes(struct nano_hf_model *model, struct nano_hf_json *config,
                       struct nano_meta_builder *builder)
{
    const struct nano_hf_architecture *a = model->architecture;
    const int64_t heads = nano_hf_int(config, "num_attention_heads", 1, MAX_SIZE, a->num_heads);
    const int64_t kv_heads = nano_hf_int(config, "num_key_value_heads", 1, MAX_SIZE,
                                         a->num_kv_heads ? a->num_kv_heads : heads);
    const int64_t hidden = nano_hf_int(config, "hidden_size", 1, MAX_SIZE, a->hidden_size);
    const int64_t head_dim =
        nano_hf_int(config, "head_dim", 1, MAX_SIZE, a->head_dim ? a->head_dim : hidden / heads);
    if (head_dim < 1 || head_dim % 2)
        nano_hf_fail(config, NANO_ERR_FORMAT, "head_dim is %lld, expected an even number",
                     (long long)head_dim);
    model->num_layers = nano_hf_int(config, "num_hidden_layers", 1, MAX_SIZE, a->num_layers);
    model->sizes[NANO_HF_HIDDEN] = hidden;
    model->sizes[NANO_HF_FFN] =
        nano_hf_int(config, "intermediate_size", 1, MAX_SIZE, a->intermediate_size);
    model->sizes[NANO_HF_VOCAB] = nano_hf_int(config, "vocab_size", 1, MAX_SIZE, 0);
    model->sizes[NANO_HF_HEAD] = head_dim;
    model->sizes[NANO_HF_Q] = heads * head_dim;
    model->sizes[NANO_HF_KV] = kv_heads * head_dim;
    model->sizes[NANO_HF_QKV] = (heads + 2 * kv_heads) * head_dim;
    model->sizes[NANO_HF_FFN2] = 2 * model->sizes[NANO_HF_FFN];
    nano_meta_add_u32(builder, ".block_count", (uint32_t)model->num_layers);
    nano_meta_add_u32(builder, ".context_length", (uint32_t)context_length(config, a));
    nano_meta_add_u32(builder, ".embedding_length", (uint32_t)hidden);
    nano_meta_add_u32(builder, ".feed_forward_length", (uint32_t)model->sizes[NANO_HF_FFN]);
    nano_meta_add_u32(builder, ".attention.head_count", (uint32_t)heads);
    nano_meta_add_u32(builder, ".attention.head_count_kv", (uint32_t)kv_heads);
    nano_meta_add_u32(builder, ".attention.key_length", (uint32_t)head_dim);
    nano_meta_add_u32(builder, ".attention.value_length", (uint32_t)head_dim);
    nano_meta_add_f32(builder, ".attention.layer_norm_rms_epsilon",
                      nano_hf_float(config, "rms_norm_eps", 0, 1,
                                    nano_hf_float(config, "norm_epsilon", 0, 1,
                                                  a->norm_eps > 0 ? a->norm_eps : 1e-6)));
}

const char *nano_hf_size_name(enum nano_hf_size size)
{
    static const char *const names[NANO_HF_NUM_SIZES] = {
        [NANO_HF_NONE] = "1",
        [NANO_HF_HIDDEN] = "hidden_size",
        [NANO_HF_FFN] = "intermediate_size",
        [NANO_HF_VOCAB] = "vocab_size",
        [NANO_HF_HEAD] = "head_dim",
        [NANO_HF_Q] = "num_attention_heads x head_dim",
        [NANO_HF_KV] = "num_key_value_heads x head_dim",
        [NANO_HF_QKV] = "(num_attention_heads + 2 x num_key_value_heads) x head_dim",
        [NANO_HF_FFN2] = "2 x intermediate_size",
    };
    return names[size];
}

/* Gemma's hidden_act says "gelu" where the models have the tanh form. */
static void check_activation(const struct nano_hf_architecture *a, struct nano_hf_json *config)
{
    const char *fallback = a->gelu ? "gelu_pytorch_tanh" : "silu";
    const char *found = nano_hf_string(
        config, "hidden_activation",
        a->norms_less_one ? fallback : nano_hf_string(config, "hidden_act", fallback));
    const bool fits = a->gelu ? strcmp(found, fallback) == 0
                              : strcmp(found, "silu") == 0 || strcmp(found, "swish") == 0;
    if (!fits)
        nano_hf_fail(config, NANO_ERR_UNSUPPORTED,
                     "hidden_act '%.40s' is not supported, expected %s", found, fallback);
}

enum nano_status nano_hf_config_read(struct nano_hf_model *model, struct nano_meta_builder *builder,
                                     const json_t *object, const char *path, struct nano_error *err)
{
    struct nano_hf_json config = {path, object, NULL, NANO_OK, err};
    *model = (struct nano_hf_model){.config_path = path};
    model->architecture = find_architecture(&config);
    if (!model->architecture)
        return config.status;
    const json_t *text = json_object_get(object, "text_config");
    if (json_is_object(text)) {
        config.object = text;
        config.outer = object;
    }
    builder->architecture = model->architecture->architecture;
    nano_meta_add_cstring(builder, "general.architecture", builder->architecture);
    read_quantization(model, &config);
    read_sizes(model, &config, builder);
    nano_hf_rope_read(model, &config, builder);
    model->tied = nano_hf_bool(&config, "tie_word_embeddings", model->architecture->tied);
    model->attention_bias = nano_hf_bool(&config, "attention_bias", false);
    model->mlp_bias = nano_hf_bool(&config, "mlp_bias", false);
    check_activation(model->architecture, &config);
    if (model->architecture->read_more)
        model->architecture->read_more(model, &config, builder);
    return config.status;
}
