/* Small ops on the GPU: against the scalar reference, with views anywhere in their buffers, few and
 * many rows, and threads in any order. */
#include <math.h>

#include "runner/cuda/cuda_elementwise.h"
#include "tests/cuda/cuda_fixture.h"

static struct nano_kernels ref;

static void setup(void)
{
    fixture_open();
    nano_kernels_init_ref(&ref);
}

TestSuite(cuda_elementwise, .init = setup, .fini = fixture_close);

static const int64_t widths[] = {1, 3, 64, 130, 515, 1028};
static const int64_t offsets[] = {0, 4, 1, 7};
static const int row_counts[] = {1, 5, 43};
enum { NUM_CASES = 6 * 4 * 3 };

struct size {
    int rows;
    int64_t width, offset;
};

static struct size size_of(int i)
{
    return (struct size){row_counts[i % 3], widths[i / 12], offsets[i / 3 % 4]};
}

static void expect_near(float got, float expected, double tolerance, const char *what, double x)
{
    cr_assert(isnan(expected) ? isnan(got)
                              : got == expected || fabs((double)got - expected) <= tolerance,
              "%s of %.9g is %.9g, expected %.9g", what, x, (double)got, (double)expected);
}

/* ---- activation functions ---- */

/* By how much rounding of the exponent is multiplied. */
static double exponent_of(enum nano_act act, double x)
{
    return act == NANO_ACT_GELU       ? fabs(1.6 * x + 0.0714 * x * x * x)
           : act == NANO_ACT_GELU_ERF ? x * x / 2
                                      : fabs(1.702 * x);
}

static double act_tolerance(enum nano_act act, float gate, float expected, float up)
{
    const double exponent = exponent_of(act, gate);
    return fabs((double)expected) * (2e-6 + (isfinite(exponent) ? exponent : 0) * 6e-7) +
           1e-36 * (fabs((double)up) + 1);
}

static void fill_gates(struct rows *gate, int i)
{
    static const float ranges[] = {0.001f, 1, 10, 200, 1e30f};
    static const float special[] = {INFINITY, -INFINITY, NAN, 0, -0.0f, 7, -104, 88.8f};
    rows_fill(gate, ranges[i % 5]);
    for (int k = 0; k < 8; k++)
        row_of(gate, random_below(gate->num_rows))[random_below((int)gate->width)] = special[k];
}

static void check_glu(enum nano_act act, int i)
{
    const struct size size = size_of(i);
    const int64_t gate_width = i % 5 == 4 && act != NANO_ACT_SWIGLU_CLAMPED ? 1 : size.width;
    struct rows gate = rows_make(size.rows, gate_width, i % 7 == 0 ? 5 : size.offset),
                up = rows_make(size.rows, size.width, size.offset),
                out = rows_make(size.rows, size.width, size.offset),
                other = rows_make(size.rows, size.width, size.offset);
    fill_gates(&gate, i);
    rows_fill(&up, 10);
    struct nano_cuda_glu_args args = {act,        out.view,   gate.view, up.view,
                                      size.width, gate_width, size.rows};
    nano_cuda_glu(device, &args);
    for (int r = 0; r < size.rows; r++)
        for (int64_t c = 0; c < size.width; c++) {
            const float g = row_of(&gate, r)[gate_width == 1 ? 0 : c], u = row_of(&up, r)[c];
            float expected;
            ref.glu[act](&expected, &g, &u, 1);
            expect_near(row_of(&out, r)[c], expected, act_tolerance(act, g, expected, u), "glu",
                        (double)g);
        }
    for (int order = 1; order < 3; order++) {
        nano_emulated_set_order(order);
        args.out = other.view;
        nano_cuda_glu(device, &args);
        cr_assert(rows_equal(&out, &other));
    }
    nano_emulated_set_order(0);
    args.out = args.up;
    nano_cuda_glu(device, &args);
    cr_assert(rows_equal(&out, &up), "in place");
    rows_free(&gate);
    rows_free(&up);
    rows_free(&out);
    rows_free(&other);
}

Test(cuda_elementwise, glu)
{
    for (int act = 0; act < NANO_NUM_ACTS; act++)
        for (int i = 0; i < NUM_CASES; i++)
            check_glu((enum nano_act)act, i);
}

static void check_map(struct nano_cuda_map_args args, int i)
{
    const struct size size = size_of(i);
    struct rows in = rows_make(size.rows, size.width, size.offset),
                out = rows_make(size.rows, size.width, i % 11 == 0 ? 0 : size.offset),
                before = rows_make(size.rows, size.width, size.offset);
    int32_t *positions = fixture_alloc((size_t)size.rows * sizeof *positions);
    for (int r = 0; r < size.rows; r++)
        positions[r] = r == 0 ? 0 : random_below(r % 2 ? 100 : 1000000);
    fill_gates(&in, i);
    rows_fill(&before, 100);
    rows_copy(&out, &before);
    args.in = in.view;
    args.out = out.view;
    args.width = size.width;
    args.rows = size.rows;
    args.positions = positions;
    nano_cuda_map(device, &args);
    for (int r = 0; r < size.rows; r++)
        for (int64_t c = 0; c < size.width; c++) {
            const float x = row_of(&in, r)[c];
            float expected = row_of(&before, r)[c];
            double tolerance = 0;
            if (args.kind == NANO_OP_ACTIVATE) {
                ref.act[args.act](&expected, &x, 1);
                tolerance = act_tolerance(args.act, x, expected, 1);
            } else if (args.kind == NANO_OP_ADD) {
                ref.add_scaled(&expected, &x, 1, args.scale);
            } else if (args.kind == NANO_OP_SCALE) {
                ref.scale(&expected, &x, 1, args.scale);
            } else if (args.kind == NANO_OP_SOFTCAP) {
                ref.softcap(&expected, &x, 1, args.softcap);
                tolerance = fabs((double)expected) * 1.2e-6;
            } else {
                const int whole = positions[r] / args.scale_length;
                ref.scale(&expected, &x, 1, (float)(1 + (double)args.scale * log(1.0 + whole)));
                tolerance = fabs((double)expected) * 4e-7;
            }
            expect_near(row_of(&out, r)[c], expected, tolerance, "map", (double)x);
        }
    if (args.kind != NANO_OP_ADD) {
        for (int order = 1; order < 3; order++) {
            nano_emulated_set_order(order);
            rows_copy(&before, &in);
            args.in = args.out = before.view;
            nano_cuda_map(device, &args);
            cr_assert(rows_equal(&before, &out), "in place");
        }
        nano_emulated_set_order(0);
    }
    rows_free(&in);
    rows_free(&out);
    rows_free(&before);
    fixture_free(positions);
}

Test(cuda_elementwise, activate)
{
    for (int act = 0; act < NANO_ACT_SWIGLU_CLAMPED; act++)
        for (int i = 0; i < NUM_CASES; i++)
            check_map(
                (struct nano_cuda_map_args){.kind = NANO_OP_ACTIVATE, .act = (enum nano_act)act},
                i);
}

Test(cuda_elementwise, scalings)
{
    for (int i = 0; i < NUM_CASES; i++) {
        const float scale = i % 3 ? random_float() * 12 : 1;
        check_map((struct nano_cuda_map_args){.kind = NANO_OP_ADD, .scale = scale}, i);
        check_map((struct nano_cuda_map_args){.kind = NANO_OP_SCALE, .scale = scale}, i);
        check_map((struct nano_cuda_map_args){.kind = NANO_OP_SOFTCAP, .softcap = i % 2 ? 30 : 5},
                  i);
        check_map((struct nano_cuda_map_args){.kind = NANO_OP_POSITION_SCALE,
                                              .scale = 0.1f,
                                              .scale_length = i % 2 ? 8192 : 3},
                  i);
    }
}

/* ---- copies ---- */

Test(cuda_elementwise, split_heads)
{
    static const struct {
        int num_out, num_heads;
        int64_t head_width[4];
    } cases[] = {
        {2, 4, {64, 64}}, {2, 3, {5, 2}}, {1, 2, {12}}, {3, 5, {8, 4, 512}}, {4, 16, {1, 2, 3, 4}}};
    for (int i = 0; i < 5 * 12; i++) {
        const struct size size = {row_counts[i % 3], 0, offsets[i / 3 % 4]};
        const int k = i / 12;
        struct nano_cuda_split_heads_args args = {
            .num_out = cases[k].num_out, .num_heads = cases[k].num_heads, .rows = size.rows};
        struct rows out[4];
        int64_t width = 0;
        for (int p = 0; p < args.num_out; p++) {
            args.head_width[p] = cases[k].head_width[p];
            out[p] = rows_make(size.rows, args.num_heads * args.head_width[p], size.offset);
            args.out[p] = out[p].view;
            width += args.head_width[p];
        }
        struct rows in = rows_make(size.rows, args.num_heads * width, size.offset);
        rows_fill(&in, 1);
        args.in = in.view;
        nano_emulated_set_order(i % 3);
        nano_cuda_split_heads(device, &args);
        for (int r = 0; r < size.rows; r++)
            for (int head = 0; head < args.num_heads; head++) {
                const float *from = row_of(&in, r) + head * width;
                for (int p = 0; p < args.num_out; from += args.head_width[p++])
                    cr_assert_arr_eq(row_of(&out[p], r) + head * args.head_width[p], from,
                                     (size_t)args.head_width[p] * sizeof(float));
            }
        for (int p = 0; p < args.num_out; p++)
            rows_free(&out[p]);
        rows_free(&in);
    }
}

Test(cuda_elementwise, gather)
{
    for (int i = 0; i < NUM_CASES; i++) {
        const struct size size = size_of(i);
        struct rows in = rows_make(9, size.width, size.offset),
                    out = rows_make(size.rows, size.width, size.offset);
        int32_t *ids = fixture_alloc((size_t)size.rows * sizeof *ids);
        for (int r = 0; r < size.rows; r++)
            ids[r] = random_below(9);
        rows_fill(&in, 1);
        nano_emulated_set_order(i % 3);
        nano_cuda_gather(
            device, &(struct nano_cuda_gather_args){out.view, in.view, ids, size.width, size.rows});
        for (int r = 0; r < size.rows; r++)
            cr_assert_arr_eq(row_of(&out, r), row_of(&in, ids[r]),
                             (size_t)size.width * sizeof(float));
        rows_free(&in);
        rows_free(&out);
        fixture_free(ids);
    }
}

/* ---- rotary embedding ---- */

struct rope_case {
    int num_pairs, num_heads, head_dim, rope_offset, offset, rows;
    bool adjacent;
    float magnitude;
};

static void check_rope(const struct rope_case *k)
{
    const int64_t width = (int64_t)k->num_heads * k->head_dim;
    struct rows x = rows_make(k->rows, width, k->offset), in = rows_make(k->rows, width, k->offset),
                alone = rows_make(k->rows, width, k->offset);
    int32_t *positions = fixture_alloc((size_t)k->rows * sizeof *positions);
    float *inv_freq = fixture_alloc((size_t)k->num_pairs * sizeof *inv_freq);
    float *cos_sin = malloc(2 * (size_t)k->num_pairs * sizeof *cos_sin);
    for (int i = 0; i < k->num_pairs; i++)
        inv_freq[i] = (float)pow(i % 2 ? 1e6 : 1e4, -(double)i / k->num_pairs);
    static const int32_t some[] = {1000000, 0, 2147483647, 131071};
    for (int r = 0; r < k->rows; r++)
        positions[r] = r < 4 ? some[r] : random_below(r % 2 ? 4096 : 1000001);
    rows_fill(&in, 3);
    rows_copy(&x, &in);
    rows_copy(&alone, &in);
    struct nano_cuda_rope_args args = {x.view,       positions,    inv_freq,    k->magnitude,
                                       k->num_pairs, k->num_heads, k->head_dim, k->rope_offset,
                                       k->adjacent,  k->rows};
    nano_cuda_rope(device, &args);
    args.rows = 1;
    for (int r = 0; r < k->rows; r++, args.positions++) {
        nano_emulated_set_order(1 + r % 2);
        args.x.data = row_of(&alone, r);
        nano_cuda_rope(device, &args);
    }
    nano_emulated_set_order(0);
    cr_assert(rows_equal(&x, &alone), "rows alone");
    for (int r = 0; r < k->rows; r++) {
        for (int i = 0; i < k->num_pairs; i++) {
            const double angle = (double)positions[r] * (double)inv_freq[i];
            cos_sin[2 * i] = (float)(cos(angle) * (double)k->magnitude);
            cos_sin[2 * i + 1] = (float)(sin(angle) * (double)k->magnitude);
        }
        for (int head = 0; head < k->num_heads; head++) {
            float *expected = row_of(&in, r) + head * k->head_dim;
            const float *got = row_of(&x, r) + head * k->head_dim;
            ref.rope(expected + k->rope_offset, cos_sin, k->num_pairs, k->adjacent);
            for (int c = 0; c < k->head_dim; c++) {
                const int pair = c - k->rope_offset;
                const bool turned = pair >= 0 && pair < 2 * k->num_pairs;
                cr_assert(fabs((double)got[c] - (double)expected[c]) <=
                              (turned ? 4.3 * (double)k->magnitude * 4 * 0x1p-24 : 0),
                          "position %d, head %d, column %d: %.9g, expected %.9g", positions[r],
                          head, c, (double)got[c], (double)expected[c]);
            }
        }
    }
    rows_free(&x);
    rows_free(&in);
    rows_free(&alone);
    fixture_free(positions);
    fixture_free(inv_freq);
    free(cos_sin);
}

Test(cuda_elementwise, rope)
{
    static const struct rope_case cases[] = {
        {64, 8, 128, 0, 0, 9, false, 1},    {32, 5, 64, 0, 16, 30, true, 1.2f},
        {16, 3, 80, 48, 0, 6, true, 1},     {5, 17, 13, 2, 3, 8, true, 0.7f},
        {5, 17, 13, 3, 5, 8, false, 1},     {1, 1, 2, 0, 1, 1, true, 1},
        {3, 32, 6, 0, 0, 280, false, 1.1f}, {3, 33, 6, 0, 2, 260, true, 1},
        {128, 2, 256, 0, 0, 3, false, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_rope(&cases[i]);
}

/* ---- argmax ---- */

static void check_argmax(struct rows *x, const char *what)
{
    int32_t *tokens = fixture_alloc((size_t)x->num_rows * sizeof *tokens);
    for (int order = 0; order < 3; order++) {
        nano_emulated_set_order(order);
        memset(tokens, 0xff, (size_t)x->num_rows * sizeof *tokens);
        nano_cuda_argmax(device,
                         &(struct nano_cuda_argmax_args){x->view, x->width, tokens, x->num_rows});
        for (int r = 0; r < x->num_rows; r++)
            cr_assert_eq(tokens[r], ref.argmax(row_of(x, r), x->width), "%s: row %d of %lld", what,
                         r, (long long)x->width);
    }
    nano_emulated_set_order(0);
    fixture_free(tokens);
}

Test(cuda_elementwise, argmax)
{
    static const int64_t sizes[] = {1, 2, 31, 1000, 4099, 32000, 151936};
    for (int i = 0; i < 7 * 3; i++) {
        const int64_t width = sizes[i / 3];
        struct rows x = rows_make(width > 5000 ? 2 : 6, width, offsets[i % 3]);
        rows_fill(&x, 1);
        check_argmax(&x, "random");
        for (int r = 0; r < x.num_rows; r++)
            for (int64_t c = 0; c < width; c++)
                row_of(&x, r)[c] = (float)random_below(3) - (r % 2 ? 3 : 0);
        check_argmax(&x, "equal ones");
        for (int r = 0; r < x.num_rows; r++) {
            for (int64_t c = 0; c < width; c++)
                row_of(&x, r)[c] = r % 3 == 0 ? NAN : r % 3 == 1 ? -INFINITY : random_float();
            if (r > 2) {
                row_of(&x, r)[random_below((int)width)] = r % 2 ? -INFINITY : INFINITY;
                row_of(&x, r)[random_below((int)width)] = NAN;
            }
            row_of(&x, r)[0] = NAN;
        }
        check_argmax(&x, "not numbers");
        rows_free(&x);
    }
}
