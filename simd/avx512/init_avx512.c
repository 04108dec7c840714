/* Overrides the slots that have a body for this instruction set. */
#include "simd/avx512/avx512.h"

#include "simd/panels.h"

void nano_kernels_init_avx512(struct nano_kernels *kernels)
{
    kernels->name = "avx512";
    nano_panels_init(kernels);
#define NANO_FORMAT(NAME, name_, gguf_id, length, bytes, activation_) \
    kernels->linear[NANO_FORMAT_##NAME].linear = nano_linear_##name_##_avx512;
#include "simd/quant.def"
#undef NANO_FORMAT
    kernels->activation[NANO_ACTIVATION_Q8_32].quantize = nano_quantize_q8_32_avx512;
    kernels->activation[NANO_ACTIVATION_Q8_256].quantize = nano_quantize_q8_256_avx512;
    for (int i = 0; i < NANO_NUM_KV_FORMATS; i++)
        kernels->kv[i].store = nano_kv_store_avx512;
    kernels->kv[NANO_KV_FORMAT_F32].attention = nano_attention_f32_avx512;
    kernels->kv[NANO_KV_FORMAT_F16].attention = nano_attention_f16_avx512;
    kernels->kv[NANO_KV_FORMAT_BF16].attention = nano_attention_bf16_avx512;
    kernels->kv[NANO_KV_FORMAT_Q8_0].attention = nano_attention_q8_0_avx512;
    kernels->kv[NANO_KV_FORMAT_FP8].attention = nano_attention_fp8_avx512;
    kernels->attention_scratch_floats = nano_attention_scratch_floats_avx512;
    kernels->attention_partial_floats = nano_attention_partial_floats_avx512;
    kernels->attention_merge = nano_attention_merge_avx512;
    kernels->rms_norm = nano_rms_norm_avx512;
    kernels->rope = nano_rope_avx512;
    kernels->layer_norm = nano_layer_norm_avx512;
    kernels->l2_norm = nano_l2_norm_avx512;
    nano_acts_init_avx512(kernels);
    kernels->add = nano_add_avx512;
    kernels->add_scaled = nano_add_scaled_avx512;
    kernels->scale = nano_scale_avx512;
    kernels->softcap = nano_softcap_avx512;
    kernels->short_conv = nano_short_conv_avx512;
    kernels->mamba2 = nano_mamba2_avx512;
    kernels->delta_net = nano_delta_net_avx512;
    kernels->argmax = nano_argmax_avx512;
    kernels->collect = nano_collect_avx512;
    kernels->sum_exp = nano_sum_exp_avx512;
    kernels->log_sum_exp = nano_log_sum_exp_avx512;
    nano_peak_init_avx512(&kernels->peak);
}

void nano_kernels_init_avx512_amd(struct nano_kernels *kernels)
{
    kernels->name = "avx512_amd";
#define NANO_FORMAT(NAME, name_, gguf_id, length, bytes, activation_)                  \
    if (length > 1) {                                                                  \
        kernels->linear[NANO_FORMAT_##NAME].linear = nano_linear_##name_##_avx512_amd; \
        kernels->linear[NANO_FORMAT_##NAME].row_align = 2 * NANO_PANEL_ROWS;           \
    }
#include "simd/quant.def"
#undef NANO_FORMAT
}
