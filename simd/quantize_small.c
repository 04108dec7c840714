/* Searches of the blocks with one scale, or with one byte of scale per part. */
#include <math.h>
#include <string.h>

#include "simd/quantize_blocks.h"
#include "simd/ref/ref.h"

enum { MAX_LENGTH = 256 };

/* The best stored scale and the levels for it, minus levels->min. */
static void search_levels(const struct nano_source *source, const struct nano_levels *levels,
                          uint8_t d[2], uint8_t q[MAX_LENGTH])
{
    int8_t values[MAX_LENGTH];
    const int n = source->length;
    nano_store_u16(d, nano_scale_f16(nano_fit_scale(levels, source->x, source->w, n).d));
    nano_round_to(levels, nano_load_f16(d), 0, source->x, n, values);
    for (int k = 0; k < n; k++)
        q[k] = levels->table ? nano_table_index(levels->table, values[k])
                             : (uint8_t)(values[k] - levels->min);
}

/* The best stored scale and minimum, and the levels 0 … max for them. */
static void search_range(const struct nano_source *source, int max, uint8_t d[2], uint8_t m[2],
                         uint8_t q[32])
{
    const struct nano_levels levels = {0, max, NULL};
    const struct nano_fit fit = nano_fit_range(max, true, source->x, source->w, 32);
    nano_store_u16(d, nano_scale_f16(fit.d));
    nano_store_u16(m, nano_scale_f16(fit.m));
    nano_round_to(&levels, nano_load_f16(d), nano_load_f16(m), source->x, 32, (int8_t *)q);
}

void nano_search_q4_0(uint8_t *dst, const struct nano_source *source)
{
    struct nano_block_q4_0 *block = (void *)dst;
    uint8_t q[MAX_LENGTH];
    search_levels(source, &(struct nano_levels){-8, 7, NULL}, block->d, q);
    nano_pack_nibbles(block->nibbles, q);
}

void nano_search_q4_1(uint8_t *dst, const struct nano_source *source)
{
    struct nano_block_q4_1 *block = (void *)dst;
    uint8_t q[32];
    search_range(source, 15, block->d, block->m, q);
    nano_pack_nibbles(block->nibbles, q);
}

void nano_search_q5_0(uint8_t *dst, const struct nano_source *source)
{
    struct nano_block_q5_0 *block = (void *)dst;
    uint8_t q[MAX_LENGTH];
    search_levels(source, &(struct nano_levels){-16, 15, NULL}, block->d, q);
    nano_pack_high(block->high, q);
    nano_pack_nibbles(block->nibbles, q);
}

void nano_search_q5_1(uint8_t *dst, const struct nano_source *source)
{
    struct nano_block_q5_1 *block = (void *)dst;
    uint8_t q[32];
    search_range(source, 31, block->d, block->m, q);
    nano_pack_high(block->high, q);
    nano_pack_nibbles(block->nibbles, q);
}

void nano_search_iq4_nl(uint8_t *dst, const struct nano_source *source)
{
    struct nano_block_iq4_nl *block = (void *)dst;
    uint8_t q[MAX_LENGTH];
    search_levels(source, &(struct nano_levels){0, 15, nano_iq4_values}, block->d, q);
    nano_pack_nibbles(block->nibbles, q);
}

void nano_search_q1_0(uint8_t *dst, const struct nano_source *source)
{
    struct nano_block_q1_0 *block = (void *)dst;
    float magnitudes = 0, weights = 0;
    memset(block->bits, 0, sizeof block->bits);
    for (int k = 0; k < 128; k++) {
        const float x = source->x[k / 4][k % 4], w = source->w[k / 4][k % 4];
        magnitudes += w * fabsf(x);
        weights += w;
        block->bits[k / 8] |= (uint8_t)((x >= 0) << k % 8);
    }
    nano_store_u16(block->d, nano_scale_f16(magnitudes / weights));
}

void nano_search_q2_0(uint8_t *dst, const struct nano_source *source)
{
    struct nano_block_q2_0 *block = (void *)dst;
    uint8_t q[MAX_LENGTH];
    /* The levels are -1 … 2, so the outermost value is their 2: those of -x, negated. */
    search_levels(source, &(struct nano_levels){-2, 1, NULL}, block->d, q);
    nano_store_u16(block->d, nano_load_u16(block->d) ^ 0x8000);
    memset(block->q, 0, sizeof block->q);
    for (int k = 0; k < 64; k++)
        block->q[k / 4] |= (uint8_t)((3 - q[k]) << k % 4 * 2);
}

/* d is as well positive. */
static void search_trits(const struct nano_source *source, uint8_t d[2], uint8_t q[MAX_LENGTH])
{
    search_levels(source, &(struct nano_levels){-1, 1, NULL}, d, q);
    if (!(nano_load_u16(d) & 0x8000))
        return;
    nano_store_u16(d, nano_load_u16(d) ^ 0x8000);
    for (int k = 0; k < 256; k++)
        q[k] = (uint8_t)(2 - q[k]);
}

/* The byte of trits at q, `stride` apart, the first one uppermost. */
static uint8_t pack_trits(const uint8_t *q, int stride, int count)
{
    int sum = 0;
    for (int n = 0; n < 5; n++)
        sum = 3 * sum + (n < count ? q[n * stride] : 0);
    return (uint8_t)((sum * 256 + 242) / 243);
}

void nano_search_tq1_0(uint8_t *dst, const struct nano_source *source)
{
    struct nano_block_tq1_0 *block = (void *)dst;
    uint8_t q[MAX_LENGTH];
    search_trits(source, block->d, q);
    for (int j = 0; j < 32; j++)
        block->trits[j] = pack_trits(q + j, 32, 5);
    for (int j = 0; j < 16; j++)
        block->trits[32 + j] = pack_trits(q + 160 + j, 16, 5);
    for (int j = 0; j < 4; j++)
        block->rest[j] = pack_trits(q + 240 + j, 4, 4);
}

void nano_search_tq2_0(uint8_t *dst, const struct nano_source *source)
{
    struct nano_block_tq2_0 *block = (void *)dst;
    uint8_t q[MAX_LENGTH];
    search_trits(source, block->d, q);
    memset(block->q, 0, sizeof block->q);
    for (int k = 0; k < 256; k++)
        block->q[k / 128 * 32 + k % 32] |= (uint8_t)(q[k] << k % 128 / 32 * 2);
}

/* FP4's values in ascending order, without the second zero. */
static const int8_t fp4_ascending[16] = {-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12, 12};

/* The scale byte with which half its value comes nearest to d. */
static int nearest_ue4m3(float d)
{
    int low = 0, high = 0x7E;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        *(nano_half_ue4m3((uint8_t)middle) <= d ? &low : &high) = middle;
    }
    return low;
}

void nano_search_nvfp4(uint8_t *dst, const struct nano_source *source)
{
    const struct nano_levels levels = {0, 15, fp4_ascending};
    struct nano_block_nvfp4 *block = (void *)dst;
    for (int part = 0; part < 4; part++) {
        const nano_f4 *x = source->x + 4 * part, *w = source->w + 4 * part;
        const int near = nearest_ue4m3(fabsf(nano_fit_scale(&levels, x, w, 16).d));
        int8_t values[16];
        float least = INFINITY;
        for (int scale = near > 0 ? near - 1 : 0; scale <= near + 2 && scale < 0x7F; scale++) {
            const float d = nano_half_ue4m3((uint8_t)scale);
            const float error = nano_round_error(&levels, d, 0, x, w, 16);
            if (error < least) {
                least = error;
                block->scales[part] = (uint8_t)scale;
            }
        }
        nano_round_to(&levels, nano_half_ue4m3(block->scales[part]), 0, x, 16, values);
        for (int j = 0; j < 8; j++)
            block->nibbles[8 * part + j] =
                (uint8_t)(nano_table_index(nano_fp4_values, values[j]) |
                          nano_table_index(nano_fp4_values, values[8 + j]) << 4);
    }
}
