/* Rotary embeddings: every way of scaling ends up in inverse frequencies and one magnitude.
 *
 * For pair i of n = 2 * num_pairs dimensions, with base b and factor s, angle = position * f[i]:
 *
 *   plain    f[i] = b^(-2i/n)
 *   linear   f[i] / s
 *   Llama 3  f[i] / rope_freqs[i]
 *   LongRoPE f[i] / rope_factors_long[i], or rope_factors_short where no sequence can become longer
 *            than the original context; Ding et al. 2024
 *   YaRN     f[i] * (ramp + (1 - ramp) / s): pairs that turn more than beta_fast times within the
 *            original context are kept (ramp 1), those that turn less than beta_slow times are
 *            stretched as linear does (ramp 0), linear in between. Peng et al. 2023, as llama.cpp
 *            applies it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/builder.h"

#define PI 3.14159265358979323846
#define MAX_FACTOR 1e6

static bool is(struct nano_string s, const char *text)
{
    return s.num_bytes == strlen(text) && memcmp(s.bytes, text, s.num_bytes) == 0;
}

enum scaling { SCALING_NONE, SCALING_LINEAR, SCALING_YARN };

static enum scaling read_scaling(struct nano_builder *b)
{
    char key[64];
    snprintf(key, sizeof key, "%s.rope.scaling.type", b->program->config.architecture);
    struct nano_string type = {"linear", 6};
    if (b->status == NANO_OK)
        b->status = nano_meta_get_string(b->weights, key, &type, b->err);
    if (b->status != NANO_OK || is(type, "none"))
        return SCALING_NONE;
    if (is(type, "linear") || is(type, "longrope"))
        return SCALING_LINEAR;
    if (is(type, "yarn"))
        return SCALING_YARN;
    nano_build_fail(b, NANO_ERR_UNSUPPORTED,
                    "%s is '%.*s', expected none, linear, yarn or longrope", key,
                    (int)(type.num_bytes < 40 ? type.num_bytes : 40), type.bytes);
    return SCALING_NONE;
}

/* The (fractional) pair that turns `turns` times within the original context. */
static double pair_of_turns(double turns, int num_dims, double base, double context)
{
    return num_dims * log(context / (turns * 2 * PI)) / (2 * log(base));
}

struct yarn {
    double low, high; /* pairs between which the ramp falls from 1 to 0 */
    double magnitude;
};

static struct yarn read_yarn(struct nano_builder *b, int num_dims, double base, double factor)
{
    const double context =
        (double)nano_build_int(b, "rope.scaling.original_context_length", 1, (int64_t)1 << 30,
                               b->program->config.max_position_embeddings);
    const double beta_fast = nano_build_float(b, "rope.scaling.yarn_beta_fast", 1e-3, 1e6, 32);
    const double beta_slow = nano_build_float(b, "rope.scaling.yarn_beta_slow", 1e-3, 1e6, 1);
    const double log_multiplier =
        nano_build_float(b, "rope.scaling.yarn_log_multiplier", 0, 1e3, 0);
    struct yarn yarn = {
        .low = fmax(0, floor(pair_of_turns(beta_fast, num_dims, base, context))),
        .high = fmin(num_dims - 1, ceil(pair_of_turns(beta_slow, num_dims, base, context))),
        .magnitude = 1,
    };
    if (factor > 1)
        yarn.magnitude = (0.1 * log(factor) + 1) / (0.1 * log_multiplier * log(factor) + 1);
    return yarn;
}

static double yarn_ramp(const struct yarn *yarn, int pair)
{
    double t = (pair - yarn->low) / fmax(0.001, yarn->high - yarn->low);
    return 1 - fmin(1, fmax(0, t));
}

/* Divides by the factors of that tensor; false if the file has none. */
static bool divide_by_factors(struct nano_builder *b, const char *name, float *inv_freq,
                              int num_pairs)
{
    const struct nano_tensor *factors = nano_build_weight_optional(b, name, num_pairs, 0);
    if (!factors || b->status != NANO_OK)
        return false;
    for (int i = 0; i < num_pairs; i++) {
        float factor;
        memcpy(&factor, (const char *)factors->data + (size_t)i * sizeof factor, sizeof factor);
        if (!(factor >= 1 / MAX_FACTOR && factor <= MAX_FACTOR)) {
            nano_build_fail(b, NANO_ERR_FORMAT, "tensor '%s': element %d is %g, expected > 0", name,
                            i, (double)factor);
            return false;
        }
        inv_freq[i] /= factor;
    }
    return true;
}

static float *alloc_freqs(struct nano_builder *b, int num_pairs)
{
    float *freqs = b->status == NANO_OK
                       ? nano_arena_alloc(&b->program->arena, (size_t)num_pairs, sizeof *freqs)
                       : NULL;
    if (!freqs)
        nano_build_fail(b, NANO_ERR_NO_MEMORY, "no memory left for the program");
    return freqs;
}

/* rope_freqs, or the two sets of LongRoPE. */
static void apply_factors(struct nano_builder *b, struct nano_rope *rope, float *inv_freq)
{
    if (divide_by_factors(b, "rope_freqs.weight", inv_freq, rope->num_pairs))
        return;
    float *short_inv_freq = alloc_freqs(b, rope->num_pairs);
    if (!short_inv_freq)
        return;
    memcpy(short_inv_freq, inv_freq, (size_t)rope->num_pairs * sizeof *inv_freq);
    const bool is_long =
        divide_by_factors(b, "rope_factors_long.weight", inv_freq, rope->num_pairs);
    const bool is_short =
        divide_by_factors(b, "rope_factors_short.weight", short_inv_freq, rope->num_pairs);
    if (!is_long && !is_short)
        return;
    rope->short_inv_freq = short_inv_freq;
    rope->short_context =
        nano_build_int(b, "rope.scaling.original_context_length", 1, (int64_t)1 << 30,
                       b->program->config.max_position_embeddings);
}

static struct nano_rope *add_rope(struct nano_builder *b)
{
    struct nano_program *p = b->program;
    if (b->status != NANO_OK)
        return NULL;
    struct nano_rope *ropes = nano_arena_alloc(&p->arena, (size_t)p->num_ropes + 1, sizeof *ropes);
    if (!ropes) {
        nano_build_fail(b, NANO_ERR_NO_MEMORY, "no memory left for the program");
        return NULL;
    }
    if (p->num_ropes)
        memcpy(ropes, p->ropes, (size_t)p->num_ropes * sizeof *ropes);
    p->ropes = ropes;
    ropes[p->num_ropes] = (struct nano_rope){0};
    return &ropes[p->num_ropes++];
}

int nano_build_rope_from_metadata(struct nano_builder *b, bool adjacent)
{
    const struct nano_rope_options options = {.adjacent = adjacent};
    return nano_build_rope_from_metadata_with(b, &options);
}

int nano_build_rope_from_metadata_with(struct nano_builder *b,
                                       const struct nano_rope_options *options)
{
    const int64_t head_dim = options->head_dim ? options->head_dim : b->program->config.head_dim;
    const int num_dims = (int)nano_build_int(b, "rope.dimension_count", 2, head_dim, head_dim);
    double base = nano_build_float(b, "rope.freq_base", 1.0001, 1e12, 10000);
    if (options->freq_base != 0)
        base = options->freq_base;
    if (num_dims % 2)
        nano_build_fail(b, NANO_ERR_FORMAT,
                        "%s.rope.dimension_count is %d, expected an even number",
                        b->program->config.architecture, num_dims);

    const enum scaling scaling = options->unscaled ? SCALING_NONE : read_scaling(b);
    const double old_factor = nano_build_float(b, "rope.scale_linear", 0, MAX_FACTOR, 0);
    double factor = nano_build_float(b, "rope.scaling.factor", 0, MAX_FACTOR, old_factor);
    if (scaling == SCALING_NONE || factor == 0)
        factor = 1;
    struct yarn yarn = {.magnitude = 1};
    if (scaling == SCALING_YARN)
        yarn = read_yarn(b, num_dims, base, factor);
    if (options->magnitude != 0)
        yarn.magnitude = options->magnitude;
    const double attn_factor =
        options->unscaled ? 1
                          : nano_build_float(b, "rope.scaling.attn_factor", 1e-6, MAX_FACTOR, 1);

    float *inv_freq = alloc_freqs(b, num_dims / 2);
    struct nano_rope *rope = add_rope(b);
    if (!rope)
        return 0;
    for (int i = 0; i < num_dims / 2; i++) {
        const double ramp = scaling == SCALING_YARN ? yarn_ramp(&yarn, i) : 0;
        inv_freq[i] = (float)(pow(base, -2.0 * i / num_dims) * (ramp + (1 - ramp) / factor));
    }
    rope->num_pairs = num_dims / 2;
    rope->inv_freq = inv_freq;
    rope->magnitude = (float)(yarn.magnitude * attn_factor);
    rope->adjacent = options->adjacent;
    if (!options->unscaled)
        apply_factors(b, rope, inv_freq);
    return b->program->num_ropes - 1;
}
