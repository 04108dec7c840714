/* linear of F32, F16 and BF16 for any instruction set with a vec_<isa>.h, which comes first.
 *
 * Each output has one vector accumulator over k in steps of VEC_LANES and one horizontal sum. */
#ifndef NANO_SIMD_VEC_LINEAR_FLOAT_VEC_H
#define NANO_SIMD_VEC_LINEAR_FLOAT_VEC_H

/* n weights from k on; the rest are zeros. */
NANO_INLINE vec load_weights(enum nano_format format, const uint8_t *row, int64_t k, int n)
{
    if (format == NANO_FORMAT_F32) {
        const float *p = (const void *)(row + k * 4);
        return n == VEC_LANES ? vec_load(p) : vec_load_part(p, n);
    }
    if (format == NANO_FORMAT_F16)
        return n == VEC_LANES ? vec_load_f16(row + k * 2) : vec_load_f16_part(row + k * 2, n);
    return n == VEC_LANES ? vec_load_bf16(row + k * 2) : vec_load_bf16_part(row + k * 2, n);
}

NANO_INLINE void float_step(enum nano_format format, const struct nano_linear_args *args,
                            int64_t row, int64_t token, int num_rows, int num_tokens, int64_t k,
                            int n, vec acc[VEC_TILE_ROWS][NANO_TILE_TOKENS])
{
    vec w[VEC_TILE_ROWS];
    NANO_UNROLL
    for (int r = 0; r < num_rows; r++) {
        const uint8_t *weights = nano_weight_row(args, row + r);
        nano_prefetch(args, weights + k * (format == NANO_FORMAT_F32 ? 4 : 2), num_rows,
                      num_tokens);
        w[r] = load_weights(format, weights, k, n);
    }
    NANO_UNROLL
    for (int t = 0; t < num_tokens; t++) {
        const float *x = nano_token_row(args, token + t);
        vec xk = n == VEC_LANES ? vec_load(x + k) : vec_load_part(x + k, n);
        NANO_UNROLL
        for (int r = 0; r < num_rows; r++)
            acc[r][t] = vec_fma(w[r], xk, acc[r][t]);
    }
}

NANO_INLINE void float_tile(enum nano_format format, const struct nano_linear_args *args,
                            int64_t row, int64_t token, int num_rows, int num_tokens)
{
    vec acc[VEC_TILE_ROWS][NANO_TILE_TOKENS];
    NANO_UNROLL
    for (int r = 0; r < num_rows; r++) {
        NANO_UNROLL
        for (int t = 0; t < num_tokens; t++)
            acc[r][t] = vec_zero();
    }
    int64_t k = 0;
    for (; k + VEC_LANES <= args->cols; k += VEC_LANES)
        float_step(format, args, row, token, num_rows, num_tokens, k, VEC_LANES, acc);
    if (k < args->cols)
        float_step(format, args, row, token, num_rows, num_tokens, k, (int)(args->cols - k), acc);
    NANO_UNROLL
    for (int t = 0; t < num_tokens; t++) {
        NANO_UNROLL
        for (int r = 0; r < num_rows; r++)
            args->y[(token + t) * args->y_stride + row + r] = vec_sum(acc[r][t]);
    }
}

#endif
