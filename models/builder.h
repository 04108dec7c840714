/* Builder: what models/<arch>.c writes its program with.
 *
 * The first failure is kept and every later call does nothing, so an architecture reads as a plain
 * list of calls; nano_program_create looks at the status once, at the end. */
#ifndef NANO_MODELS_BUILDER_H
#define NANO_MODELS_BUILDER_H

#include "models/program.h"

struct nano_builder {
    struct nano_program *program;
    const struct nano_weights *weights;
    int layer; /* weights named with %d and labels belong to it; -1 outside */
    enum nano_status status;
    struct nano_error *err;
};

/* One architecture: its row in registry.c. */
struct nano_architecture {
    const char *name;                    /* general.architecture */
    void (*build)(struct nano_builder *builder);
};

/* Hyper-parameters under the architecture's prefix: key "rope.freq_base" reads "llama.rope.freq_base". */
int64_t nano_build_int(struct nano_builder *b, const char *key, int64_t min, int64_t max, int64_t fallback);
double nano_build_float(struct nano_builder *b, const char *key, double fallback);

/* A weight by name; "%d" in it is the layer. Its shape must be [cols, rows] (rows 0: a vector).
 * The _optional one gives NULL when the file has none. */
const struct nano_tensor *nano_build_weight(struct nano_builder *b, const char *name, int64_t cols, int64_t rows);
const struct nano_tensor *nano_build_weight_optional(struct nano_builder *b, const char *name, int64_t cols,
                                                     int64_t rows);

/* A new buffer, whole. Names need not be unique. */
struct nano_view nano_build_buffer(struct nano_builder *b, const char *name, int64_t width);

/* Ops. Each returns its output view where it makes one. */
struct nano_view nano_build_embed(struct nano_builder *b, const struct nano_tensor *weight);
struct nano_view nano_build_rms_norm(struct nano_builder *b, const char *label, struct nano_view in,
                                     const struct nano_tensor *weight, int64_t group_width);
struct nano_view nano_build_linear(struct nano_builder *b, const char *label, struct nano_view in,
                                   const struct nano_tensor *weight, const struct nano_tensor *bias);
void nano_build_rope(struct nano_builder *b, struct nano_view x, int num_heads, int rope);
struct nano_view nano_build_attention(struct nano_builder *b, struct nano_view q, struct nano_view k,
                                      struct nano_view v, float scale); /* kv_store + attention, next kv layer */
struct nano_view nano_build_silu_mul(struct nano_builder *b, struct nano_view gate, struct nano_view up);
void nano_build_add(struct nano_builder *b, struct nano_view x, struct nano_view y); /* x += y */
struct nano_view nano_build_gather(struct nano_builder *b, struct nano_view in);
void nano_build_logits(struct nano_builder *b, struct nano_view in, const struct nano_tensor *weight);

/* Adds the rotary embedding that the metadata describes (rope.freq_base, rope.dimension_count,
 * rope.scaling.*, rope_freqs.weight: linear, YaRN, Llama 3) and returns its index. */
int nano_build_rope_from_metadata(struct nano_builder *b, bool adjacent);

#endif
