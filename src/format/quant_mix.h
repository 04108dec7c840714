/* Mixes: the types that models are quantised to, and which format each tensor gets.
 *
 * A type such as Q4_K_M is a format for most matrices and rules that give some of them more bits:
 * the head, values, the FFN of the first layers. The rules are those of llama.cpp's llama-quantize
 * (src/llama-quant.cpp), so that a type means the same file here as there. */
#ifndef NANO_FORMAT_QUANT_MIX_H
#define NANO_FORMAT_QUANT_MIX_H

#include "format/weights.h"

enum nano_mix_id {
#define NANO_MIX(NAME, alias, file_type, FORMAT) NANO_MIX_##NAME,
#include "format/quant_mix.def"
#undef NANO_MIX
    NANO_NUM_MIXES
};

struct nano_quant_mix {
    const char *name;  /* "Q4_K_M" */
    const char *alias; /* "Q4_K", or NULL */
    uint32_t file_type;
    enum nano_format format;
};

const struct nano_quant_mix *nano_quant_mix(enum nano_mix_id id);

/* By name or alias without regard to case, and by general.file_type; NANO_NUM_MIXES: none. */
enum nano_mix_id nano_quant_mix_find(const char *name);
enum nano_mix_id nano_quant_mix_of_file(int64_t file_type);

enum nano_tensor_role {
    NANO_ROLE_HEAD,      /* output.weight */
    NANO_ROLE_EMBEDDING, /* which may be the head as well */
    NANO_ROLE_ATTN_Q,
    NANO_ROLE_ATTN_K,
    NANO_ROLE_ATTN_V, /* and matrices that V is a part of */
    NANO_ROLE_ATTN_OUTPUT,
    NANO_ROLE_FFN_UP,
    NANO_ROLE_FFN_GATE,
    NANO_ROLE_FFN_DOWN,
    NANO_ROLE_OTHER,
    NANO_NUM_ROLES
};
enum nano_tensor_role nano_tensor_role(const char *name);

/* What the choice of formats depends on: facts of the model, and how many tensors of each role came
 * before. */
struct nano_quant_chooser {
    enum nano_mix_id mix;
    unsigned facts;
    bool is_tied; /* the embedding is the head */
    bool is_70b;
    int64_t num_layers, num_experts;
    int64_t num_values; /* tensors of NANO_ROLE_ATTN_V */
    int64_t seen[NANO_NUM_ROLES];
};

/* Looks at names and metadata only. Keys that are absent or of a wrong kind count as 0. */
void nano_quant_begin(struct nano_quant_chooser *chooser, enum nano_mix_id mix,
                      const struct nano_weights *weights, bool has_importance);

/* The mix's format for a tensor that may be quantised; its rows may not fit it. To be asked for in
 * the order of nano_quant_compare. */
enum nano_format nano_quant_choose(struct nano_quant_chooser *chooser,
                                   const struct nano_tensor *tensor);

/* `format`, or what takes its place where rows of `cols` are no whole number of its blocks. */
enum nano_format nano_quant_fit(enum nano_format format, int64_t cols);

/* False for vectors, norms, routers, convolutions and other small or sensitive tensors, which keep
 * their format whatever the type. */
bool nano_quant_allows(const struct nano_tensor *tensor);

/* Whether the format gives nonsense for this tensor without an importance matrix. */
bool nano_quant_needs_importance(enum nano_mix_id mix, const char *tensor_name,
                                 enum nano_format format);

/* For qsort of pointers to tensors: by layer (those of none first), then by name. */
int nano_quant_compare(const void *a, const void *b);

/* The layer in a name "blk.LAYER.…"; -1: none. */
int64_t nano_tensor_layer(const char *name);

#endif
