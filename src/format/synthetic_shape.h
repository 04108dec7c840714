/* Synthetic weights: which models exist. */
#ifndef NANO_FORMAT_SYNTHETIC_SHAPE_H
#define NANO_FORMAT_SYNTHETIC_SHAPE_H

#include "format/quant_mix.h"

struct nano_synthetic_shape {
    const char *name, *title;
    const char *architecture, *pre_tokenizer; /* as GGUF names them */
    int num_layers, hidden_size, num_heads, num_kv_heads, head_dim;
    int intermediate_size, vocab_size, context_length;
    int num_experts, num_experts_used; /* 0: dense; else intermediate_size is an expert's */
    float rope_theta, rms_norm_eps;
    float rope_factor; /* llama-3 frequency scaling by rope_freqs.weight; 0: none */
    bool tied;         /* the head is the embedding */
    bool qkv_bias, qk_norm;

    /* Recurrent layers: of Mamba-2, without num_heads; else gated delta nets, between which every
     * full_attention_interval-th layer has gated attention. 0: none. */
    int inner_size, state_size, num_state_heads, num_state_groups, conv_kernel;
    int full_attention_interval;
    int rope_dims; /* 0: head_dim */
};

/* Takes "SHAPE:FORMAT" apart; an unknown half is an error that lists the known ones. */
enum nano_status nano_synthetic_parse(const char *spec, const struct nano_synthetic_shape **shape,
                                      enum nano_mix_id *mix, struct nano_error *err);

#endif
