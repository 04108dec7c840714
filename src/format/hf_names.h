/* What an architecture's weights are called in Hugging Face's files and in GGUF's. */
#ifndef NANO_FORMAT_HF_NAMES_H
#define NANO_FORMAT_HF_NAMES_H

/* Sizes that a configuration sets and that shapes are made of. */
enum nano_hf_size {
    NANO_HF_NONE, /* no second dimension */
    NANO_HF_HIDDEN,
    NANO_HF_FFN,
    NANO_HF_VOCAB,
    NANO_HF_HEAD, /* one head's dimensions */
    NANO_HF_Q,    /* all heads' */
    NANO_HF_KV,   /* all key and value heads' */
    NANO_HF_QKV,  /* queries, keys and values */
    NANO_HF_FFN2, /* gate and up */
    NANO_HF_NUM_SIZES
};

/* When there is a ".bias" beside the ".weight". */
enum nano_hf_bias {
    NANO_HF_BIAS_NEVER,
    NANO_HF_BIAS_ALWAYS,
    NANO_HF_BIAS_ATTENTION, /* if attention_bias is true */
    NANO_HF_BIAS_MLP,       /* if mlp_bias is */
};

struct nano_hf_name {
    const char *stored;           /* behind "model."; "layers.*." stands for every layer */
    const char *name;             /* GGUF's; "blk.*." likewise */
    enum nano_hf_size rows, cols; /* rows are the length of a vector */
    enum nano_hf_bias bias;
};

/* Ended by a row of NULLs. */
extern const struct nano_hf_name nano_hf_names_llama[], nano_hf_names_qwen2[],
    nano_hf_names_qwen3[], nano_hf_names_gemma[], nano_hf_names_gemma2[], nano_hf_names_gemma3[],
    nano_hf_names_phi3[], nano_hf_names_olmo2[], nano_hf_names_starcoder2[];

#endif
