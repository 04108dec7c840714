/* Overrides the slots that have a body for this instruction set. */
#include "simd/avx2/avx2.h"

#include "simd/panels.h"

void nano_kernels_init_avx2(struct nano_kernels *kernels)
{
    kernels->name = "avx2";
    nano_panels_init(kernels);
#define NANO_FORMAT(NAME, name_, gguf_id, length, bytes, activation_) \
    kernels->linear[NANO_FORMAT_##NAME].linear = nano_linear_##name_##_avx2;
#include "simd/quant.def"
#undef NANO_FORMAT
    kernels->activation[NANO_ACTIVATION_Q8_32].quantize = nano_quantize_q8_32_avx2;
    kernels->activation[NANO_ACTIVATION_Q8_256].quantize = nano_quantize_q8_256_avx2;
    for (int i = 0; i < NANO_NUM_KV_FORMATS; i++)
        kernels->kv[i].store = nano_kv_store_avx2;
    kernels->kv[NANO_KV_FORMAT_F32].attention = nano_attention_f32_avx2;
    kernels->kv[NANO_KV_FORMAT_F16].attention = nano_attention_f16_avx2;
    kernels->kv[NANO_KV_FORMAT_BF16].attention = nano_attention_bf16_avx2;
    kernels->kv[NANO_KV_FORMAT_Q8_0].attention = nano_attention_q8_0_avx2;
    kernels->kv[NANO_KV_FORMAT_FP8].attention = nano_attention_fp8_avx2;
    kernels->attention_scratch_floats = nano_attention_scratch_floats_avx2;
    kernels->attention_partial_floats = nano_attention_partial_floats_avx2;
    kernels->attention_merge = nano_attention_merge_avx2;
    kernels->rms_norm = nano_rms_norm_avx2;
    kernels->rope = nano_rope_avx2;
    kernels->layer_norm = nano_layer_norm_avx2;
    kernels->l2_norm = nano_l2_norm_avx2;
    nano_acts_init_avx2(kernels);
    kernels->add = nano_add_avx2;
    kernels->add_scaled = nano_add_scaled_avx2;
    kernels->scale = nano_scale_avx2;
    kernels->softcap = nano_softcap_avx2;
    kernels->short_conv = nano_short_conv_avx2;
    kernels->mamba2 = nano_mamba2_avx2;
    kernels->delta_net = nano_delta_net_avx2;
    kernels->argmax = nano_argmax_avx2;
    kernels->collect = nano_collect_avx2;
    kernels->sum_exp = nano_sum_exp_avx2;
    kernels->log_sum_exp = nano_log_sum_exp_avx2;
    nano_peak_init_avx2(&kernels->peak);
}
