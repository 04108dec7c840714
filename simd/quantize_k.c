/* Searches of the blocks of 256 whose parts have small integer scales.
 *
 * Each part is fitted alone; the block's f16 scale comes from the largest; then, for what is
 * stored, parts choose their integers again, and the block's scale is fitted to those. */
#include <math.h>
#include <string.h>

#include "simd/inline.h"
#include "simd/quantize_blocks.h"

enum { MAX_PARTS = 16, ROUNDS = 2, STARTS = 8 };

/* Of the sum of squares. A block with less error is all but constant: what is left comes from
 * rounding d to f16, and other integers for the scales may be luckier. */
#define ROUNDING 1e-6f

struct shape {
    struct nano_levels levels;
    int part; /* weights of one */
    int scale_min, scale_max;
    bool has_mins; /* scale_max is theirs too */
};

/* A block as it will be stored. */
struct choice {
    uint16_t d, dmin; /* f16 */
    int scales[MAX_PARTS], mins[MAX_PARTS];
    int8_t values[256];
    float error;
};

static int clamp(float x, int min, int max)
{
    x = x > (float)min ? x : (float)min;
    return (int)lrintf(x < (float)max ? x : (float)max);
}

/* The scale and the min of a part that lose least, from those next to its own fit. */
NANO_INLINE float choose_part(const struct shape *shape, struct choice *c, int i,
                              const struct nano_source *source, const struct nano_fit *fit)
{
    const float d = nano_f16_to_f32(c->d), dmin = nano_f16_to_f32(c->dmin);
    const int scale = clamp(fit->d * nano_inverse(d), shape->scale_min, shape->scale_max);
    const int min = shape->has_mins ? clamp(-fit->m * nano_inverse(dmin), 0, shape->scale_max) : 0;
    const nano_f4 *x = source->x + i * shape->part / 4, *w = source->w + i * shape->part / 4;
    float least = INFINITY;
    for (int s = scale - 1; s <= scale + 1; s++) {
        if (s < shape->scale_min || s > shape->scale_max)
            continue;
        for (int m = shape->has_mins ? min - 1 : 0; m <= (shape->has_mins ? min + 1 : 0); m++) {
            if (m < 0 || m > shape->scale_max)
                continue;
            const float error =
                nano_round_error(&shape->levels, d * (float)s, -dmin * (float)m, x, w, shape->part);
            if (error < least) {
                least = error;
                c->scales[i] = s;
                c->mins[i] = m;
            }
        }
    }
    nano_round_to(&shape->levels, d * (float)c->scales[i], -dmin * (float)c->mins[i], x,
                  shape->part, c->values + i * shape->part);
    return least;
}

NANO_INLINE void choose(const struct shape *shape, struct choice *c,
                        const struct nano_source *source, const struct nano_fit *fits)
{
    c->error = 0;
    for (int i = 0; i < 256 / shape->part; i++)
        c->error += choose_part(shape, c, i, source, &fits[i]);
}

/* d and dmin by least squares for the integers of c. */
static void refit(const struct shape *shape, const struct nano_source *source,
                  const struct choice *c, float *d, float *dmin)
{
    double ss = 0, sm = 0, mm = 0, xs = 0, xm = 0;
    for (int k = 0; k < 256; k++) {
        const double x = (double)source->x[k / 4][k % 4], w = (double)source->w[k / 4][k % 4];
        const int i = k / shape->part;
        const double s = c->scales[i] * c->values[k], m = -c->mins[i];
        ss += w * s * s;
        sm += w * s * m;
        mm += w * m * m;
        xs += w * x * s;
        xm += w * x * m;
    }
    const double determinant = ss * mm - sm * sm;
    if (determinant > 1e-9 * ss * mm) {
        *d = (float)((xs * mm - xm * sm) / determinant);
        *dmin = (float)((xm * ss - xs * sm) / determinant);
    } else {
        *d = ss > 0 ? (float)(xs / ss) : 0;
        *dmin = 0;
    }
}

NANO_INLINE bool search(const struct shape *shape, const struct nano_source *source,
                        struct choice *best)
{
    struct nano_fit fits[MAX_PARTS];
    float scale = 0, min = 0, squares = 0;
    for (int i = 0; i < 256 / shape->part; i++) {
        const nano_f4 *x = source->x + i * shape->part / 4, *w = source->w + i * shape->part / 4;
        fits[i] = shape->has_mins ? nano_fit_range(shape->levels.max, false, x, w, shape->part)
                                  : nano_fit_scale(&shape->levels, x, w, shape->part);
        scale = fabsf(fits[i].d) > fabsf(scale) ? fits[i].d : scale;
        min = -fits[i].m > min ? -fits[i].m : min;
        squares += nano_square_sum(x, w, shape->part);
    }
    *best = (struct choice){.error = INFINITY};
    for (int start = 0; start < STARTS; start++) {
        const int largest = shape->has_mins ? shape->scale_max - start : shape->scale_min + start;
        float d = scale / (float)largest, dmin = min / (float)shape->scale_max;
        for (int round = 0; round < ROUNDS; round++) {
            struct choice c = {.d = nano_scale_f16(d), .dmin = nano_scale_f16(dmin)};
            choose(shape, &c, source, fits);
            if (!(c.error < best->error))
                break;
            *best = c;
            refit(shape, source, &c, &d, &dmin);
        }
        if (best->error > ROUNDING * squares)
            break;
    }
    return (best->d & 0x7FFF) || (best->dmin & 0x7FFF);
}

void nano_search_q2_k(uint8_t *dst, const struct nano_source *source)
{
    static const struct shape shape = {{0, 3, NULL}, 16, 0, 15, true};
    struct nano_block_q2_k *block = (void *)dst;
    struct choice c;
    memset(block, 0, sizeof *block);
    if (!search(&shape, source, &c))
        return;
    for (int i = 0; i < 16; i++)
        block->scales[i] = (uint8_t)(c.scales[i] | c.mins[i] << 4);
    for (int k = 0; k < 256; k++)
        block->q[k / 128 * 32 + k % 32] |= (uint8_t)(c.values[k] << k % 128 / 32 * 2);
    nano_store_u16(block->d, c.d);
    nano_store_u16(block->dmin, c.dmin);
}

void nano_search_q3_k(uint8_t *dst, const struct nano_source *source)
{
    static const struct shape shape = {{-4, 3, NULL}, 16, -32, 31, false};
    struct nano_block_q3_k *block = (void *)dst;
    struct choice c;
    memset(block, 0, sizeof *block);
    if (!search(&shape, source, &c))
        return;
    for (int i = 0; i < 16; i++) {
        const int scale = c.scales[i] + 32;
        block->scales[i % 8] |= (uint8_t)((scale & 15) << i / 8 * 4);
        block->scales[8 + i % 4] |= (uint8_t)(scale >> 4 << i / 4 * 2);
    }
    for (int k = 0; k < 256; k++) {
        const int q = c.values[k] + 4;
        block->low[k / 128 * 32 + k % 32] |= (uint8_t)((q & 3) << k % 128 / 32 * 2);
        block->high[k % 32] |= (uint8_t)(q >> 2 << k / 32);
    }
    nano_store_u16(block->d, c.d);
}

/* The eight scales and mins of Q4_K and Q5_K. */
static void pack_scales_k4(uint8_t scales[12], const struct choice *c)
{
    for (int i = 0; i < 4; i++) {
        scales[i] = (uint8_t)(c->scales[i] | c->scales[4 + i] >> 4 << 6);
        scales[4 + i] = (uint8_t)(c->mins[i] | c->mins[4 + i] >> 4 << 6);
        scales[8 + i] = (uint8_t)((c->scales[4 + i] & 15) | (c->mins[4 + i] & 15) << 4);
    }
}

static void pack_nibbles_k(uint8_t nibbles[128], const int8_t values[256])
{
    for (int k = 0; k < 256; k++)
        nibbles[k / 64 * 32 + k % 32] |= (uint8_t)((values[k] & 15) << k % 64 / 32 * 4);
}

void nano_search_q4_k(uint8_t *dst, const struct nano_source *source)
{
    static const struct shape shape = {{0, 15, NULL}, 32, 0, 63, true};
    struct nano_block_q4_k *block = (void *)dst;
    struct choice c;
    memset(block, 0, sizeof *block);
    if (!search(&shape, source, &c))
        return;
    nano_store_u16(block->d, c.d);
    nano_store_u16(block->dmin, c.dmin);
    pack_scales_k4(block->scales, &c);
    pack_nibbles_k(block->nibbles, c.values);
}

void nano_search_q5_k(uint8_t *dst, const struct nano_source *source)
{
    static const struct shape shape = {{0, 31, NULL}, 32, 0, 63, true};
    struct nano_block_q5_k *block = (void *)dst;
    struct choice c;
    memset(block, 0, sizeof *block);
    if (!search(&shape, source, &c))
        return;
    nano_store_u16(block->d, c.d);
    nano_store_u16(block->dmin, c.dmin);
    pack_scales_k4(block->scales, &c);
    pack_nibbles_k(block->nibbles, c.values);
    for (int k = 0; k < 256; k++)
        block->high[k % 32] |= (uint8_t)(c.values[k] >> 4 << k / 32);
}

void nano_search_q6_k(uint8_t *dst, const struct nano_source *source)
{
    static const struct shape shape = {{-32, 31, NULL}, 16, -128, 127, false};
    struct nano_block_q6_k *block = (void *)dst;
    struct choice c;
    memset(block, 0, sizeof *block);
    if (!search(&shape, source, &c))
        return;
    for (int i = 0; i < 16; i++)
        block->scales[i] = (int8_t)c.scales[i];
    for (int k = 0; k < 256; k++) {
        const int q = c.values[k] + 32;
        block->low[k / 128 * 64 + k % 64] |= (uint8_t)((q & 15) << k % 128 / 64 * 4);
        block->high[k / 128 * 32 + k % 32] |= (uint8_t)(q >> 4 << k % 128 / 32 * 2);
    }
    nano_store_u16(block->d, c.d);
}

void nano_search_iq4_xs(uint8_t *dst, const struct nano_source *source)
{
    static const struct shape shape = {{0, 15, nano_iq4_values}, 32, -32, 31, false};
    struct nano_block_iq4_xs *block = (void *)dst;
    struct choice c;
    unsigned high = 0;
    memset(block, 0, sizeof *block);
    if (!search(&shape, source, &c))
        return;
    for (int i = 0; i < 8; i++) {
        const int scale = c.scales[i] + 32;
        uint8_t q[32];
        block->scales_low[i / 2] |= (uint8_t)((scale & 15) << i % 2 * 4);
        high |= (unsigned)(scale >> 4) << 2 * i;
        for (int k = 0; k < 32; k++)
            q[k] = nano_table_index(nano_iq4_values, c.values[32 * i + k]);
        nano_pack_nibbles(block->nibbles + 16 * i, q);
    }
    nano_store_u16(block->scales_high, (uint16_t)high);
    nano_store_u16(block->d, c.d);
}
