/* The scalar reference: every slot of kernels.h in obvious loops, the contract in code.
 *
 * Invariant: each output is one chain of float additions in the order of k (linear: of blocks),
 * whose integer parts are exact. Other tiers compare with it: integers bit for bit, floats within
 * a tolerance. */
#ifndef NANO_SIMD_REF_REF_H
#define NANO_SIMD_REF_REF_H

#include "simd/blocks.h"
#include "simd/kernel_params.h"
#include "simd/kernels.h"

/* One block of 32 as integers: w[k] = d * q[k], plus m where the format has it. */
struct nano_unpacked_32 {
    int8_t q[32];
    float d, m;
};

/* One block of 256 as integers: w[k] = d * scales[k / 16] * q[k], minus dmin * mins[k / 16] where
 * the format has mins. */
struct nano_unpacked_256 {
    int8_t q[256];
    int16_t scales[16], mins[16];
    float d, dmin;
};

/* Columns [32 unit, 32 unit + 32) of a block as integers: w[k] = d[k / 16] * q[k]. */
struct nano_unpacked_unit {
    int8_t q[32];
    float d[2];
};

void nano_unpack_q4_0(struct nano_unpacked_32 *out, const void *block);
void nano_unpack_q4_1(struct nano_unpacked_32 *out, const void *block);
void nano_unpack_q5_0(struct nano_unpacked_32 *out, const void *block);
void nano_unpack_q5_1(struct nano_unpacked_32 *out, const void *block);
void nano_unpack_q8_0(struct nano_unpacked_32 *out, const void *block);
void nano_unpack_iq4_nl(struct nano_unpacked_32 *out, const void *block);
void nano_unpack_q2_k(struct nano_unpacked_256 *out, const void *block);
void nano_unpack_q3_k(struct nano_unpacked_256 *out, const void *block);
void nano_unpack_q4_k(struct nano_unpacked_256 *out, const void *block);
void nano_unpack_q5_k(struct nano_unpacked_256 *out, const void *block);
void nano_unpack_q6_k(struct nano_unpacked_256 *out, const void *block);
void nano_unpack_iq4_xs(struct nano_unpacked_256 *out, const void *block);
void nano_unpack_mxfp4(struct nano_unpacked_unit *out, const void *block, int unit);
void nano_unpack_nvfp4(struct nano_unpacked_unit *out, const void *block, int unit);
void nano_unpack_q1_0(struct nano_unpacked_unit *out, const void *block, int unit);
void nano_unpack_q2_0(struct nano_unpacked_unit *out, const void *block, int unit);
void nano_unpack_tq1_0(struct nano_unpacked_unit *out, const void *block, int unit);
void nano_unpack_tq2_0(struct nano_unpacked_unit *out, const void *block, int unit);
void nano_unpack_iq1_s(struct nano_unpacked_unit *out, const void *block, int unit);
void nano_unpack_iq1_m(struct nano_unpacked_unit *out, const void *block, int unit);
void nano_unpack_iq2_xxs(struct nano_unpacked_unit *out, const void *block, int unit);
void nano_unpack_iq2_xs(struct nano_unpacked_unit *out, const void *block, int unit);
void nano_unpack_iq2_s(struct nano_unpacked_unit *out, const void *block, int unit);
void nano_unpack_iq3_xxs(struct nano_unpacked_unit *out, const void *block, int unit);
void nano_unpack_iq3_s(struct nano_unpacked_unit *out, const void *block, int unit);

/* Half the value of a scale of NVFP4. */
float nano_half_ue4m3(uint8_t scale);

/* exp(x) to 2 units in the last place; 0 below -104, infinity above 89. The tiers have the same
 * polynomial: libm's expf differs between its versions. */
float nano_exp_ref(float x);
/* tanh(x) to 4 units in the last place. */
float nano_tanh_ref(float x);

/* log(1 + exp(x)) with a relative error below 1e-6. */
float nano_softplus_ref(float x);

#define NANO_FORMAT(NAME, name, gguf_id, length, bytes, activation) \
    void nano_get_row_##name##_ref(NANO_GET_ROW_PARAMS);            \
    nano_linear_fn nano_linear_##name##_ref;
#include "simd/quant.def"
#undef NANO_FORMAT

size_t nano_activation_f32_bytes_ref(int64_t num_tokens, int64_t cols);
void nano_quantize_f32_ref(void *x, int64_t token, const float *src, int64_t cols);
void nano_quantize_q8_32_ref(void *x, int64_t token, const float *src, int64_t cols);
void nano_quantize_q8_256_ref(void *x, int64_t token, const float *src, int64_t cols);

void nano_kv_store_ref(const struct nano_kv_layout *kv, void *k_pool, void *v_pool, int32_t slot,
                       const float *k, const float *v);
void nano_attention_ref(const struct nano_attention_args *args);
size_t nano_attention_scratch_floats_ref(int head_dim, int v_head_dim);
size_t nano_attention_partial_floats_ref(int v_head_dim);
void nano_attention_merge_ref(float *out, const float *partials, int64_t stride, int num_partials,
                              const float *sink, int v_head_dim);

void nano_rms_norm_ref(float *y, const float *x, const float *weight, int64_t n, float eps);
void nano_rope_ref(float *x, const float *cos_sin, int64_t num_pairs, bool adjacent);
void nano_layer_norm_ref(float *y, const float *x, const float *weight, const float *bias,
                         int64_t n, float eps);
void nano_l2_norm_ref(float *y, const float *x, int64_t n, float eps);
void nano_add_ref(float *y, const float *x, int64_t n);
void nano_add_scaled_ref(float *y, const float *x, int64_t n, float scale);
void nano_scale_ref(float *y, const float *x, int64_t n, float scale);
void nano_softcap_ref(float *y, const float *x, int64_t n, float cap);
int64_t nano_argmax_ref(const float *x, int64_t n);
int64_t nano_collect_ref(int32_t *out, const float *x, int64_t n, float floor);
double nano_sum_exp_ref(const float *x, int64_t n, float max, float scale);
double nano_log_sum_exp_ref(const float *x, int64_t n);

void nano_acts_init_ref(struct nano_kernels *kernels);
void nano_short_conv_ref(const struct nano_short_conv_args *args);
void nano_mamba2_ref(const struct nano_mamba2_args *args);
void nano_delta_net_ref(const struct nano_delta_net_args *args);

void nano_peak_init_ref(struct nano_peak_kernels *peak);

#endif
