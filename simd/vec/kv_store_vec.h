/* KV store for any instruction set with a vec_<isa>.h, which comes first. Included by one file of
 * each folder. Stores the bits that the reference stores. */
#include <float.h>
#include <string.h>

#include "simd/kv_layout.h"

/* Lanes of the vector at i of a row of dim values. */
NANO_INLINE int lanes_at(int i, int dim)
{
    return dim - i < VEC_LANES ? dim - i : VEC_LANES;
}

/* A vector of values in a format; x is multiplied with `inverse` first in Q8_0. */
NANO_INLINE void to_format(enum nano_kv_format format, void *values, vec x, float inverse)
{
    if (format == NANO_KV_FORMAT_F32)
        vec_store(values, x);
    else if (format == NANO_KV_FORMAT_F16)
        vec_store_f16_part(values, x, VEC_LANES);
    else if (format == NANO_KV_FORMAT_BF16)
        vec_store_bf16_part(values, x, VEC_LANES);
    else if (format == NANO_KV_FORMAT_FP8)
        vec_store_e4m3(values, x);
    else
        vec_store_s8(values, vec_mul(x, vec_set1(inverse)));
}

/* Values of `bytes` bytes each, `step` apart. */
NANO_INLINE void scatter(unsigned char *to, size_t step, const unsigned char *values, size_t bytes,
                         int n)
{
    for (int i = 0; i < n; i++)
        memcpy(to + (size_t)i * step * bytes, values + (size_t)i * bytes, bytes);
}

NANO_INLINE float largest_magnitude(const float *x, int dim)
{
    vec largest = vec_zero();
    for (int i = 0; i < dim; i += VEC_LANES) {
        vec part = vec_load_part(x + i, lanes_at(i, dim));
        largest = vec_max(vec_max(part, vec_sub(vec_zero(), part)), largest);
    }
    return vec_max_lane(largest);
}

/* One token of one head: value i goes to place first + i * step of the group. */
NANO_INLINE void store_token(enum nano_kv_format format, const struct nano_kv_layout *kv, int dim,
                             unsigned char *group, int token, size_t first, size_t step,
                             const float *x)
{
    const size_t bytes = nano_kv_value_bytes(format);
    float inverse = 1;
    if (format == NANO_KV_FORMAT_Q8_0) {
        const float scale = largest_magnitude(x, dim) / 127;
        inverse = scale >= FLT_MIN ? 1 / scale : 0;
        memcpy(group + nano_kv_scales_offset(kv, dim) + 4 * (size_t)token, &scale, sizeof scale);
    }
    for (int i = 0; i < dim; i += VEC_LANES) {
        unsigned char values[VEC_LANES * sizeof(float)];
        const int n = lanes_at(i, dim);
        unsigned char *to = group + (first + (size_t)i * step) * bytes;
        to_format(format, values, vec_load_part(x + i, n), inverse);
        if (step == 1)
            memcpy(to, values, (size_t)n * bytes);
        else
            scatter(to, step, values, bytes, n);
    }
}

NANO_INLINE void store_heads(enum nano_kv_format format, const struct nano_kv_layout *kv,
                             unsigned char *k_pool, unsigned char *v_pool, int32_t slot,
                             const float *k, const float *v)
{
    const int tokens = nano_kv_group_tokens(kv), dim = kv->head_dim, v_dim = kv->v_head_dim;
    const int block = slot / kv->block_size, offset = slot % kv->block_size,
              token = offset % tokens;
    for (int head = 0; head < kv->num_kv_heads; head++, k += dim) {
        store_token(format, kv, dim, k_pool + nano_kv_group_offset(kv, dim, block, offset, head),
                    token, (size_t)token, (size_t)tokens, k);
        if (kv->v_in_k)
            continue;
        store_token(format, kv, v_dim,
                    v_pool + nano_kv_group_offset(kv, v_dim, block, offset, head), token,
                    (size_t)(token * v_dim), 1, v + head * v_dim);
    }
}

void VEC_NAME(nano_kv_store)(const struct nano_kv_layout *kv, void *k_pool, void *v_pool,
                             int32_t slot, const float *k, const float *v)
{
    switch (kv->format) {
    case NANO_KV_FORMAT_F32:
        store_heads(NANO_KV_FORMAT_F32, kv, k_pool, v_pool, slot, k, v);
        break;
    case NANO_KV_FORMAT_F16:
        store_heads(NANO_KV_FORMAT_F16, kv, k_pool, v_pool, slot, k, v);
        break;
    case NANO_KV_FORMAT_BF16:
        store_heads(NANO_KV_FORMAT_BF16, kv, k_pool, v_pool, slot, k, v);
        break;
    case NANO_KV_FORMAT_Q8_0:
        store_heads(NANO_KV_FORMAT_Q8_0, kv, k_pool, v_pool, slot, k, v);
        break;
    case NANO_KV_FORMAT_FP8:
        store_heads(NANO_KV_FORMAT_FP8, kv, k_pool, v_pool, slot, k, v);
        break;
    case NANO_NUM_KV_FORMATS:
        break;
    }
}
