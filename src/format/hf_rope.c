/* Rotary embeddings of config.json. */
#include "format/hf_rope.h"

#include <math.h>
#include <string.h>

#define MAX_FACTOR 1e6
#define MAX_CONTEXT ((int64_t)1 << 30)

static void read_llama3(struct nano_hf_model *model, struct nano_hf_json *rope, int64_t context)
{
    model->llama3.factor = nano_hf_float(rope, "factor", 1, MAX_FACTOR, 8);
    model->llama3.low_freq_factor = nano_hf_float(rope, "low_freq_factor", 1e-3, MAX_FACTOR, 1);
    model->llama3.high_freq_factor = nano_hf_float(rope, "high_freq_factor", 1e-3, MAX_FACTOR, 4);
    model->llama3.original_context =
        (double)nano_hf_int(rope, "original_max_position_embeddings", 1, MAX_CONTEXT, context);
    if (model->llama3.high_freq_factor <= model->llama3.low_freq_factor)
        nano_hf_fail(rope, NANO_ERR_FORMAT,
                     "high_freq_factor is %g, expected more than "
                     "low_freq_factor's %g",
                     model->llama3.high_freq_factor, model->llama3.low_freq_factor);
}

static double yarn_magnitude(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

/* The engine multiplies by what the factor alone gives, so the key holds the rest. */
static void read_yarn(struct nano_hf_json *rope, struct nano_meta_builder *builder, int64_t context)
{
    const int64_t original =
        nano_hf_int(rope, "original_max_position_embeddings", 1, MAX_CONTEXT, context);
    const double factor =
        nano_hf_float(rope, "factor", 1, MAX_FACTOR, (double)context / (double)original);
    const double mscale = nano_hf_float(rope, "mscale", 0, MAX_FACTOR, 0);
    const double mscale_all = nano_hf_float(rope, "mscale_all_dim", 0, MAX_FACTOR, 0);
    const double fallback = mscale > 0 && mscale_all > 0 ? yarn_magnitude(factor, mscale) /
                                                               yarn_magnitude(factor, mscale_all)
                                                         : yarn_magnitude(factor, 1);
    const double magnitude = nano_hf_float(rope, "attention_factor", 1e-6, MAX_FACTOR, fallback);
    if (!nano_hf_bool(rope, "truncate", true))
        nano_hf_fail(rope, NANO_ERR_UNSUPPORTED, "truncate false is not supported for yarn");
    nano_meta_add_cstring(builder, ".rope.scaling.type", "yarn");
    nano_meta_add_f32(builder, ".rope.scaling.factor", factor);
    nano_meta_add_u32(builder, ".rope.scaling.original_context_length", (uint32_t)original);
    nano_meta_add_f32(builder, ".rope.scaling.yarn_beta_fast",
                      nano_hf_float(rope, "beta_fast", 1e-3, MAX_FACTOR, 32));
    nano_meta_add_f32(builder, ".rope.scaling.yarn_beta_slow",
                      nano_hf_float(rope, "beta_slow", 1e-3, MAX_FACTOR, 1));
    if (magnitude != yarn_magnitude(factor, 1))
        nano_meta_add_f32(builder, ".rope.scaling.attn_factor",
                          magnitude / yarn_magnitude(factor, 1));
}

/* The factors go to the model; what multiplies cos and sin is the root of how much more the model
 * can say about a place, Ding et al. 2024. */
static void read_longrope(struct nano_hf_model *model, struct nano_hf_json *config,
                          struct nano_hf_json *rope, struct nano_meta_builder *builder,
                          int64_t context)
{
    const int64_t original = nano_hf_int(
        rope, "original_max_position_embeddings", 1, MAX_CONTEXT,
        nano_hf_int(config, "original_max_position_embeddings", 1, MAX_CONTEXT, context));
    const double scale =
        nano_hf_float(rope, "factor", 1, MAX_FACTOR, (double)context / (double)original);
    const double fallback = scale > 1 ? sqrt(1 + log(scale) / log((double)original)) : 1;
    const size_t num_pairs = (size_t)model->rotary_dims / 2;
    model->longrope.long_factors = nano_hf_find(rope, "long_factor");
    model->longrope.short_factors = nano_hf_find(rope, "short_factor");
    if (json_array_size(model->longrope.long_factors) != num_pairs ||
        json_array_size(model->longrope.short_factors) != num_pairs)
        nano_hf_fail(rope, NANO_ERR_FORMAT,
                     "long_factor and short_factor have %zu and %zu elements, expected %zu",
                     json_array_size(model->longrope.long_factors),
                     json_array_size(model->longrope.short_factors), num_pairs);
    nano_meta_add_u32(builder, ".rope.scaling.original_context_length", (uint32_t)original);
    nano_meta_add_f32(builder, ".rope.scaling.attn_factor",
                      nano_hf_float(rope, "attention_factor", 1e-6, MAX_FACTOR, fallback));
}

void nano_hf_rope_read(struct nano_hf_model *model, struct nano_hf_json *config,
                       struct nano_meta_builder *builder)
{
    static const char *const fields[] = {"rope_parameters", "rope_scaling"};
    struct nano_hf_json rope = *config;
    const char *field = NULL;
    rope.object = rope.outer = NULL;
    for (size_t i = 0; i < 2 && !rope.object; i++)
        rope.object = nano_hf_find(config, field = fields[i]);
    if (rope.object && !json_is_object(rope.object))
        nano_hf_fail(&rope, NANO_ERR_FORMAT, "%s is no object", field);
    /* Where layers differ, those that see everything have this one. */
    const json_t *of_full_layers = json_object_get(rope.object, "full_attention");
    if (of_full_layers)
        rope.object = of_full_layers;
    const double theta = model->architecture->rope_theta;
    model->rope_theta =
        nano_hf_float(&rope, "rope_theta", 1.0001, 1e12,
                      nano_hf_float(config, "rope_theta", 1.0001, 1e12, theta > 0 ? theta : 10000));
    const double share = nano_hf_float(&rope, "partial_rotary_factor", 1e-3, 1,
                                       nano_hf_float(config, "partial_rotary_factor", 1e-3, 1, 1));
    if (share != 1 && model->architecture->pairs)
        nano_hf_fail(&rope, NANO_ERR_UNSUPPORTED,
                     "partial_rotary_factor is %g, expected 1 for this class", share);
    model->rotary_dims = (int64_t)((double)model->sizes[NANO_HF_HEAD] * share);
    const int64_t context = nano_hf_int(config, "max_position_embeddings", 1, MAX_CONTEXT,
                                        model->architecture->context);
    const char *type = nano_hf_string(&rope, "rope_type", nano_hf_string(&rope, "type", "default"));
    nano_meta_add_f32(builder, ".rope.freq_base", model->rope_theta);
    nano_meta_add_u32(builder, ".rope.dimension_count", (uint32_t)model->rotary_dims);
    if (strcmp(type, "linear") == 0) {
        nano_meta_add_cstring(builder, ".rope.scaling.type", "linear");
        nano_meta_add_f32(builder, ".rope.scaling.factor",
                          nano_hf_float(&rope, "factor", 1e-6, MAX_FACTOR, 1));
    } else if (strcmp(type, "llama3") == 0) {
        read_llama3(model, &rope, context);
    } else if (strcmp(type, "yarn") == 0) {
        read_yarn(&rope, builder, context);
    } else if (strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0) {
        read_longrope(model, config, &rope, builder, context);
    } else if (strcmp(type, "default") != 0) {
        nano_hf_fail(&rope, NANO_ERR_UNSUPPORTED,
                     "%s: rope_type '%.40s' is not supported, expected default, linear, llama3, "
                     "longrope or yarn",
                     field, type);
    }
    if (config->status == NANO_OK)
        config->status = rope.status;
}

void nano_hf_rope_factors(const struct nano_hf_model *model, float *factors, int64_t num_pairs)
{
    const double pi = 3.14159265358979323846;
    const double low = model->llama3.low_freq_factor, high = model->llama3.high_freq_factor;
    for (int64_t i = 0; i < num_pairs; i++) {
        const double frequency = pow(model->rope_theta, -2.0 * (double)i / (double)(2 * num_pairs));
        const double turns = model->llama3.original_context * frequency / (2 * pi);
        const double smooth = fmin(1, fmax(0, (turns - low) / (high - low)));
        factors[i] = (float)(1 / ((1 - smooth) / model->llama3.factor + smooth));
    }
}
