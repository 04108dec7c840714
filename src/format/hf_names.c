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

const struct nano_hf_name nano_hf_names_gemma[] = {
    AROUND_LAYERS,
    NORM("input_layernorm", "attn_norm"),
    ATTENTION(NANO_HF_BIAS_NEVER, NANO_HF_BIAS_NEVER),
    NORM("post_attention_layernorm", "ffn_norm"),
    MLP(NANO_HF_BIAS_NEVER),
    END,
};

#define GEMMA2_NORMS                                                                               \
    NORM("input_layernorm", "attn_norm"), NORM("post_attention_layernorm", "post_attention_norm"), \
        NORM("pre_feedforward_layernorm", "ffn_norm"),                                             \
        NORM("post_feedforward_layernorm", "post_ffw_norm")

#define HEAD_NORMS                                                                      \
    {"layers.*.self_attn.q_norm", "blk.*.attn_q_norm", NANO_HF_HEAD, NANO_HF_NONE, 0},  \
    {                                                                                   \
        "layers.*.self_attn.k_norm", "blk.*.attn_k_norm", NANO_HF_HEAD, NANO_HF_NONE, 0 \
    }

const struct nano_hf_name nano_hf_names_gemma2[] = {
    AROUND_LAYERS,           GEMMA2_NORMS, ATTENTION(NANO_HF_BIAS_NEVER, NANO_HF_BIAS_NEVER),
    MLP(NANO_HF_BIAS_NEVER), END,
};

const struct nano_hf_name nano_hf_names_gemma3[] = {
    AROUND_LAYERS,
    GEMMA2_NORMS,
    ATTENTION(NANO_HF_BIAS_NEVER, NANO_HF_BIAS_NEVER),
    HEAD_NORMS,
    MLP(NANO_HF_BIAS_NEVER),
    END,
};

const struct nano_hf_name nano_hf_names_phi3[] = {
    AROUND_LAYERS,
    NORM("input_layernorm", "attn_norm"),
    {"layers.*.self_attn.qkv_proj", "blk.*.attn_qkv", NANO_HF_QKV, NANO_HF_HIDDEN, 0},
    {"layers.*.self_attn.o_proj", "blk.*.attn_output", NANO_HF_HIDDEN, NANO_HF_Q, 0},
    NORM("post_attention_layernorm", "ffn_norm"),
    {"layers.*.mlp.gate_up_proj", "blk.*.ffn_up", NANO_HF_FFN2, NANO_HF_HIDDEN, 0},
    {"layers.*.mlp.down_proj", "blk.*.ffn_down", NANO_HF_HIDDEN, NANO_HF_FFN, 0},
    END,
};

const struct nano_hf_name nano_hf_names_olmo2[] = {
    AROUND_LAYERS,
    ATTENTION(NANO_HF_BIAS_NEVER, NANO_HF_BIAS_NEVER),
    {"layers.*.self_attn.q_norm", "blk.*.attn_q_norm", NANO_HF_Q, NANO_HF_NONE, 0},
    {"layers.*.self_attn.k_norm", "blk.*.attn_k_norm", NANO_HF_KV, NANO_HF_NONE, 0},
    NORM("post_attention_layernorm", "post_attention_norm"),
    MLP(NANO_HF_BIAS_NEVER),
    NORM("post_feedforward_layernorm", "post_ffw_norm"),
    END,
};

#define LAYER_NORM(stored, name)                             \
    {                                                        \
        stored, name, NANO_HF_HIDDEN, 0, NANO_HF_BIAS_ALWAYS \
    }

const struct nano_hf_name nano_hf_names_starcoder2[] = {
    {"embed_tokens", "token_embd", NANO_HF_VOCAB, NANO_HF_HIDDEN, 0},
    LAYER_NORM("norm", "output_norm"),
    {"lm_head", "output", NANO_HF_VOCAB, NANO_HF_HIDDEN, 0},
    LAYER_NORM("layers.*.input_layernorm", "blk.*.attn_norm"),
    ATTENTION(NANO_HF_BIAS_ATTENTION, NANO_HF_BIAS_ATTENTION),
    LAYER_NORM("layers.*.post_attention_layernorm", "blk.*.ffn_norm"),
    {"layers.*.mlp.c_fc", "blk.*.ffn_up", NANO_HF_FFN, NANO_HF_HIDDEN, NANO_HF_BIAS_MLP},
    {"layers.*.mlp.c_proj", "blk.*.ffn_down", NANO_HF_HIDDEN, NANO_HF_FFN, NANO_HF_BIAS_MLP},
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
    HEAD_NORMS,
    NORM("post_attention_layernorm", "ffn_norm"),
    MLP(NANO_HF_BIAS_NEVER),
    END,
};
