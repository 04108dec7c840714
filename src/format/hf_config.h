/* config.json of a model folder: Hugging Face's fields and defaults as GGUF's keys. */
#ifndef NANO_FORMAT_HF_CONFIG_H
#define NANO_FORMAT_HF_CONFIG_H

#include "format/hf_json.h"
#include "format/hf_names.h"
#include "format/meta_build.h"

struct nano_hf_model;

/* One class of models: a row of the table in hf_classes.c. */
struct nano_hf_architecture {
    const char *class_name;   /* in "architectures" */
    const char *model_type;   /* where there is no "architectures", or several rows have the class:
                                 then that of its text_config */
    const char *architecture; /* GGUF's */
    const struct nano_hf_name *names;
    bool pairs; /* GGUF has rows of q and k as rotary pairs (2 i, 2 i + 1), not halves of a head */
    bool tied;  /* of tie_word_embeddings */
    bool gelu;  /* instead of SiLU, in its tanh form */
    bool norms_less_one; /* the model adds 1 to the weights of norms, as GGUF has them */
    /* Defaults; 0: num_key_value_heads is num_attention_heads, head_dim is hidden_size divided by
     * them; rope_theta is 10000, the norms' epsilon 1e-6. */
    int num_layers, hidden_size, intermediate_size, context, num_heads, num_kv_heads, head_dim;
    double rope_theta, norm_eps;
    /* A window of all layers, without use_sliding_window; INT_MAX: only where use_sliding_window is
     * true; 0: the class has none, or its fields are read by read_more. */
    int sliding_window;
    /* Adds what only this class has; may be NULL. */
    void (*read_more)(struct nano_hf_model *model, struct nano_hf_json *config,
                      struct nano_meta_builder *builder);
};

/* Ended by a row without class_name. */
extern const struct nano_hf_architecture nano_hf_architectures[];

/* What the tensors are checked against and made with. */
struct nano_hf_model {
    const struct nano_hf_architecture *architecture;
    const char *config_path; /* borrowed */
    int64_t num_layers;
    int64_t sizes[NANO_HF_NUM_SIZES];
    bool tied, attention_bias, mlp_bias;
    int64_t block_rows, block_cols; /* of F8 scales in blocks */
    int64_t rotary_dims;
    double rope_theta;
    struct { /* Llama 3's; factor 0: none */
        double factor, low_freq_factor, high_freq_factor, original_context;
    } llama3;
    struct { /* LongRoPE's arrays in config.json; NULL: none */
        const json_t *long_factors, *short_factors;
    } longrope;
};

/* Sets builder->architecture and adds the keys; the architecture, rope or quantisation that is not
 * supported is an error that names it. */
enum nano_status nano_hf_config_read(struct nano_hf_model *model, struct nano_meta_builder *builder,
                                     const json_t *config, const char *path,
                                     struct nano_error *err);

/* "hidden_size", "num_attention_heads x head_dim" …: what a size comes from. */
const char *nano_hf_size_name(enum nano_hf_size size);

#endif
