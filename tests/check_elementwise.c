/* Activation functions, and norms and scalings beyond those that every model has. */
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

/* ---- activation functions ---- */

static const char *const act_names[NANO_NUM_ACTS] = {
    "none", "silu", "gelu", "gelu_erf", "gelu_quick", "relu", "relu_squared", "sigmoid", "clamped"};

/* The function, and the size of the exponent that its rounding is multiplied with: exponents that
 * are x itself are exact. */
static double act_of(enum nano_act act, double x, double *exponent)
{
    *exponent = 0;
    switch (act) {
    case NANO_ACT_SILU:
        return x / (1 + exp(-x));
    case NANO_ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case NANO_ACT_GELU: {
        const double u = sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
        *exponent = fabs(2 * u);
        return x / (1 + exp(-2 * u)); /* 1 + tanh would lose what is left far below 0 */
    }
    case NANO_ACT_GELU_ERF:
        *exponent = x * x / 2;
        return x / 2 * erfc(-x * sqrt(0.5));
    case NANO_ACT_GELU_QUICK:
        *exponent = fabs(1.702 * x);
        return x / (1 + exp(-1.702 * x));
    case NANO_ACT_RELU:
        return fmax(x, 0);
    case NANO_ACT_RELU_SQUARED:
        return fmax(x, 0) * fmax(x, 0);
    default:
        return x;
    }
}

/* Of a gate and a factor; without one it is 1. */
static double glu_of(enum nano_act act, double gate, double factor, double *tolerance)
{
    double exponent;
    if (act == NANO_ACT_SWIGLU_CLAMPED) {
        act = NANO_ACT_GELU_QUICK;
        gate = fmin(gate, 7);
        factor = fmin(fmax(factor, -7), 7) + 1;
    }
    const double value = (float)act_of(act, gate, &exponent) * factor;
    /* From -88.7 on exp(-x) is infinite in float; what is lost there is below 2.7e-37. */
    *tolerance = fabs(value) * (1e-6 + exponent * 3e-7) + 3e-37 * fabs(factor);
    return value;
}

static void check_act(const struct tiers *tiers, enum nano_act act, int n, float range)
{
    struct input gate = input_alloc((size_t)n * 4), up = input_alloc((size_t)n * 4);
    struct output y = output_alloc((size_t)n * 4, 4 * (size_t)random_below(16));
    float *g = gate.data, *u = up.data, *yf = y.data;
    for (int k = 0; k < n; k++) {
        g[k] = random_float() * range;
        u[k] = random_float() * (act == NANO_ACT_SWIGLU_CLAMPED ? 10 : 1);
    }
    double tolerance;
    tiers->test->glu[act](yf, g, u, n);
    for (int k = 0; k < n; k++) {
        const double expected = glu_of(act, g[k], u[k], &tolerance);
        check_that(is_near(yf[k], (float)expected, tolerance),
                   "n %d: %s(%.9g) * %.9g = %.9g, expected %.9g", n, act_names[act], (double)g[k],
                   (double)u[k], (double)yf[k], expected);
    }
    if (tiers->test->act[act]) {
        float *alone = malloc((size_t)n * 4);
        tiers->test->act[act](alone, g, n);
        for (int k = 0; k < n; k++) {
            const double expected = glu_of(act, g[k], 1, &tolerance);
            check_that(is_near(alone[k], (float)expected, tolerance),
                       "n %d: %s(%.9g) = %.9g, expected %.9g", n, act_names[act], (double)g[k],
                       (double)alone[k], expected);
        }
        float *x = malloc((size_t)n * 4);
        memcpy(x, g, (size_t)n * 4);
        tiers->test->act[act](x, x, n);
        check_that(memcmp(x, alone, (size_t)n * 4) == 0, "n %d: in place differs", n);
        free(x);
        free(alone);
    }
    float *in_place = n % 2 ? g : u;
    tiers->test->glu[act](in_place, g, u, n);
    check_that(memcmp(in_place, yf, (size_t)n * 4) == 0, "n %d: a gate in place differs", n);
    check_that(output_guards_intact(&y), "n %d: wrote outside the output", n);
    input_free(&gate);
    input_free(&up);
    output_free(&y);
}

static void check_acts(const struct tiers *tiers)
{
    static const float ranges[] = {0.001f, 1, 10, 200, 1e30f};
    for (int act = 0; act < NANO_NUM_ACTS; act++) {
        check_begin(tiers, "act", act_names[act]);
        for (int i = 0; i < NUM_SIZES * 5; i++)
            check_act(tiers, (enum nano_act)act, sizes[i % NUM_SIZES], ranges[i / NUM_SIZES]);
        check_that(!tiers->test->act[act] == (act == NANO_ACT_SWIGLU_CLAMPED),
                   "one that has no value without a factor");
        check_end();
    }
}

/* ---- norms ---- */

static void check_layer_norm_of(const struct tiers *tiers, int n, enum pattern pattern, float shift,
                                const float *weight, const float *bias)
{
    const float eps = 1e-5f;
    struct input x = input_alloc((size_t)n * 4);
    struct output y = output_alloc((size_t)n * 4, 4 * (size_t)random_below(16));
    float *xf = x.data, *yf = y.data;
    fill_floats(xf, n, pattern);
    double mean = 0, variance = 0;
    for (int k = 0; k < n; k++) {
        xf[k] += shift;
        mean += (double)xf[k] / n;
    }
    for (int k = 0; k < n; k++)
        variance += (xf[k] - mean) * (xf[k] - mean) / n;
    tiers->test->layer_norm(yf, xf, weight, bias, n, eps);
    const double scale = 1 / sqrt(variance + eps);
    for (int k = 0; k < n; k++) {
        const double normed = (xf[k] - mean) * scale * weight[k];
        const double expected = normed + (bias ? bias[k] : 0);
        /* The mean is rounded to float, and so is the difference. */
        const double rounding = (fabs(mean) * 0x1p-23 + 0x1p-148) * scale * fabs(weight[k]);
        const double tolerance =
            fabs(normed) * 1e-6 + fabs(expected) * 0x1p-23 + rounding + 0x1p-148;
        check_that(is_near(yf[k], expected, tolerance), "n %d, %s: y[%d] = %.9g, expected %.9g", n,
                   pattern_name(pattern), k, (double)yf[k], expected);
    }
    tiers->test->layer_norm(xf, xf, weight, bias, n, eps);
    check_that(memcmp(xf, yf, (size_t)n * 4) == 0, "n %d: in place differs", n);
    check_that(output_guards_intact(&y), "n %d: wrote outside the output", n);
    input_free(&x);
    output_free(&y);
}

static void check_layer_norm(const struct tiers *tiers)
{
    check_begin(tiers, "layer_norm", "");
    float weight[MAX_N], bias[MAX_N];
    fill_floats(weight, MAX_N, PATTERN_RANDOM);
    fill_floats(bias, MAX_N, PATTERN_RANDOM);
    for (int i = 0; i < NUM_SIZES * NUM_PATTERNS; i++)
        for (int k = 0; k < 2; k++)
            check_layer_norm_of(tiers, sizes[i % NUM_SIZES], (enum pattern)(i / NUM_SIZES),
                                k ? 30 : 0, weight, i % 2 ? bias : NULL);
    check_end();
}

static void check_l2_norm(const struct tiers *tiers)
{
    check_begin(tiers, "l2_norm", "");
    for (int i = 0; i < NUM_SIZES * NUM_PATTERNS; i++) {
        const int n = sizes[i % NUM_SIZES];
        const float eps = 1e-6f;
        struct input x = input_alloc((size_t)n * 4);
        struct output y = output_alloc((size_t)n * 4, 4 * (size_t)random_below(16));
        float *xf = x.data, *yf = y.data;
        double sum = 0;
        fill_floats(xf, n, (enum pattern)(i / NUM_SIZES));
        for (int k = 0; k < n; k++)
            sum += (double)xf[k] * xf[k];
        tiers->test->l2_norm(yf, xf, n, eps);
        for (int k = 0; k < n; k++) {
            const double expected = xf[k] / fmax(sqrt(sum), eps);
            check_that(is_near(yf[k], expected, fabs(expected) * 1e-6 + 0x1p-148),
                       "n %d: y[%d] = %.9g, expected %.9g", n, k, (double)yf[k], expected);
        }
        tiers->test->l2_norm(xf, xf, n, eps);
        check_that(memcmp(xf, yf, (size_t)n * 4) == 0, "n %d: in place differs", n);
        check_that(output_guards_intact(&y), "n %d: wrote outside the output", n);
        input_free(&x);
        output_free(&y);
    }
    check_end();
}

/* ---- scalings ---- */

static void check_scaling(const struct tiers *tiers)
{
    static const float scales[] = {0.22f, 1, -12, 0};
    check_begin(tiers, "add_scaled, scale", "");
    for (int i = 0; i < NUM_SIZES * NUM_PATTERNS; i++) {
        const int n = sizes[i % NUM_SIZES];
        const float scale = scales[i % 4];
        struct input x = input_alloc((size_t)n * 4);
        struct output y = output_alloc((size_t)n * 4, 4 * (size_t)random_below(16));
        float before[MAX_N], *xf = x.data, *yf = y.data;
        fill_floats(xf, n, (enum pattern)(i / NUM_SIZES));
        fill_floats(before, n, PATTERN_RANDOM);
        memcpy(yf, before, (size_t)n * 4);
        tiers->test->add_scaled(yf, xf, n, scale);
        for (int k = 0; k < n; k++) {
            const double product = (double)scale * xf[k], expected = before[k] + product;
            check_that(
                is_near(yf[k], expected, (fabs((double)before[k]) + fabs(product)) * 0x1p-23),
                "n %d: y[%d] = %.9g, expected %.9g", n, k, (double)yf[k], expected);
            check_that(scale != 1 || yf[k] == before[k] + xf[k], "n %d: 1 is no plain sum", n);
        }
        tiers->test->scale(yf, xf, n, scale);
        for (int k = 0; k < n; k++)
            check_that(yf[k] == scale * xf[k], "n %d: y[%d] is wrong", n, k);
        tiers->test->scale(xf, xf, n, scale);
        check_that(memcmp(xf, yf, (size_t)n * 4) == 0, "n %d: in place differs", n);
        check_that(output_guards_intact(&y), "n %d: wrote outside the output", n);
        input_free(&x);
        output_free(&y);
    }
    check_end();
}

static void check_softcap(const struct tiers *tiers)
{
    static const float caps[] = {1, 5, 50}, ranges[] = {0.001f, 1, 20, 1e5f, 1e30f};
    check_begin(tiers, "softcap", "");
    for (int i = 0; i < NUM_SIZES * 15; i++) {
        const int n = sizes[i % NUM_SIZES];
        const float cap = caps[i / NUM_SIZES % 3];
        struct input x = input_alloc((size_t)n * 4);
        struct output y = output_alloc((size_t)n * 4, 4 * (size_t)random_below(16));
        float *xf = x.data, *yf = y.data;
        for (int k = 0; k < n; k++)
            xf[k] = random_float() * ranges[i / NUM_SIZES / 3];
        tiers->test->softcap(yf, xf, n, cap);
        for (int k = 0; k < n; k++) {
            const double expected = cap * tanh((double)xf[k] / cap);
            check_that(is_near(yf[k], expected, fabs(expected) * 6e-7),
                       "n %d: %.9g below %g is %.9g, expected %.9g", n, (double)xf[k], (double)cap,
                       (double)yf[k], expected);
        }
        tiers->test->softcap(xf, xf, n, cap);
        check_that(memcmp(xf, yf, (size_t)n * 4) == 0, "n %d: in place differs", n);
        xf[n / 2] = NAN;
        tiers->test->softcap(xf, xf, n, cap);
        check_that(isnan(xf[n / 2]), "n %d: NaN is lost", n);
        check_that(output_guards_intact(&y), "n %d: wrote outside the output", n);
        input_free(&x);
        output_free(&y);
    }
    check_end();
}

void check_elementwise(const struct tiers *tiers)
{
    check_acts(tiers);
    check_layer_norm(tiers);
    check_l2_norm(tiers);
    check_scaling(tiers);
    check_softcap(tiers);
}
