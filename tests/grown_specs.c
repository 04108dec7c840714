/* Hyper-parameters of small models: every architecture, and what its variants switch. */
#include "tests/grown_model.h"

#define SMALL "context_length=512 embedding_length=32 block_count=2 "
#define RMS "attention.layer_norm_rms_epsilon=1e-5 "
#define HEADS "attention.head_count=4 attention.head_count_kv=2 "
#define MAMBA2                                                                    \
    "ssm.conv_kernel=4 ssm.inner_size=64 ssm.state_size=16 ssm.time_step_rank=4 " \
    "ssm.group_count=1 "
#define DELTA_NET                                                                 \
    "ssm.conv_kernel=4 ssm.inner_size=48 ssm.state_size=12 ssm.time_step_rank=4 " \
    "ssm.group_count=2 rope.dimension_count=4 "
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
    {"mamba2", "mamba2",
     SMALL RMS "ssm.conv_kernel=4 ssm.inner_size=60 ssm.state_size=9 ssm.time_step_rank=6 "
               "ssm.group_count=2",
     EMBEDDING},
    {"granitehybrid", "granitehybrid",
     RMS MAMBA2 "context_length=512 embedding_length=32 block_count=3 attention.head_count=4 "
                "attention.head_count_kv=[0,2,0] feed_forward_length=48 residual_scale=0.6 "
                "rope.scaling.finetuned=false",
     EMBEDDING " blk.0.ssm_conv1d.bias=96"},
    {"granitehybrid-moe", "granitehybrid",
     RMS MAMBA2 "context_length=512 embedding_length=32 block_count=2 attention.head_count=4 "
                "attention.head_count_kv=[0,2] feed_forward_length=24 expert_count=5 "
                "expert_used_count=2 expert_shared_feed_forward_length=24 logit_scale=2.0",
     EMBEDDING},
    {"lfm2", "lfm2",
     SMALL RMS "attention.head_count=4 attention.head_count_kv=[0,2] feed_forward_length=48 "
               "shortconv.l_cache=3",
     EMBEDDING},
    {"lfm2-window", "lfm2",
     SMALL RMS "attention.head_count=4 attention.head_count_kv=[2,0] feed_forward_length=48 "
               "shortconv.l_cache=5 attention.sliding_window=9",
     EMBEDDING},
    {"qwen35", "qwen35",
     SMALL RMS HEADS DELTA_NET "feed_forward_length=48 full_attention_interval=2", EMBEDDING},
    {"qwen35-nextn", "qwen35",
     RMS HEADS DELTA_NET "context_length=512 embedding_length=32 block_count=3 "
                         "feed_forward_length=48 attention.recurrent_layers=[0,1,0] "
                         "nextn_predict_layers=1",
     EMBEDDING},
    {"qwen3next", "qwen3next",
     SMALL RMS HEADS DELTA_NET "expert_feed_forward_length=16 expert_count=5 expert_used_count=2 "
                               "expert_shared_feed_forward_length=24 full_attention_interval=2",
     EMBEDDING},
};
const int num_grown_specs = sizeof grown_specs / sizeof *grown_specs;
