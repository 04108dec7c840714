/* Rows, cut into blocks for the quantisers of each format. */
#include "simd/quantize.h"

#include "simd/quantize_blocks.h"

static void (*const round_block[NANO_NUM_FORMATS])(uint8_t *dst, const float *x) = {
    [NANO_FORMAT_F32] = nano_round_f32,     [NANO_FORMAT_F16] = nano_round_f16,
    [NANO_FORMAT_BF16] = nano_round_bf16,   [NANO_FORMAT_Q4_0] = nano_round_q4_0,
    [NANO_FORMAT_Q4_1] = nano_round_q4_1,   [NANO_FORMAT_Q5_0] = nano_round_q5_0,
    [NANO_FORMAT_Q5_1] = nano_round_q5_1,   [NANO_FORMAT_Q8_0] = nano_round_q8_0,
    [NANO_FORMAT_MXFP4] = nano_round_mxfp4,
};

static void (*const search_block[NANO_NUM_FORMATS])(uint8_t *dst,
                                                    const struct nano_source *source) = {
    [NANO_FORMAT_Q4_0] = nano_search_q4_0,       [NANO_FORMAT_Q4_1] = nano_search_q4_1,
    [NANO_FORMAT_Q5_0] = nano_search_q5_0,       [NANO_FORMAT_Q5_1] = nano_search_q5_1,
    [NANO_FORMAT_IQ4_NL] = nano_search_iq4_nl,   [NANO_FORMAT_NVFP4] = nano_search_nvfp4,
    [NANO_FORMAT_Q1_0] = nano_search_q1_0,       [NANO_FORMAT_Q2_0] = nano_search_q2_0,
    [NANO_FORMAT_TQ1_0] = nano_search_tq1_0,     [NANO_FORMAT_TQ2_0] = nano_search_tq2_0,
    [NANO_FORMAT_Q2_K] = nano_search_q2_k,       [NANO_FORMAT_Q3_K] = nano_search_q3_k,
    [NANO_FORMAT_Q4_K] = nano_search_q4_k,       [NANO_FORMAT_Q5_K] = nano_search_q5_k,
    [NANO_FORMAT_Q6_K] = nano_search_q6_k,       [NANO_FORMAT_IQ4_XS] = nano_search_iq4_xs,
    [NANO_FORMAT_IQ1_S] = nano_search_iq1_s,     [NANO_FORMAT_IQ1_M] = nano_search_iq1_m,
    [NANO_FORMAT_IQ2_XXS] = nano_search_iq2_xxs, [NANO_FORMAT_IQ2_XS] = nano_search_iq2_xs,
    [NANO_FORMAT_IQ2_S] = nano_search_iq2_s,     [NANO_FORMAT_IQ3_XXS] = nano_search_iq3_xxs,
    [NANO_FORMAT_IQ3_S] = nano_search_iq3_s,
};

void nano_quantize_rows(enum nano_format format, const float *src, void *dst, int64_t rows,
                        int64_t cols, const float *importance)
{
    const struct nano_format_traits *traits = nano_format_traits(format);
    const int length = traits->block_length;
    const bool searches = search_block[format] && (importance || !round_block[format]);
    uint8_t *out = dst;
    for (int64_t row = 0; row < rows; row++, src += cols) {
        for (int64_t k = 0; k < cols; k += length, out += traits->block_bytes) {
            if (!searches) {
                round_block[format](out, src + k);
                continue;
            }
            struct nano_source source;
            nano_source_load(&source, src + k, importance ? importance + k : NULL, length);
            search_block[format](out, &source);
        }
    }
}
