/* Hyper-parameters of small models: every architecture, and what its variants switch. */
#include "tests/grown_model.h"

#define SMALL "context_length=512 embedding_length=32 block_count=2 "
#define RMS "attention.layer_norm_rms_epsilon=1e-5 "
#define HEADS "attention.head_count=4 attention.head_count_kv=2 "
#define EMBEDDING "token_embd.weight=32x80"

const struct grown_spec grown_specs[] = {
    {"llama", "llama", SMALL RMS HEADS "feed_forward_length=48", EMBEDDING},
    {"qwen2", "qwen2", SMALL RMS HEADS "feed_forward_length=48", EMBEDDING},
    {"qwen3", "qwen3",
     SMALL RMS HEADS "feed_forward_length=48 attention.key_length=16 "
                     "attention.value_length=16",
     EMBEDDING},
};
const int num_grown_specs = sizeof grown_specs / sizeof *grown_specs;
