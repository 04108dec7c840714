/* Overrides the slots that have a body for this instruction set. */
#include "simd/neon/neon.h"

#include "simd/panels.h"

void nano_kernels_init_neon(struct nano_kernels *kernels)
{
    kernels->name = "neon";
    nano_panels_init(kernels);
#define NANO_FORMAT(NAME, name_, gguf_id, length, bytes, activation_) \
    kernels->linear[NANO_FORMAT_##NAME].linear = nano_linear_##name_##_neon;
#include "simd/quant.def"
#undef NANO_FORMAT
    kernels->activation[NANO_ACTIVATION_Q8_32].quantize = nano_quantize_q8_32_neon;
    kernels->activation[NANO_ACTIVATION_Q8_256].quantize = nano_quantize_q8_256_neon;
    for (int i = 0; i < NANO_NUM_KV_FORMATS; i++)
        kernels->kv[i].store = nano_kv_store_neon;
    kernels->kv[NANO_KV_FORMAT_F32].attention = nano_attention_f32_neon;
    kernels->kv[NANO_KV_FORMAT_F16].attention = nano_attention_f16_neon;
    kernels->kv[NANO_KV_FORMAT_BF16].attention = nano_attention_bf16_neon;
    kernels->kv[NANO_KV_FORMAT_Q8_0].attention = nano_attention_q8_0_neon;
    kernels->kv[NANO_KV_FORMAT_FP8].attention = nano_attention_fp8_neon;
    kernels->attention_scratch_floats = nano_attention_scratch_floats_neon;
    kernels->attention_partial_floats = nano_attention_partial_floats_neon;
    kernels->attention_merge = nano_attention_merge_neon;
    kernels->rms_norm = nano_rms_norm_neon;
    kernels->rope = nano_rope_neon;
    kernels->layer_norm = nano_layer_norm_neon;
    kernels->l2_norm = nano_l2_norm_neon;
    nano_acts_init_neon(kernels);
    kernels->add = nano_add_neon;
    kernels->add_scaled = nano_add_scaled_neon;
    kernels->scale = nano_scale_neon;
    kernels->softcap = nano_softcap_neon;
    kernels->short_conv = nano_short_conv_neon;
    kernels->mamba2 = nano_mamba2_neon;
    kernels->delta_net = nano_delta_net_neon;
    kernels->argmax = nano_argmax_neon;
    kernels->collect = nano_collect_neon;
    kernels->sum_exp = nano_sum_exp_neon;
    kernels->log_sum_exp = nano_log_sum_exp_neon;
    nano_peak_init_neon(&kernels->peak);
}
