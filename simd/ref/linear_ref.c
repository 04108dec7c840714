/* get_row and linear of every format. */
#include "simd/ref/ref.h"

static const void *row_at(const void *weights, enum nano_format format, int64_t cols, int64_t row)
{
    return (const uint8_t *)weights + (size_t)row * nano_format_row_bytes(format, cols);
}

static const void *token_at(const void *x, size_t x_stride, int64_t token)
{
    return (const uint8_t *)x + (size_t)token * x_stride;
}

/* ---- F32 F16 BF16 ------------------------------------------------------------------------------
 */

#define FLOAT_KERNELS(NAME, name)                                                             \
    void nano_get_row_##name##_ref(NANO_GET_ROW_PARAMS)                                       \
    {                                                                                         \
        const struct nano_block_##name *w = row_at(weights, NANO_FORMAT_##NAME, cols, row);   \
        (void)rows;                                                                           \
        for (int64_t k = 0; k < cols; k++)                                                    \
            dst[k] = nano_load_##name(w[k].value);                                            \
    }                                                                                         \
                                                                                              \
    void nano_linear_##name##_ref(NANO_LINEAR_PARAMS)                                         \
    {                                                                                         \
        (void)rows;                                                                           \
        for (int64_t r = row_begin; r < row_end; r++) {                                       \
            const struct nano_block_##name *w = row_at(weights, NANO_FORMAT_##NAME, cols, r); \
            for (int64_t t = 0; t < num_tokens; t++) {                                        \
                const float *xt = token_at(x, x_stride, t);                                   \
                float sum = 0;                                                                \
                for (int64_t k = 0; k < cols; k++)                                            \
                    sum += nano_load_##name(w[k].value) * xt[k];                              \
                y[t * y_stride + r] = sum;                                                    \
            }                                                                                 \
        }                                                                                     \
    }

FLOAT_KERNELS(F32, f32)
FLOAT_KERNELS(F16, f16)
FLOAT_KERNELS(BF16, bf16)

/* ---- Blocks of 32 ------------------------------------------------------------------------------
 */

static float dot_32(const struct nano_unpacked_32 *w, bool has_min, const void *row, int64_t cols,
                    int64_t block)
{
    struct nano_q8_32_row x = nano_q8_32_row(row, cols);
    int32_t dot = 0;
    for (int k = 0; k < 32; k++)
        dot += w->q[k] * x.q[block * 32 + k];
    float sum = w->d * x.d[block] * (float)dot;
    return has_min ? sum + w->m * x.d[block] * (float)x.sums[block] : sum;
}

#define BLOCK_32_KERNELS(NAME, name, has_min)                                                      \
    void nano_get_row_##name##_ref(NANO_GET_ROW_PARAMS)                                            \
    {                                                                                              \
        const struct nano_block_##name *b = row_at(weights, NANO_FORMAT_##NAME, cols, row);        \
        struct nano_unpacked_32 w;                                                                 \
        (void)rows;                                                                                \
        for (int64_t i = 0; i < cols / 32; i++) {                                                  \
            nano_unpack_##name(&w, &b[i]);                                                         \
            for (int k = 0; k < 32; k++)                                                           \
                dst[i * 32 + k] = (has_min) ? w.d * w.q[k] + w.m : w.d * w.q[k];                   \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    void nano_linear_##name##_ref(NANO_LINEAR_PARAMS)                                              \
    {                                                                                              \
        struct nano_unpacked_32 w;                                                                 \
        (void)rows;                                                                                \
        for (int64_t r = row_begin; r < row_end; r++) {                                            \
            const struct nano_block_##name *b = row_at(weights, NANO_FORMAT_##NAME, cols, r);      \
            for (int64_t t = 0; t < num_tokens; t++)                                               \
                y[t * y_stride + r] = 0;                                                           \
            for (int64_t i = 0; i < cols / 32; i++) {                                              \
                nano_unpack_##name(&w, &b[i]);                                                     \
                for (int64_t t = 0; t < num_tokens; t++)                                           \
                    y[t * y_stride + r] += dot_32(&w, has_min, token_at(x, x_stride, t), cols, i); \
            }                                                                                      \
        }                                                                                          \
    }

BLOCK_32_KERNELS(Q4_0, q4_0, false)
BLOCK_32_KERNELS(Q4_1, q4_1, true)
BLOCK_32_KERNELS(Q5_0, q5_0, false)
BLOCK_32_KERNELS(Q5_1, q5_1, true)
BLOCK_32_KERNELS(Q8_0, q8_0, false)
BLOCK_32_KERNELS(IQ4_NL, iq4_nl, false)

/* ---- Blocks of 256 -----------------------------------------------------------------------------
 */

static float dot_256(const struct nano_unpacked_256 *w, bool has_min, const void *row, int64_t cols,
                     int64_t block)
{
    struct nano_q8_256_row x = nano_q8_256_row(row, cols);
    int32_t sum = 0, min_sum = 0;
    for (int i = 0; i < 16; i++) {
        int32_t dot = 0;
        for (int k = 16 * i; k < 16 * i + 16; k++)
            dot += w->q[k] * x.q[block * 256 + k];
        sum += w->scales[i] * dot;
        min_sum += w->mins[i] * x.sums[block * 16 + i];
    }
    float scaled = w->d * x.d[block] * (float)sum;
    return has_min ? scaled - w->dmin * x.d[block] * (float)min_sum : scaled;
}

#define BLOCK_256_KERNELS(NAME, name, has_min)                                                \
    void nano_get_row_##name##_ref(NANO_GET_ROW_PARAMS)                                       \
    {                                                                                         \
        const struct nano_block_##name *b = row_at(weights, NANO_FORMAT_##NAME, cols, row);   \
        struct nano_unpacked_256 w;                                                           \
        (void)rows;                                                                           \
        for (int64_t i = 0; i < cols / 256; i++) {                                            \
            nano_unpack_##name(&w, &b[i]);                                                    \
            for (int k = 0; k < 256; k++) {                                                   \
                float value = w.d * w.scales[k / 16] * w.q[k];                                \
                dst[i * 256 + k] = (has_min) ? value - w.dmin * w.mins[k / 16] : value;       \
            }                                                                                 \
        }                                                                                     \
    }                                                                                         \
                                                                                              \
    void nano_linear_##name##_ref(NANO_LINEAR_PARAMS)                                         \
    {                                                                                         \
        struct nano_unpacked_256 w;                                                           \
        (void)rows;                                                                           \
        for (int64_t r = row_begin; r < row_end; r++) {                                       \
            const struct nano_block_##name *b = row_at(weights, NANO_FORMAT_##NAME, cols, r); \
            for (int64_t t = 0; t < num_tokens; t++)                                          \
                y[t * y_stride + r] = 0;                                                      \
            for (int64_t i = 0; i < cols / 256; i++) {                                        \
                nano_unpack_##name(&w, &b[i]);                                                \
                for (int64_t t = 0; t < num_tokens; t++)                                      \
                    y[t * y_stride + r] +=                                                    \
                        dot_256(&w, has_min, token_at(x, x_stride, t), cols, i);              \
            }                                                                                 \
        }                                                                                     \
    }

BLOCK_256_KERNELS(Q2_K, q2_k, true)
BLOCK_256_KERNELS(Q3_K, q3_k, false)
BLOCK_256_KERNELS(Q4_K, q4_k, true)
BLOCK_256_KERNELS(Q5_K, q5_k, true)
BLOCK_256_KERNELS(Q6_K, q6_k, false)
BLOCK_256_KERNELS(IQ4_XS, iq4_xs, false)
