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
    {"mixtral", "llama",
     SMALL RMS HEADS "feed_forward_length=48 expert_count=5 expert_used_count=2", EMBEDDING},
    {"grouped", "llama",
     SMALL RMS HEADS "expert_feed_forward_length=16 expert_count=12 expert_used_count=3 "
                     "expert_gating_func=2 expert_weights_norm=true expert_weights_scale=1.5 "
                     "expert_group_count=4 expert_group_used_count=2",
     EMBEDDING " blk.0.exp_probs_b.bias=12 blk.1.exp_probs_b.bias=12"},
    {"qwen2moe", "qwen2moe",
     SMALL RMS HEADS "feed_forward_length=48 expert_feed_forward_length=32 expert_count=6 "
                     "expert_used_count=3 expert_shared_feed_forward_length=40",
     EMBEDDING},
    {"qwen3moe", "qwen3moe",
     SMALL RMS HEADS "expert_feed_forward_length=32 expert_count=6 expert_used_count=3 "
                     "attention.key_length=16 attention.value_length=16",
     EMBEDDING},
    {"granitemoe", "granitemoe",
     SMALL RMS HEADS "feed_forward_length=32 expert_count=5 expert_used_count=2 "
                     "expert_shared_feed_forward_length=24 embedding_scale=6.0 "
                     "residual_scale=0.6 attention.scale=0.2 logit_scale=1.6",
     EMBEDDING},
};
const int num_grown_specs = sizeof grown_specs / sizeof *grown_specs;
