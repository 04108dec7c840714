/* What the NEON folder (ARMv8.0) defines. */
#ifndef NANO_SIMD_NEON_NEON_H
#define NANO_SIMD_NEON_NEON_H

#include "simd/neon/linears_neon.h"
#include "simd/kernels.h"

void nano_quantize_q8_32_neon(void *x, int64_t token, const float *src, int64_t cols);
void nano_quantize_q8_256_neon(void *x, int64_t token, const float *src, int64_t cols);

void nano_kv_store_neon(const struct nano_kv_layout *kv, void *k_pool, void *v_pool, int32_t slot,
                        const float *k, const float *v);
void nano_attention_f32_neon(const struct nano_attention_args *args);
void nano_attention_f16_neon(const struct nano_attention_args *args);
void nano_attention_bf16_neon(const struct nano_attention_args *args);
void nano_attention_q8_0_neon(const struct nano_attention_args *args);
void nano_attention_fp8_neon(const struct nano_attention_args *args);
size_t nano_attention_scratch_floats_neon(int head_dim, int v_head_dim);
size_t nano_attention_partial_floats_neon(int v_head_dim);
void nano_attention_merge_neon(float *out, const float *partials, int64_t stride, int num_partials,
                               const float *sink, int v_head_dim);

void nano_rms_norm_neon(float *y, const float *x, const float *weight, int64_t n, float eps);
void nano_rope_neon(float *x, const float *cos_sin, int64_t num_pairs, bool adjacent);
void nano_layer_norm_neon(float *y, const float *x, const float *weight, const float *bias,
                          int64_t n, float eps);
void nano_l2_norm_neon(float *y, const float *x, int64_t n, float eps);
void nano_add_neon(float *y, const float *x, int64_t n);
void nano_add_scaled_neon(float *y, const float *x, int64_t n, float scale);
void nano_scale_neon(float *y, const float *x, int64_t n, float scale);
void nano_softcap_neon(float *y, const float *x, int64_t n, float cap);
int64_t nano_argmax_neon(const float *x, int64_t n);
int64_t nano_collect_neon(int32_t *out, const float *x, int64_t n, float floor);
double nano_sum_exp_neon(const float *x, int64_t n, float max, float scale);
double nano_log_sum_exp_neon(const float *x, int64_t n);

void nano_acts_init_neon(struct nano_kernels *kernels);
void nano_short_conv_neon(const struct nano_short_conv_args *args);
void nano_mamba2_neon(const struct nano_mamba2_args *args);
void nano_delta_net_neon(const struct nano_delta_net_args *args);

void nano_peak_init_neon(struct nano_peak_kernels *peak);

#endif
