/* Synthetic weights: which models exist and in which format each of their tensors is. */
#ifndef NANO_FORMAT_SYNTHETIC_SHAPE_H
#define NANO_FORMAT_SYNTHETIC_SHAPE_H

#include "format/weights.h"

struct nano_synthetic_shape {
    const char *name, *title;
    const char *architecture, *pre_tokenizer; /* as GGUF names them */
    int num_layers, hidden_size, num_heads, num_kv_heads, head_dim;
    int intermediate_size, vocab_size, context_length;
    float rope_theta, rms_norm_eps;
    float rope_factor; /* llama-3 frequency scaling by rope_freqs.weight; 0: none */
    bool tied;         /* the head is the embedding */
    bool qkv_bias, qk_norm;
};

/* What a file is quantised to: one format for all matrices, or a mix. */
struct nano_synthetic_mix {
    enum nano_format format;
    bool more_bits;     /* Q6_K for attn_v and ffn_down of some layers */
    uint32_t file_type; /* general.file_type */
};

enum nano_synthetic_role {
    NANO_ROLE_EMBEDDING,
    NANO_ROLE_HEAD,
    NANO_ROLE_ATTN_V,
    NANO_ROLE_FFN_DOWN,
    NANO_ROLE_OTHER
};

/* Takes "SHAPE:FORMAT" apart; an unknown half is an error that lists the known ones. */
enum nano_status nano_synthetic_parse(const char *spec, const struct nano_synthetic_shape **shape,
                                      struct nano_synthetic_mix *mix, struct nano_error *err);

/* The format that llama.cpp's quantize gives to a matrix with rows of `cols` weights. */
enum nano_format nano_synthetic_format(const struct nano_synthetic_shape *shape,
                                       const struct nano_synthetic_mix *mix,
                                       enum nano_synthetic_role role, int layer, int64_t cols);

#endif
