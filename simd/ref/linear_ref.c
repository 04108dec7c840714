/* get_row and linear of every format. */
#include "simd/ref/ref.h"

enum { TOKENS = 16 }; /* that share the unpacking of a block */

static const void *row_at(const void *weights, enum nano_format format, int64_t cols, int64_t row)
{
    return (const uint8_t *)weights + (size_t)row * nano_format_row_bytes(format, cols);
}

static void finish(const struct nano_linear_args *args, int64_t row, int64_t token, float sum)
{
    float *y = args->y + token * args->y_stride + row;
    if (args->bias)
        sum += args->bias[row];
    *y = args->accumulate ? *y + sum : sum;
}

/* ---- F32 F16 BF16 ------------------------------------------------------------------------------
 */

#define FLOAT_KERNELS(NAME, name)                                                           \
    void nano_get_row_##name##_ref(NANO_GET_ROW_PARAMS)                                     \
    {                                                                                       \
        const struct nano_block_##name *w = row_at(weights, NANO_FORMAT_##NAME, cols, row); \
        (void)rows;                                                                         \
        for (int64_t k = 0; k < cols; k++)                                                  \
            dst[k] = nano_load_##name(w[k].value);                                          \
    }                                                                                       \
                                                                                            \
    void nano_linear_##name##_ref(const struct nano_linear_args *args)                      \
    {                                                                                       \
        for (int64_t r = args->row_begin; r < args->row_end; r++) {                         \
            const struct nano_block_##name *w =                                             \
                row_at(args->weights, NANO_FORMAT_##NAME, args->cols, r);                   \
            for (int64_t t = args->token_begin; t < args->token_end; t++) {                 \
                const float *x =                                                            \
                    (const void *)((const uint8_t *)args->x + (size_t)t * args->x_stride);  \
                float sum = 0;                                                              \
                for (int64_t k = 0; k < args->cols; k++)                                    \
                    sum += nano_load_##name(w[k].value) * x[k];                             \
                finish(args, r, t, sum);                                                    \
            }                                                                               \
        }                                                                                   \
    }

FLOAT_KERNELS(F32, f32)
FLOAT_KERNELS(F16, f16)
FLOAT_KERNELS(BF16, bf16)

/* ---- Blocks of 32 and 256 ----------------------------------------------------------------------
 */

static int32_t dot_16(const int8_t *w, const int8_t *x)
{
    int32_t dot = 0;
    for (int k = 0; k < 16; k++)
        dot += w[k] * x[k];
    return dot;
}

static float dot_32(const struct nano_unpacked_32 *w, bool has_min, const struct nano_q8_unit *x)
{
    float dot = w->d * x->d * (float)(dot_16(w->q, x->q) + dot_16(w->q + 16, x->q + 16));
    return has_min ? dot + w->m * x->sum : dot;
}

static float dot_256(const struct nano_unpacked_256 *w, bool has_min, const struct nano_q8_unit *x)
{
    int32_t sum = 0;
    float min_sum = 0; /* of integers that are exact */
    const float d = x->d;
    for (int i = 0; i < 8; i++, x += NANO_X_TILE) {
        for (int h = 0; h < 2; h++)
            sum += w->scales[2 * i + h] * dot_16(w->q + 32 * i + 16 * h, x->q + 16 * h);
        min_sum += w->mins[2 * i] * (x->sum - x->sum_high) + w->mins[2 * i + 1] * x->sum_high;
    }
    return has_min ? w->d * d * (float)sum - w->dmin * d * min_sum : w->d * d * (float)sum;
}

#define LINEAR_OF_ROWS(name)                                                             \
    void nano_linear_##name##_ref(const struct nano_linear_args *args)                   \
    {                                                                                    \
        for (int64_t r = args->row_begin; r < args->row_end; r++)                        \
            for (int64_t t = args->token_begin; t < args->token_end; t += TOKENS)        \
                row_##name(args, r, t,                                                   \
                           t + TOKENS < args->token_end ? t + TOKENS : args->token_end); \
    }

/* One row, tokens [begin, end) of at most TOKENS. */
#define DEFINE_LINEAR(NAME, name, length, has_min)                                          \
    static void row_##name(const struct nano_linear_args *args, int64_t row, int64_t begin, \
                           int64_t end)                                                     \
    {                                                                                       \
        const struct nano_block_##name *b =                                                 \
            row_at(args->weights, NANO_FORMAT_##NAME, args->cols, row);                     \
        struct nano_unpacked_##length w;                                                    \
        float sums[TOKENS] = {0};                                                           \
        for (int64_t i = 0; i < args->cols / length; i++) {                                 \
            nano_unpack_##name(&w, &b[i]);                                                  \
            for (int64_t t = begin; t < end; t++) {                                         \
                const struct nano_q8_unit *x = args->x;                                     \
                x += nano_q8_index(t, args->cols) + i * (length / 32) * NANO_X_TILE;        \
                sums[t - begin] += dot_##length(&w, has_min, x);                            \
            }                                                                               \
        }                                                                                   \
        for (int64_t t = begin; t < end; t++)                                               \
            finish(args, row, t, sums[t - begin]);                                          \
    }                                                                                       \
                                                                                            \
    LINEAR_OF_ROWS(name)

#define BLOCK_32_KERNELS(NAME, name, has_min)                                               \
    void nano_get_row_##name##_ref(NANO_GET_ROW_PARAMS)                                     \
    {                                                                                       \
        const struct nano_block_##name *b = row_at(weights, NANO_FORMAT_##NAME, cols, row); \
        struct nano_unpacked_32 w;                                                          \
        (void)rows;                                                                         \
        for (int64_t i = 0; i < cols / 32; i++) {                                           \
            nano_unpack_##name(&w, &b[i]);                                                  \
            for (int k = 0; k < 32; k++)                                                    \
                dst[i * 32 + k] = (has_min) ? w.d * w.q[k] + w.m : w.d * w.q[k];            \
        }                                                                                   \
    }                                                                                       \
                                                                                            \
    DEFINE_LINEAR(NAME, name, 32, has_min)

BLOCK_32_KERNELS(Q4_0, q4_0, false)
BLOCK_32_KERNELS(Q4_1, q4_1, true)
BLOCK_32_KERNELS(Q5_0, q5_0, false)
BLOCK_32_KERNELS(Q5_1, q5_1, true)
BLOCK_32_KERNELS(Q8_0, q8_0, false)
BLOCK_32_KERNELS(IQ4_NL, iq4_nl, false)

#define BLOCK_256_KERNELS(NAME, name, has_min)                                              \
    void nano_get_row_##name##_ref(NANO_GET_ROW_PARAMS)                                     \
    {                                                                                       \
        const struct nano_block_##name *b = row_at(weights, NANO_FORMAT_##NAME, cols, row); \
        struct nano_unpacked_256 w;                                                         \
        (void)rows;                                                                         \
        for (int64_t i = 0; i < cols / 256; i++) {                                          \
            nano_unpack_##name(&w, &b[i]);                                                  \
            for (int k = 0; k < 256; k++) {                                                 \
                float value = w.d * w.scales[k / 16] * w.q[k];                              \
                dst[i * 256 + k] = (has_min) ? value - w.dmin * w.mins[k / 16] : value;     \
            }                                                                               \
        }                                                                                   \
    }                                                                                       \
                                                                                            \
    DEFINE_LINEAR(NAME, name, 256, has_min)

BLOCK_256_KERNELS(Q2_K, q2_k, true)
BLOCK_256_KERNELS(Q3_K, q3_k, false)
BLOCK_256_KERNELS(Q4_K, q4_k, true)
BLOCK_256_KERNELS(Q5_K, q5_k, true)
BLOCK_256_KERNELS(Q6_K, q6_k, false)
BLOCK_256_KERNELS(IQ4_XS, iq4_xs, false)

/* ---- Formats that are integers and a scale per 16 columns --------------------------------------
 */

static float dot_unit(const struct nano_unpacked_unit *w, const struct nano_q8_unit *x)
{
    return w->d[0] * x->d * (float)dot_16(w->q, x->q) +
           w->d[1] * x->d * (float)dot_16(w->q + 16, x->q + 16);
}

#define UNIT_KERNELS(NAME, name, length)                                                    \
    void nano_get_row_##name##_ref(NANO_GET_ROW_PARAMS)                                     \
    {                                                                                       \
        const struct nano_block_##name *b = row_at(weights, NANO_FORMAT_##NAME, cols, row); \
        struct nano_unpacked_unit w;                                                        \
        (void)rows;                                                                         \
        for (int64_t i = 0; i < cols / 32; i++) {                                           \
            nano_unpack_##name(&w, &b[i / (length / 32)], (int)(i % (length / 32)));        \
            for (int k = 0; k < 32; k++)                                                    \
                dst[i * 32 + k] = w.d[k / 16] * w.q[k];                                     \
        }                                                                                   \
    }                                                                                       \
                                                                                            \
    static void row_##name(const struct nano_linear_args *args, int64_t row, int64_t begin, \
                           int64_t end)                                                     \
    {                                                                                       \
        const struct nano_block_##name *b =                                                 \
            row_at(args->weights, NANO_FORMAT_##NAME, args->cols, row);                     \
        struct nano_unpacked_unit w;                                                        \
        float sums[TOKENS] = {0};                                                           \
        for (int64_t i = 0; i < args->cols / 32; i++) {                                     \
            nano_unpack_##name(&w, &b[i / (length / 32)], (int)(i % (length / 32)));        \
            for (int64_t t = begin; t < end; t++) {                                         \
                const struct nano_q8_unit *x = args->x;                                     \
                x += nano_q8_index(t, args->cols) + i * NANO_X_TILE;                        \
                sums[t - begin] += dot_unit(&w, x);                                         \
            }                                                                               \
        }                                                                                   \
        for (int64_t t = begin; t < end; t++)                                               \
            finish(args, row, t, sums[t - begin]);                                          \
    }                                                                                       \
                                                                                            \
    LINEAR_OF_ROWS(name)

UNIT_KERNELS(MXFP4, mxfp4, 32)
UNIT_KERNELS(NVFP4, nvfp4, 64)
UNIT_KERNELS(Q1_0, q1_0, 128)
UNIT_KERNELS(Q2_0, q2_0, 64)
UNIT_KERNELS(TQ1_0, tq1_0, 256)
UNIT_KERNELS(TQ2_0, tq2_0, 256)
UNIT_KERNELS(IQ1_S, iq1_s, 256)
UNIT_KERNELS(IQ1_M, iq1_m, 256)
UNIT_KERNELS(IQ2_XXS, iq2_xxs, 256)
UNIT_KERNELS(IQ2_XS, iq2_xs, 256)
UNIT_KERNELS(IQ2_S, iq2_s, 256)
UNIT_KERNELS(IQ3_XXS, iq3_xxs, 256)
UNIT_KERNELS(IQ3_S, iq3_s, 256)
