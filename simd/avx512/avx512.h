/* What the AVX-512 folder (F, BW, VL, DQ, VNNI) defines. */
#ifndef NANO_SIMD_AVX512_AVX512_H
#define NANO_SIMD_AVX512_AVX512_H

#include "simd/avx512/linears_avx512.h"
#include "simd/kernels.h"

void nano_quantize_q8_32_avx512(void *x, int64_t token, const float *src, int64_t cols);
void nano_quantize_q8_256_avx512(void *x, int64_t token, const float *src, int64_t cols);

void nano_kv_store_avx512(const struct nano_kv_layout *kv, void *k_pool, void *v_pool, int32_t slot,
                          const float *k, const float *v);
void nano_attention_f32_avx512(const struct nano_attention_args *args);
void nano_attention_f16_avx512(const struct nano_attention_args *args);
void nano_attention_bf16_avx512(const struct nano_attention_args *args);
void nano_attention_q8_0_avx512(const struct nano_attention_args *args);
void nano_attention_fp8_avx512(const struct nano_attention_args *args);
size_t nano_attention_scratch_floats_avx512(int head_dim, int v_head_dim);
size_t nano_attention_partial_floats_avx512(int v_head_dim);
void nano_attention_merge_avx512(float *out, const float *partials, int64_t stride,
                                 int num_partials, const float *sink, int v_head_dim);

void nano_rms_norm_avx512(float *y, const float *x, const float *weight, int64_t n, float eps);
void nano_rope_avx512(float *x, const float *cos_sin, int64_t num_pairs, bool adjacent);
void nano_layer_norm_avx512(float *y, const float *x, const float *weight, const float *bias,
                            int64_t n, float eps);
void nano_l2_norm_avx512(float *y, const float *x, int64_t n, float eps);
void nano_add_avx512(float *y, const float *x, int64_t n);
void nano_add_scaled_avx512(float *y, const float *x, int64_t n, float scale);
void nano_scale_avx512(float *y, const float *x, int64_t n, float scale);
void nano_softcap_avx512(float *y, const float *x, int64_t n, float cap);
int64_t nano_argmax_avx512(const float *x, int64_t n);
int64_t nano_collect_avx512(int32_t *out, const float *x, int64_t n, float floor);
double nano_sum_exp_avx512(const float *x, int64_t n, float max, float scale);
double nano_log_sum_exp_avx512(const float *x, int64_t n);

void nano_acts_init_avx512(struct nano_kernels *kernels);
void nano_short_conv_avx512(const struct nano_short_conv_args *args);
void nano_mamba2_avx512(const struct nano_mamba2_args *args);
void nano_delta_net_avx512(const struct nano_delta_net_args *args);

void nano_peak_init_avx512(struct nano_peak_kernels *peak);

#endif
