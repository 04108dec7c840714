/* RMS norm, rotary embedding and reductions. */
#include "check_kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_N = 1100, NUM_SIZES = 12 };
static const int sizes[NUM_SIZES] = {1, 2, 7, 15, 16, 17, 31, 33, 64, 172, 896, MAX_N};

static bool is_near(double x, double expected, double tolerance)
{
    return fabs(x - expected) <= tolerance || x == expected;
}

static void check_rms_norm(const struct tiers *tiers)
{
    check_begin(tiers, "rms_norm", "");
    float weight[MAX_N];
    fill_floats(weight, MAX_N, PATTERN_RANDOM);
    for (int i = 0; i < NUM_SIZES * NUM_PATTERNS; i++) {
        int n = sizes[i % NUM_SIZES];
        enum pattern pattern = (enum pattern)(i / NUM_SIZES);
        const float eps = 1e-5f;
        struct input x = input_alloc((size_t)n * 4);
        struct output y = output_alloc((size_t)n * 4, 4 * (size_t)random_below(16));
        float *xf = x.data, *yf = y.data;
        fill_floats(xf, n, pattern);
        tiers->test->rms_norm(yf, xf, weight, n, eps);
        double sum = 0;
        for (int k = 0; k < n; k++)
            sum += (double)xf[k] * xf[k];
        for (int k = 0; k < n; k++) {
            double expected = xf[k] / sqrt(sum / n + eps) * weight[k];
            check_that(is_near(yf[k], expected, fabs(expected) * 1e-6 + 0x1p-148),
                       "n %d, %s: y[%d] = %.9g, expected %.9g", n, pattern_name(pattern), k,
                       (double)yf[k], expected);
        }
        tiers->test->rms_norm(xf, xf, weight, n, eps);
        check_that(memcmp(xf, yf, (size_t)n * 4) == 0, "n %d: in place differs", n);
        check_that(output_guards_intact(&y), "n %d: wrote outside the output", n);
        input_free(&x);
        output_free(&y);
    }
    check_end();
}

static void check_rope(const struct tiers *tiers)
{
    check_begin(tiers, "rope", "");
    for (int i = 0; i < 100; i++) {
        int num_pairs = 1 + random_below(70);
        bool adjacent = i % 2;
        float x[140], cos_sin[140];
        struct output y = output_alloc((size_t)num_pairs * 8, 4 * (size_t)random_below(16));
        float *yf = y.data;
        fill_floats(x, 2 * num_pairs, PATTERN_RANDOM);
        for (int k = 0; k < num_pairs; k++) {
            float angle = random_float() * 3;
            cos_sin[2 * k] = cosf(angle);
            cos_sin[2 * k + 1] = sinf(angle);
        }
        memcpy(yf, x, (size_t)num_pairs * 8);
        tiers->test->rope(yf, cos_sin, num_pairs, adjacent);
        for (int k = 0; k < num_pairs; k++) {
            int a = adjacent ? 2 * k : k, b = adjacent ? a + 1 : k + num_pairs;
            double cos = cos_sin[2 * k], sin = cos_sin[2 * k + 1];
            double tolerance = (fabs(x[a]) + fabs(x[b])) * 0x1p-22;
            check_that(is_near(yf[a], x[a] * cos - x[b] * sin, tolerance) &&
                           is_near(yf[b], x[a] * sin + x[b] * cos, tolerance),
                       "%d pairs, adjacent %d: pair %d is wrong", num_pairs, adjacent, k);
        }
        check_that(output_guards_intact(&y), "wrote outside the output");
        output_free(&y);
    }
    check_end();
}

static void check_add(const struct tiers *tiers)
{
    check_begin(tiers, "add", "");
    for (int i = 0; i < NUM_SIZES * NUM_PATTERNS; i++) {
        int n = sizes[i % NUM_SIZES];
        struct input x = input_alloc((size_t)n * 4);
        struct output y = output_alloc((size_t)n * 4, 4 * (size_t)random_below(16));
        float before[MAX_N], *xf = x.data, *yf = y.data;
        fill_floats(xf, n, (enum pattern)(i / NUM_SIZES));
        fill_floats(before, n, PATTERN_RANDOM);
        memcpy(yf, before, (size_t)n * 4);
        tiers->test->add(yf, xf, n);
        for (int k = 0; k < n; k++)
            check_that(yf[k] == before[k] + xf[k], "n %d: y[%d] is wrong", n, k);
        check_that(output_guards_intact(&y), "n %d: wrote outside the output", n);
        input_free(&x);
        output_free(&y);
    }
    check_end();
}

static void check_argmax(const struct tiers *tiers)
{
    check_begin(tiers, "argmax", "");
    for (int i = 0; i < 400; i++) {
        int n = sizes[i % NUM_SIZES];
        struct input x = input_alloc((size_t)n * 4);
        float *xf = x.data;
        for (int k = 0; k < n; k++) { /* few levels, so that ties and NaN are common */
            int level = random_below(i % 3 ? 40 : 6);
            xf[k] = level == 0 ? NAN : level == 1 ? -INFINITY : (float)level - 10;
        }
        if (i % 7 == 0) {
            for (int k = 0; k < n; k++)
                xf[k] = i % 2 ? NAN : -INFINITY;
        }
        if (i % 5 == 0)
            xf[random_below(n)] = INFINITY;
        int64_t expected = tiers->ref->argmax(xf, n), found = tiers->test->argmax(xf, n);
        check_that(found == expected, "n %d: index %d (%g), expected %d (%g)", n, (int)found,
                   (double)xf[found], (int)expected, (double)xf[expected]);
        for (int k = 0; k < n; k++)
            check_that(!(xf[k] > xf[found]) && (k >= found || xf[k] != xf[found]) &&
                           (isnan(xf[k]) || !isnan(xf[found])),
                       "n %d: [%d] = %g wins over [%d] = %g", n, k, (double)xf[k], (int)found,
                       (double)xf[found]);
        input_free(&x);
    }
    check_end();
}

static void check_collect(const struct tiers *tiers)
{
    check_begin(tiers, "collect", "");
    for (int i = 0; i < 400; i++) {
        int n = sizes[i % NUM_SIZES], count = 0;
        struct input x = input_alloc((size_t)n * 4);
        struct output out = output_alloc((size_t)n * 4, 4 * (size_t)random_below(16));
        float *xf = x.data, floor = i % 5 ? (float)random_below(i % 3 ? 40 : 4) - 10 : -INFINITY;
        for (int k = 0; k < n; k++) {
            int level = random_below(i % 7 ? 40 : 8);
            xf[k] = level == 0 ? NAN : level == 1 ? -INFINITY : (float)level - 10;
        }
        int64_t found = tiers->test->collect(out.data, xf, n, floor);
        const int32_t *indices = out.data;
        for (int k = 0; k < n; k++)
            if (xf[k] >= floor) {
                check_that(count < found && indices[count] == k, "n %d: index %d is missing", n, k);
                count++;
            }
        check_that(found == count, "n %d: %d indices, expected %d", n, (int)found, count);
        check_that(output_untouched(&out, (size_t)count * 4, (size_t)n * 4) &&
                       output_guards_intact(&out),
                   "n %d: wrote outside the output", n);
        input_free(&x);
        output_free(&out);
    }
    check_end();
}

static void check_sum_exp(const struct tiers *tiers)
{
    check_begin(tiers, "sum_exp", "");
    for (int i = 0; i < NUM_SIZES * 12; i++) {
        int n = sizes[i % NUM_SIZES];
        struct input x = input_alloc((size_t)n * 4);
        float *xf = x.data, range[] = {0.001f, 3, 90, 1e5f}, scales[] = {1, 0.3f, 4};
        float max = -INFINITY, scale = scales[i / NUM_SIZES / 4];
        double expected = 0;
        for (int k = 0; k < n; k++) {
            xf[k] = k % 9 == 8 ? -INFINITY : random_float() * range[i / NUM_SIZES % 4];
            max = fmaxf(max, xf[k]);
        }
        for (int k = 0; k < n; k++)
            expected += exp((double)((xf[k] - max) * scale));
        double found = tiers->test->sum_exp(xf, n, max, scale);
        check_that(is_near(found, expected, expected * 1e-6), "n %d: %.12g, expected %.12g", n,
                   found, expected);
        xf[n / 2] = NAN;
        check_that(isnan(tiers->test->sum_exp(xf, n, max, scale)), "n %d: NaN is lost", n);
        input_free(&x);
    }
    check_end();
}

static void check_log_sum_exp(const struct tiers *tiers)
{
    check_begin(tiers, "log_sum_exp", "");
    for (int i = 0; i < NUM_SIZES * 4; i++) {
        int n = sizes[i % NUM_SIZES];
        struct input x = input_alloc((size_t)n * 4);
        float *xf = x.data, range[] = {0.001f, 3, 90, 1e5f};
        double max = -INFINITY, sum = 0;
        for (int k = 0; k < n; k++) {
            xf[k] = random_float() * range[i / NUM_SIZES];
            max = fmax(max, xf[k]);
        }
        for (int k = 0; k < n; k++)
            sum += exp(xf[k] - max);
        double found = tiers->test->log_sum_exp(xf, n), expected = max + log(sum);
        check_that(is_near(found, expected, 4e-7 + fabs(expected) * 1e-12),
                   "n %d: %.12g, expected %.12g", n, found, expected);
        for (int k = 0; k < n; k++)
            xf[k] = k == n / 2 ? INFINITY : -INFINITY;
        check_that(tiers->test->log_sum_exp(xf, n) == INFINITY, "n %d: infinity is lost", n);
        input_free(&x);
    }
    check_end();
}

void check_vectors(const struct tiers *tiers)
{
    check_rms_norm(tiers);
    check_rope(tiers);
    check_add(tiers);
    check_argmax(tiers);
    check_collect(tiers);
    check_sum_exp(tiers);
    check_log_sum_exp(tiers);
}
