/* Scale searches: candidates around the obvious scale, each improved by least squares. */
#include "simd/quantize_search.h"

#include <math.h>
#include <string.h>

#include "simd/half.h"
#include "simd/inline.h"

/* Past what any block can hold, and its square is far from infinity. */
#define MAX_VALUE 1e10f

/* A float in [-2^22, 2^22] plus and minus this is rounded to an integer. */
#define ROUNDER 12582912.0f

typedef int32_t mask4 __attribute__((vector_size(16)));

NANO_INLINE nano_f4 all(float x)
{
    return (nano_f4){x, x, x, x};
}

NANO_INLINE nano_f4 select4(mask4 mask, nano_f4 a, nano_f4 b)
{
    return (nano_f4)((mask & (mask4)a) | (~mask & (mask4)b));
}

NANO_INLINE nano_f4 clamp4(nano_f4 x, float min, float max)
{
    x = select4(x > all(min), x, all(min)); /* NaN too */
    return select4(x < all(max), x, all(max));
}

NANO_INLINE float sum4(nano_f4 x)
{
    return (x[0] + x[1]) + (x[2] + x[3]);
}

void nano_source_load(struct nano_source *source, const float *x, const float *importance,
                      int length)
{
    float sum = 0;
    source->length = length;
    for (int k = 0; k < length; k++) {
        const float value = x[k] == x[k] ? x[k] : 0;
        const float limited = value > MAX_VALUE ? MAX_VALUE : value;
        source->x[k / 4][k % 4] = limited < -MAX_VALUE ? -MAX_VALUE : limited;
        const float weight = importance && importance[k] > 0 ? importance[k] : 0;
        source->w[k / 4][k % 4] = weight < MAX_VALUE ? weight : MAX_VALUE;
        sum += source->w[k / 4][k % 4];
    }
    if (sum > 0)
        return;
    for (int i = 0; i < length / 4; i++)
        source->w[i] = all(1);
}

/* Where the levels of a table change, and by how much. */
struct steps {
    nano_f4 first, middles[15], heights[15];
};

static void make_steps(struct steps *steps, const int8_t *table)
{
    steps->first = all(table[0]);
    for (int i = 0; i < 15; i++) {
        steps->middles[i] = all(0.5f * (float)(table[i] + table[i + 1]));
        steps->heights[i] = all((float)(table[i + 1] - table[i]));
    }
}

/* The level nearest to t. */
NANO_INLINE nano_f4 nearest(const struct nano_levels *levels, const struct steps *steps, nano_f4 t)
{
    if (!steps)
        return (clamp4(t, (float)levels->min, (float)levels->max) + ROUNDER) - ROUNDER;
    nano_f4 v = steps->first;
    for (int i = 0; i < 15; i++)
        v += (nano_f4)((t > steps->middles[i]) & (mask4)steps->heights[i]);
    return v;
}

NANO_INLINE float round_error(const struct nano_levels *levels, const struct steps *steps, float d,
                              float m, const nano_f4 *x, const nano_f4 *w, int count)
{
    const float id = nano_inverse(d);
    nano_f4 error = all(0);
    for (int i = 0; i < count / 4; i++) {
        const nano_f4 v = nearest(levels, steps, (x[i] - m) * id), e = x[i] - (v * d + m);
        error += w[i] * e * e;
    }
    return sum4(error);
}

float nano_round_error(const struct nano_levels *levels, float d, float m, const nano_f4 *x,
                       const nano_f4 *w, int count)
{
    struct steps steps;
    if (!levels->table)
        return round_error(levels, NULL, d, m, x, w, count);
    make_steps(&steps, levels->table);
    return round_error(levels, &steps, d, m, x, w, count);
}

void nano_round_to(const struct nano_levels *levels, float d, float m, const nano_f4 *x, int count,
                   int8_t *values)
{
    const float id = nano_inverse(d);
    struct steps steps;
    if (levels->table)
        make_steps(&steps, levels->table);
    for (int i = 0; i < count / 4; i++) {
        const nano_f4 v = nearest(levels, levels->table ? &steps : NULL, (x[i] - m) * id);
        for (int j = 0; j < 4; j++)
            values[4 * i + j] = (int8_t)v[j];
    }
}

/* d * v by least squares for the levels that 1 / d = id gives. */
NANO_INLINE struct nano_fit scale_for(const struct nano_levels *levels, const struct steps *steps,
                                      float id, const nano_f4 *x, const nano_f4 *w, int count)
{
    nano_f4 xv = all(0), vv = all(0);
    for (int i = 0; i < count / 4; i++) {
        const nano_f4 v = nearest(levels, steps, x[i] * id), wv = w[i] * v;
        xv += wv * x[i];
        vv += wv * v;
    }
    const float sum_xv = sum4(xv), sum_vv = sum4(vv);
    struct nano_fit fit = {0};
    if (sum_vv > 0) {
        fit.d = sum_xv / sum_vv;
        fit.gain = fit.d * sum_xv;
    }
    return fit;
}

static float extreme_of(const nano_f4 *x, int count)
{
    float extreme = 0;
    for (int k = 0; k < count; k++)
        extreme = fabsf(x[k / 4][k % 4]) > fabsf(extreme) ? x[k / 4][k % 4] : extreme;
    return extreme;
}

NANO_INLINE struct nano_fit fit_scale(const struct nano_levels *levels, const struct steps *steps,
                                      const nano_f4 *x, const nano_f4 *w, int count)
{
    enum { STEPS = 6 };
    const float extreme = extreme_of(x, count);
    const float end = (float)(steps ? levels->table[0] : levels->min);
    struct nano_fit best = {0};
    /* From the outermost value far outside the levels to far inside them. */
    for (int i = -STEPS; i <= STEPS; i++) {
        const float range =
            steps ? end * (1 - 0.06f * (float)i) : end * (1 - 0.02f * (float)i) + 0.17f * (float)i;
        const float id = range / extreme;
        if (!isfinite(id))
            return best;
        const struct nano_fit fit = scale_for(levels, steps, id, x, w, count);
        if (fit.gain > best.gain)
            best = fit;
    }
    for (int i = 0; i < 3; i++) {
        const struct nano_fit fit = scale_for(levels, steps, 1 / best.d, x, w, count);
        if (!(fit.gain > best.gain))
            break;
        best = fit;
    }
    return best;
}

struct nano_fit nano_fit_scale(const struct nano_levels *levels, const nano_f4 *x, const nano_f4 *w,
                               int count)
{
    struct steps steps;
    if (!levels->table)
        return fit_scale(levels, NULL, x, w, count);
    make_steps(&steps, levels->table);
    return fit_scale(levels, &steps, x, w, count);
}

/* Sums that do not depend on the levels. */
struct sums {
    float w, wx, min, max;
};

/* d and m by least squares for the levels that `id` and `m` give. */
NANO_INLINE struct nano_fit range_for(int max, bool any_min, float id, float m,
                                      const struct sums *sums, const nano_f4 *x, const nano_f4 *w,
                                      int count)
{
    const struct nano_levels levels = {0, max, NULL};
    nano_f4 q_sum = all(0), qq_sum = all(0), xq_sum = all(0);
    for (int i = 0; i < count / 4; i++) {
        const nano_f4 q = nearest(&levels, NULL, (x[i] - m) * id), wq = w[i] * q;
        q_sum += wq;
        qq_sum += wq * q;
        xq_sum += wq * x[i];
    }
    const float q = sum4(q_sum), qq = sum4(qq_sum), xq = sum4(xq_sum);
    const float determinant = sums->w * qq - q * q;
    struct nano_fit fit = {0};
    if (determinant > 1e-6f * sums->w * qq) {
        fit.d = (sums->w * xq - sums->wx * q) / determinant;
        fit.m = (qq * sums->wx - q * xq) / determinant;
    }
    if (!any_min && !(fit.m < 0)) {
        fit.m = 0;
        fit.d = qq > 0 ? xq / qq : 0;
    } else if (fit.d == 0) {
        fit.m = sums->wx / sums->w;
    }
    fit.gain = fit.d * xq + fit.m * sums->wx;
    return fit;
}

struct nano_fit nano_fit_range(int max, bool any_min, const nano_f4 *x, const nano_f4 *w, int count)
{
    enum { STEPS = 16 };
    struct sums sums = {.min = any_min ? x[0][0] : 0, .max = x[0][0]};
    for (int k = 0; k < count; k++) {
        const float value = x[k / 4][k % 4], weight = w[k / 4][k % 4];
        sums.min = value < sums.min ? value : sums.min;
        sums.max = value > sums.max ? value : sums.max;
        sums.w += weight;
        sums.wx += weight * value;
    }
    struct nano_fit best = {0, sums.min, 0};
    if (!isfinite(1 / (sums.max - sums.min)) || sums.w == 0)
        return best;
    for (int i = 0; i < STEPS; i++) {
        const float levels = (float)max + 0.1f * (float)i - 0.6f;
        const float id = levels / (sums.max - sums.min);
        const struct nano_fit fit = range_for(max, any_min, id, sums.min, &sums, x, w, count);
        if (i == 0 || fit.gain > best.gain)
            best = fit;
    }
    for (int i = 0; i < 4 && best.d > 0; i++) {
        const struct nano_fit fit = range_for(max, any_min, 1 / best.d, best.m, &sums, x, w, count);
        if (!(fit.gain > best.gain))
            break;
        best = fit;
    }
    return best;
}

float nano_square_sum(const nano_f4 *x, const nano_f4 *w, int count)
{
    nano_f4 sum = all(0);
    for (int i = 0; i < count / 4; i++)
        sum += w[i] * x[i] * x[i];
    return sum4(sum);
}

uint16_t nano_scale_f16(float d)
{
    d = d < 65504 ? d : 65504;
    return nano_f32_to_f16(d > -65504 ? d : -65504);
}
