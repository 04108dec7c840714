/* Hyper-parameters of small models: every architecture, and what its variants switch. */
#include "tests/grown_model.h"

#define SMALL "context_length=512 embedding_length=32 block_count=2 "
#define RMS "attention.layer_norm_rms_epsilon=1e-5 "
#define LAYER_NORM "attention.layer_norm_epsilon=1e-5 "
#define FFN "feed_forward_length=48 "
#define HEADS "attention.head_count=4 attention.head_count_kv=2 "
#define MAMBA2                                                                    \
    "ssm.conv_kernel=4 ssm.inner_size=64 ssm.state_size=16 ssm.time_step_rank=4 " \
    "ssm.group_count=1 "
#define DELTA_NET                                                                 \
    "ssm.conv_kernel=4 ssm.inner_size=48 ssm.state_size=12 ssm.time_step_rank=4 " \
    "ssm.group_count=2 rope.dimension_count=4 "
#define LATENT "attention.head_count=4 attention.kv_lora_rank=16 rope.dimension_count=4 "
#define LATENT_HEADS "attention.key_length_mla=12 attention.value_length_mla=9 "
#define EMBEDDING "token_embd.weight=32x80"
#define BERT_BIASES(layer)                                                                      \
    " blk." layer ".attn_q.bias=32 blk." layer ".attn_k.bias=32 blk." layer                     \
    ".attn_v.bias=32 blk." layer ".attn_output.bias=32 blk." layer ".ffn_up.bias=48 blk." layer \
    ".ffn_down.bias=32"

const struct grown_spec grown_specs[] = {
    {"bert", "bert", SMALL LAYER_NORM "attention.head_count=4 attention.causal=false " FFN,
     EMBEDDING " token_types.weight=32x2" BERT_BIASES("0") BERT_BIASES("1")},
    {"nomic-bert", "nomic-bert",
     SMALL LAYER_NORM "attention.head_count=2 attention.causal=false rope.freq_base=1e3 " FFN,
     EMBEDDING " token_types.weight=32"},
    {"llama", "llama", SMALL RMS HEADS "feed_forward_length=48", EMBEDDING},
    {"qwen2", "qwen2", SMALL RMS HEADS "feed_forward_length=48", EMBEDDING},
    {"qwen3", "qwen3",
     SMALL RMS HEADS "feed_forward_length=48 attention.key_length=16 "
                     "attention.value_length=16",
     EMBEDDING},
    {"gpt2", "gpt2", SMALL LAYER_NORM "attention.head_count=4 " FFN, EMBEDDING},
    {"gptneox", "gptneox",
     SMALL LAYER_NORM
     "attention.head_count=4 rope.dimension_count=4 use_parallel_residual=true " FFN,
     EMBEDDING},
    {"gptneox, sequential", "gptneox",
     SMALL LAYER_NORM "attention.head_count=4 use_parallel_residual=false " FFN, EMBEDDING},
    {"falcon 7b", "falcon",
     SMALL LAYER_NORM "attention.head_count=4 attention.head_count_kv=1 " FFN, EMBEDDING},
    {"falcon 40b", "falcon", SMALL LAYER_NORM HEADS FFN,
     EMBEDDING " blk.0.attn_norm_2.weight=32 blk.1.attn_norm_2.weight=32"},
    {"starcoder2", "starcoder2", SMALL LAYER_NORM HEADS FFN,
     EMBEDDING " blk.0.attn_q.bias=32 blk.1.attn_output.bias=32 blk.0.ffn_up.bias=48"},
    {"stablelm", "stablelm", SMALL LAYER_NORM HEADS "rope.dimension_count=4 " FFN,
     EMBEDDING " blk.0.ffn_norm.weight=32 blk.0.ffn_norm.bias=32 blk.1.ffn_norm.weight=32"},
    {"stablelm 12b", "stablelm", SMALL LAYER_NORM HEADS FFN,
     EMBEDDING " blk.0.attn_q_norm.weight=8x4 blk.0.attn_k_norm.weight=8x2"},
    {"phi3", "phi3", SMALL RMS HEADS FFN, EMBEDDING},
    {"phi3, longrope", "phi3",
     SMALL RMS HEADS FFN "rope.scaling.original_context_length=64 rope.scaling.attn_factor=1.2 "
                         "rope.dimension_count=4",
     EMBEDDING " rope_factors_long.weight=2 rope_factors_short.weight=2"},
    {"mistral3", "mistral3",
     SMALL RMS HEADS FFN "attention.temperature_scale=0.1 rope.scaling.type=yarn "
                         "rope.scaling.factor=8.0 rope.scaling.original_context_length=8 "
                         "rope.scaling.yarn_log_multiplier=1.0",
     EMBEDDING},
    {"granite", "granite",
     SMALL RMS HEADS FFN "embedding_scale=6.0 residual_scale=0.6 attention.scale=0.11 "
                         "logit_scale=1.6",
     EMBEDDING},
    {"granite, no rope", "granite",
     SMALL RMS HEADS FFN "logit_scale=8.0 rope.scaling.finetuned=false",
     EMBEDDING " blk.1.attn_v.bias=16"},
    {"smollm3", "smollm3", "context_length=512 embedding_length=32 block_count=5 " RMS HEADS FFN,
     EMBEDDING},
    {"olmo2", "olmo2", SMALL RMS HEADS FFN, EMBEDDING},
    {"gemma", "gemma", SMALL RMS HEADS FFN "attention.key_length=16 attention.value_length=16",
     EMBEDDING},
    {"gemma2", "gemma2",
     SMALL RMS HEADS FFN "attention.key_length=16 attention.value_length=16 "
                         "attention.sliding_window=8 attn_logit_softcapping=5.0 "
                         "final_logit_softcapping=10.0",
     EMBEDDING},
    {"gemma3", "gemma3",
     SMALL RMS HEADS FFN "attention.key_length=16 attention.value_length=16 "
                         "attention.sliding_window=8 attention.sliding_window_pattern=2 "
                         "rope.freq_base=1e6 rope.freq_base_swa=100.0",
     EMBEDDING},
    {"olmo3", "olmo2",
     SMALL RMS HEADS FFN "attention.sliding_window=8 attention.sliding_window_pattern=[0,1] "
                         "rope.scaling.type=yarn rope.scaling.factor=4.0 "
                         "rope.scaling.original_context_length=16",
     EMBEDDING},
    {"starcoder2, all biases", "starcoder2", SMALL LAYER_NORM HEADS FFN,
     EMBEDDING
     " blk.0.attn_q.bias=32 blk.0.attn_k.bias=16 blk.0.attn_v.bias=16 blk.0.attn_output.bias=32 "
     "blk.0.ffn_up.bias=48 blk.0.ffn_down.bias=32 blk.1.attn_q.bias=32 blk.1.attn_k.bias=16 "
     "blk.1.attn_v.bias=16 blk.1.attn_output.bias=32 blk.1.ffn_up.bias=48 blk.1.ffn_down.bias=32"},
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
    {"gpt-oss", "gpt-oss",
     SMALL RMS HEADS "expert_feed_forward_length=32 expert_count=4 expert_used_count=2 "
                     "attention.sliding_window=8 rope.scaling.type=yarn "
                     "rope.scaling.factor=8.0 rope.scaling.original_context_length=16 "
                     "rope.freq_base_swa=1e3",
     EMBEDDING " blk.0.attn_q.bias=32 blk.1.attn_v.bias=16"},
    {"granitemoe", "granitemoe",
     SMALL RMS HEADS "feed_forward_length=32 expert_count=5 expert_used_count=2 "
                     "expert_shared_feed_forward_length=24 embedding_scale=6.0 "
                     "residual_scale=0.6 attention.scale=0.2 logit_scale=1.6",
     EMBEDDING},
    {"deepseek2", "deepseek2",
     SMALL RMS LATENT LATENT_HEADS FFN
     "attention.q_lora_rank=24 leading_dense_block_count=1 expert_count=6 "
     "expert_used_count=2 expert_shared_count=2 "
     "expert_feed_forward_length=24 expert_weights_norm=true "
     "expert_gating_func=2 rope.scaling.type=yarn rope.scaling.factor=4.0 "
     "rope.scaling.original_context_length=16 "
     "rope.scaling.yarn_log_multiplier=0.1",
     EMBEDDING " blk.1.exp_probs_b.bias=6"},
    {"deepseek2, dense", "deepseek2",
     SMALL RMS LATENT LATENT_HEADS FFN
     "leading_dense_block_count=2 attention.temperature_scale=0.1 "
     "attention.temperature_length=8",
     EMBEDDING},
    {"deepseek2, many heads", "deepseek2",
     SMALL RMS LATENT_HEADS FFN "attention.head_count=40 attention.kv_lora_rank=16 "
                                "rope.dimension_count=4 leading_dense_block_count=2",
     EMBEDDING},
    {"deepseek2, kv_b", "deepseek2",
     SMALL RMS LATENT FFN "leading_dense_block_count=2 attention.key_length=12 "
                          "attention.value_length=9",
     EMBEDDING " blk.0.attn_kv_b.weight=16x68 blk.1.attn_kv_b.weight=16x68"},
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
