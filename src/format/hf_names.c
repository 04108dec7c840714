/* Tables of weights' names. */
#include "format/hf_names.h"

#include <stddef.h>

#define AROUND_LAYERS                                                 \
    {"embed_tokens", "token_embd", NANO_HF_VOCAB, NANO_HF_HIDDEN, 0}, \
        {"norm", "output_norm", NANO_HF_HIDDEN, NANO_HF_NONE, 0},     \
    {                                                                 \
        "lm_head", "output", NANO_HF_VOCAB, NANO_HF_HIDDEN, 0         \
    }

#define NORM(stored, name)                                                 \
    {                                                                      \
        "layers.*." stored, "blk.*." name, NANO_HF_HIDDEN, NANO_HF_NONE, 0 \
    }

#define ATTENTION(qkv_bias, output_bias)                                                         \
    {"layers.*.self_attn.q_proj", "blk.*.attn_q", NANO_HF_Q, NANO_HF_HIDDEN, qkv_bias},          \
        {"layers.*.self_attn.k_proj", "blk.*.attn_k", NANO_HF_KV, NANO_HF_HIDDEN, qkv_bias},     \
        {"layers.*.self_attn.v_proj", "blk.*.attn_v", NANO_HF_KV, NANO_HF_HIDDEN, qkv_bias},     \
    {                                                                                            \
        "layers.*.self_attn.o_proj", "blk.*.attn_output", NANO_HF_HIDDEN, NANO_HF_Q, output_bias \
    }

#define MLP(bias)                                                                     \
    {"layers.*.mlp.gate_proj", "blk.*.ffn_gate", NANO_HF_FFN, NANO_HF_HIDDEN, bias},  \
        {"layers.*.mlp.up_proj", "blk.*.ffn_up", NANO_HF_FFN, NANO_HF_HIDDEN, bias},  \
    {                                                                                 \
        "layers.*.mlp.down_proj", "blk.*.ffn_down", NANO_HF_HIDDEN, NANO_HF_FFN, bias \
    }

#define END                 \
    {                       \
        NULL, NULL, 0, 0, 0 \
    }

const struct nano_hf_name nano_hf_names_llama[] = {
    AROUND_LAYERS,
    NORM("input_layernorm", "attn_norm"),
    ATTENTION(NANO_HF_BIAS_ATTENTION, NANO_HF_BIAS_ATTENTION),
    NORM("post_attention_layernorm", "ffn_norm"),
    MLP(NANO_HF_BIAS_MLP),
    END,
};

const struct nano_hf_name nano_hf_names_qwen2[] = {
    AROUND_LAYERS,
    NORM("input_layernorm", "attn_norm"),
    ATTENTION(NANO_HF_BIAS_ALWAYS, NANO_HF_BIAS_NEVER),
    NORM("post_attention_layernorm", "ffn_norm"),
    MLP(NANO_HF_BIAS_NEVER),
    END,
};

const struct nano_hf_name nano_hf_names_qwen3[] = {
    AROUND_LAYERS,
    NORM("input_layernorm", "attn_norm"),
    ATTENTION(NANO_HF_BIAS_NEVER, NANO_HF_BIAS_NEVER),
    {"layers.*.self_attn.q_norm", "blk.*.attn_q_norm", NANO_HF_HEAD, NANO_HF_NONE, 0},
    {"layers.*.self_attn.k_norm", "blk.*.attn_k_norm", NANO_HF_HEAD, NANO_HF_NONE, 0},
    NORM("post_attention_layernorm", "ffn_norm"),
    MLP(NANO_HF_BIAS_NEVER),
    END,
};
