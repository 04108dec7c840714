/* The integer products of panels_vec.h, which comes first, with what the processor has: SMMLA for
 * two tokens and more, SDOT, or multiply-adds of ARMv8.0. All are exact, so it does not matter to
 * the promise of kernels.h that one token and several go different ways.
 *
 * Weights are signed bytes here: levels are at most 63 where they are not signed already. */
#ifndef NANO_SIMD_NEON_DOTS_NEON_H
#define NANO_SIMD_NEON_DOTS_NEON_H

NANO_INLINE int8x16_t bytes_of(struct nano_panel_traits t, const uint8_t *lines, int g)
{
    return vreinterpretq_s8_s32(weights_of(t, lines, g));
}

#if defined(__ARM_FEATURE_DOTPROD)
/* Columns [16 * half, 16 * half + 16) of the unit. */
NANO_INLINE void dot_half(struct nano_panel_traits t, const uint8_t *lines,
                          const struct nano_q8_unit *x, int half, int num_tokens,
                          veci sums[MAX_TOKENS])
{
    int8x16_t w[4];
    NANO_UNROLL
    for (int i = 0; i < 4; i++)
        w[i] = bytes_of(t, lines, 4 * half + i);
    NANO_UNROLL
    for (int c = 0; c < num_tokens; c++) {
        const int8x16_t q = vld1q_s8(x[c].q + 16 * half);
        sums[c] = vdotq_laneq_s32(sums[c], w[0], q, 0);
        sums[c] = vdotq_laneq_s32(sums[c], w[1], q, 1);
        sums[c] = vdotq_laneq_s32(sums[c], w[2], q, 2);
        sums[c] = vdotq_laneq_s32(sums[c], w[3], q, 3);
    }
}
#endif

#if defined(__ARM_FEATURE_MATMUL_INT8)
/* The same for pairs of tokens: SMMLA takes 8 columns of 2 rows and of 2 tokens, and two lines hold
 * 8 columns of 4 rows. sums[c] holds rows 0 and 1 of tokens c and c + 1, sums[c + 1] rows 2 and 3.
 */
NANO_INLINE void multiply_half(struct nano_panel_traits t, const uint8_t *lines,
                               const struct nano_q8_unit *x, int half, int num_tokens,
                               veci sums[MAX_TOKENS])
{
    int8x16_t w[2][2]; /* of 8 columns; of 2 rows */
    NANO_UNROLL
    for (int i = 0; i < 2; i++) {
        const veci even = weights_of(t, lines, 4 * half + 2 * i);
        const veci odd = weights_of(t, lines, 4 * half + 2 * i + 1);
        w[i][0] = vreinterpretq_s8_s32(vzip1q_s32(even, odd));
        w[i][1] = vreinterpretq_s8_s32(vzip2q_s32(even, odd));
    }
    NANO_UNROLL
    for (int c = 0; c < num_tokens; c += 2) {
        const int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(x[c].q + 16 * half));
        const int64x2_t b = vreinterpretq_s64_s8(vld1q_s8(x[c + 1].q + 16 * half));
        const int8x16_t low = vreinterpretq_s8_s64(vzip1q_s64(a, b));
        const int8x16_t high = vreinterpretq_s8_s64(vzip2q_s64(a, b));
        NANO_UNROLL
        for (int r = 0; r < 2; r++)
            sums[c + r] = vmmlaq_s32(vmmlaq_s32(sums[c + r], w[0][r], low), w[1][r], high);
    }
}

NANO_INLINE void multiply_part(struct nano_panel_traits t, const uint8_t *lines,
                               const struct nano_q8_unit *x, int part, int num_tokens,
                               veci sums[MAX_TOKENS])
{
    veci products[MAX_TOKENS];
    NANO_UNROLL
    for (int c = 0; c < num_tokens; c++)
        products[c] = veci_zero();
    NANO_UNROLL
    for (int half = 0; half < 2; half++)
        if (t.parts == 1 || half == part)
            multiply_half(t, lines, x, half, num_tokens, products);
    NANO_UNROLL
    for (int c = 0; c < num_tokens; c += 2) {
        sums[c] = vaddq_s32(sums[c], vuzp1q_s32(products[c], products[c + 1]));
        sums[c + 1] = vaddq_s32(sums[c + 1], vuzp2q_s32(products[c], products[c + 1]));
    }
}
#endif

#if defined(__ARM_FEATURE_DOTPROD)
NANO_INLINE void row_dots(struct nano_panel_traits t, const uint8_t *lines,
                          const struct nano_q8_unit *x, int part, int num_tokens,
                          veci sums[MAX_TOKENS])
{
#if defined(__ARM_FEATURE_MATMUL_INT8)
    if (num_tokens % 2 == 0) {
        multiply_part(t, lines, x, part, num_tokens, sums);
        return;
    }
#endif
    NANO_UNROLL
    for (int half = 0; half < 2; half++)
        if (t.parts == 1 || half == part)
            dot_half(t, lines, x, half, num_tokens, sums);
}

#else
/* How many products of a weight and an x, |x| <= 127, fit a sum of 16 bits. */
NANO_INLINE int products_per_sum(struct nano_panel_traits t)
{
    return t.is_table || t.bits == 8 ? 2 : t.bits == 6 ? 4 : 8;
}

NANO_INLINE void row_dots(struct nano_panel_traits t, const uint8_t *lines,
                          const struct nano_q8_unit *x, int part, int num_tokens,
                          veci sums[MAX_TOKENS])
{
    const int num_groups = GROUPS / t.parts, per_sum = products_per_sum(t);
    int16x8_t narrow[MAX_TOKENS][2]; /* of the first two rows, of the others: pairs of columns */
    int32x4_t wide[MAX_TOKENS][2];
    NANO_UNROLL
    for (int c = 0; c < num_tokens; c++)
        wide[c][0] = wide[c][1] = vdupq_n_s32(0);
    NANO_UNROLL
    for (int i = 0; i < num_groups; i++) {
        const int g = part * num_groups + i;
        const int8x16_t w = bytes_of(t, lines, g);
        NANO_UNROLL
        for (int c = 0; c < num_tokens; c++) {
            int32_t word;
            memcpy(&word, x[c].q + 4 * g, sizeof word);
            const int8x8_t q = vreinterpret_s8_s32(vdup_n_s32(word));
            const bool is_first = i % per_sum == 0;
            narrow[c][0] =
                is_first ? vmull_s8(vget_low_s8(w), q) : vmlal_s8(narrow[c][0], vget_low_s8(w), q);
            narrow[c][1] = is_first ? vmull_s8(vget_high_s8(w), q)
                                    : vmlal_s8(narrow[c][1], vget_high_s8(w), q);
            if (i % per_sum == per_sum - 1 || i == num_groups - 1) {
                wide[c][0] = vpadalq_s16(wide[c][0], narrow[c][0]);
                wide[c][1] = vpadalq_s16(wide[c][1], narrow[c][1]);
            }
        }
    }
    NANO_UNROLL
    for (int c = 0; c < num_tokens; c++)
        sums[c] = vaddq_s32(sums[c], vpaddq_s32(wide[c][0], wide[c][1]));
}
#endif

NANO_INLINE void part_dots(struct nano_panel_traits t, const struct row_group *rows,
                           const struct nano_q8_unit *x, int part, int num_vectors, int num_tokens,
                           veci sums[MAX_VECTORS][MAX_TOKENS])
{
    NANO_UNROLL
    for (int r = 0; r < num_vectors; r++)
        row_dots(t, rows[r].lines, x, part, num_tokens, sums[r]);
}

#endif
