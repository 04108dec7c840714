/* Fills every slot with the scalar reference. */
#include "simd/ref/ref.h"

void nano_kernels_init_ref(struct nano_kernels *kernels)
{
    *kernels = (struct nano_kernels){
        .name = "ref",
        .linear =
            {
#define NANO_FORMAT(NAME, name_, gguf_id, length, bytes, activation_) \
    [NANO_FORMAT_##NAME] = {.get_row = nano_get_row_##name_##_ref,    \
                            .linear = nano_linear_##name_##_ref,      \
                            .row_align = 1},
#include "simd/quant.def"
#undef NANO_FORMAT
            },
        .activation =
            {
                [NANO_ACTIVATION_F32] = {nano_activation_f32_bytes_ref, nano_quantize_f32_ref},
                [NANO_ACTIVATION_Q8_32] = {nano_q8_bytes, nano_quantize_q8_32_ref},
                [NANO_ACTIVATION_Q8_256] = {nano_q8_bytes, nano_quantize_q8_256_ref},
            },
        .attention_scratch_floats = nano_attention_scratch_floats_ref,
        .attention_partial_floats = nano_attention_partial_floats_ref,
        .attention_merge = nano_attention_merge_ref,
        .rms_norm = nano_rms_norm_ref,
        .rope = nano_rope_ref,
        .layer_norm = nano_layer_norm_ref,
        .l2_norm = nano_l2_norm_ref,
        .add = nano_add_ref,
        .add_scaled = nano_add_scaled_ref,
        .scale = nano_scale_ref,
        .softcap = nano_softcap_ref,
        .short_conv = nano_short_conv_ref,
        .mamba2 = nano_mamba2_ref,
        .delta_net = nano_delta_net_ref,
        .argmax = nano_argmax_ref,
        .collect = nano_collect_ref,
        .sum_exp = nano_sum_exp_ref,
        .log_sum_exp = nano_log_sum_exp_ref,
    };
    nano_acts_init_ref(kernels);
    nano_peak_init_ref(&kernels->peak);
    for (int i = 0; i < NANO_NUM_KV_FORMATS; i++)
        kernels->kv[i] = (struct nano_kv_kernels){nano_kv_store_ref, nano_attention_ref};
}
