/* Short convolutions, Mamba-2 and the gated delta rule: against the same in double, row by row; and
 * the same bits however rows and columns are cut into calls. */
#include "check_kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROWS 70
#define MAX_COLUMNS 150
#define MAX_STATE 130
#define PADDING 5 /* columns that are not the call's */

static const float scales[] = {1, 1, 1e4f, 1e-4f, 0};

static void fill(float *x, int64_t n, float scale)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = random_float() * scale;
}

static float any_scale(void)
{
    return scales[random_below((int)(sizeof scales / sizeof *scales))];
}

static double softplus(double x)
{
    return x > 30 ? x : log1p(exp(x));
}

/* A matrix of rows that ends at an inaccessible page. */
static float *rows_alloc(struct input *input, int rows, int64_t stride)
{
    *input = input_alloc((size_t)(rows * stride) * sizeof(float));
    return input->data;
}

/* Outputs and the state of a call, in guarded memory with columns that must stay as they are. */
struct result {
    struct output out, state;
    int64_t out_stride, state_stride;
    int num_rows, state_rows;
    int64_t num_columns;
};

static void result_make(struct result *r, int num_rows, int state_rows, int64_t num_columns,
                        const float *state)
{
    *r = (struct result){.out_stride = num_columns + PADDING,
                         .state_stride = num_columns + PADDING,
                         .num_rows = num_rows,
                         .state_rows = state_rows,
                         .num_columns = num_columns};
    r->out = output_alloc((size_t)(num_rows * r->out_stride) * sizeof(float),
                          4 * (size_t)random_below(16));
    r->state = output_alloc((size_t)(state_rows * r->state_stride) * sizeof(float),
                            4 * (size_t)random_below(16));
    for (int i = 0; i < state_rows; i++)
        memcpy((float *)r->state.data + i * r->state_stride, state + i * num_columns,
               (size_t)num_columns * sizeof(float));
}

static void result_free(struct result *r)
{
    output_free(&r->out);
    output_free(&r->state);
}

static bool padding_intact(const struct output *output, int rows, int64_t stride)
{
    for (int i = 0; i < rows; i++) {
        const size_t end = (size_t)((i + 1) * stride) * sizeof(float);
        if (!output_untouched(output, end - PADDING * sizeof(float), end))
            return false;
    }
    return output_guards_intact(output);
}

static void check_guards(const struct result *r)
{
    check_that(padding_intact(&r->out, r->num_rows, r->out_stride), "wrote outside the output");
    check_that(padding_intact(&r->state, r->state_rows, r->state_stride),
               "wrote outside the state");
}

static void check_near(const struct result *r, const double *out, const double *state,
                       const double *out_tolerance, const double *state_tolerance)
{
    const float *got_out = r->out.data, *got_state = r->state.data;
    for (int t = 0; t < r->num_rows; t++)
        for (int64_t c = 0; c < r->num_columns; c++) {
            const double got = got_out[t * r->out_stride + c];
            const int64_t i = t * r->num_columns + c;
            check_that(fabs(got - out[i]) <= out_tolerance[i],
                       "%d rows, %d columns, state %d: out[%d][%d] = %.9g, expected %.9g",
                       r->num_rows, (int)r->num_columns, r->state_rows, t, (int)c, got, out[i]);
        }
    for (int n = 0; n < r->state_rows; n++)
        for (int64_t c = 0; c < r->num_columns; c++) {
            const double got = got_state[n * r->state_stride + c];
            const int64_t i = n * r->num_columns + c;
            check_that(fabs(got - state[i]) <= state_tolerance[i],
                       "%d rows, %d columns, state %d: state[%d][%d] = %.9g, expected %.9g",
                       r->num_rows, (int)r->num_columns, r->state_rows, n, (int)c, got, state[i]);
        }
}

static void check_equal(const struct result *a, const struct result *b, const char *how)
{
    bool equal = true;
    for (int t = 0; t < a->num_rows; t++)
        equal &= memcmp((float *)a->out.data + t * a->out_stride,
                        (float *)b->out.data + t * b->out_stride,
                        (size_t)a->num_columns * sizeof(float)) == 0;
    for (int n = 0; n < a->state_rows; n++)
        equal &= memcmp((float *)a->state.data + n * a->state_stride,
                        (float *)b->state.data + n * b->state_stride,
                        (size_t)a->num_columns * sizeof(float)) == 0;
    check_that(equal, "%d rows, %d columns, state %d: %s gives other bits", a->num_rows,
               (int)a->num_columns, a->state_rows, how);
}

/* A call that can be cut: rows [row, row + num_rows) and columns [column, column + num_columns). */
struct cuttable {
    void (*run)(const struct cuttable *c, struct result *r, int row, int num_rows, int64_t column,
                int64_t num_columns);
    const struct nano_kernels *kernels;
    const void *args; /* of the whole call, but for where results go */
    const float *state;
    int num_rows, state_rows;
    int64_t num_columns;
};

/* Runs it whole, then cut at a random row, and at a random column, into r; the caller frees r. */
static void run_cut(const struct cuttable *c, struct result *r)
{
    const int row = random_below(c->num_rows);
    const int64_t column = random_below((int)c->num_columns);
    struct result other;
    result_make(r, c->num_rows, c->state_rows, c->num_columns, c->state);
    c->run(c, r, 0, c->num_rows, 0, c->num_columns);
    check_guards(r);

    result_make(&other, c->num_rows, c->state_rows, c->num_columns, c->state);
    for (int t = 0; t < row; t++)
        c->run(c, &other, t, 1, 0, c->num_columns);
    c->run(c, &other, row, c->num_rows - row, 0, c->num_columns);
    check_equal(&other, r, "in two calls");
    check_guards(&other);
    result_free(&other);

    result_make(&other, c->num_rows, c->state_rows, c->num_columns, c->state);
    if (column)
        c->run(c, &other, 0, c->num_rows, 0, column);
    c->run(c, &other, 0, c->num_rows, column, c->num_columns - column);
    check_equal(&other, r, "cut at a column");
    check_guards(&other);
    result_free(&other);
}

static float *row_of(const struct output *output, int64_t stride, int row, int64_t column)
{
    return (float *)output->data + row * stride + column;
}

/* ---- short convolution ---- */

static void run_short_conv(const struct cuttable *c, struct result *r, int row, int num_rows,
                           int64_t column, int64_t num_columns)
{
    struct nano_short_conv_args args = *(const struct nano_short_conv_args *)c->args;
    args.in += row * args.in_stride + column;
    args.out = row_of(&r->out, r->out_stride, row, column);
    args.out_stride = r->out_stride;
    args.state = row_of(&r->state, r->state_stride, 0, column);
    args.state_stride = r->state_stride;
    args.weight += column;
    args.bias = args.bias ? args.bias + column : NULL;
    args.num_rows = num_rows;
    args.num_columns = num_columns;
    c->kernels->short_conv(&args);
}

static void short_conv_in_double(const struct nano_short_conv_args *a, const float *state,
                                 int64_t columns, double *out, double *end_state, double *tolerance)
{
    const int kept = a->kernel - 1;
    for (int t = 0; t < a->num_rows; t++)
        for (int64_t c = 0; c < columns; c++) {
            double sum = a->bias ? a->bias[c] : 0, bound = fabs(sum);
            for (int j = 0; j < a->kernel; j++) {
                const int row = t - kept + j;
                const double x =
                    row < 0 ? state[(kept + row) * columns + c] : a->in[row * a->in_stride + c];
                sum += a->weight[j * a->weight_stride + c] * x;
                bound += fabs(a->weight[j * a->weight_stride + c] * x);
            }
            out[t * columns + c] = a->silu ? sum / (1 + exp(-sum)) : sum;
            tolerance[t * columns + c] = bound * (a->kernel + 16) * 0x1p-23 + 3e-37;
        }
    for (int j = 0; j < kept; j++)
        for (int64_t c = 0; c < columns; c++) {
            const int row = a->num_rows - kept + j;
            end_state[j * columns + c] =
                row < 0 ? state[(kept + row) * columns + c] : a->in[row * a->in_stride + c];
        }
}

static void check_short_conv(const struct tiers *tiers)
{
    static double out[MAX_ROWS * MAX_COLUMNS], tolerance[MAX_ROWS * MAX_COLUMNS],
        end_state[8 * MAX_COLUMNS], exact[8 * MAX_COLUMNS];
    static float state[8 * MAX_COLUMNS];
    check_begin(tiers, "short_conv", "");
    for (int i = 0; i < 60; i++) {
        const int rows = 1 + random_below(i % 2 ? 6 : MAX_ROWS), kernel = 1 + random_below(6);
        const int columns = 1 + random_below(MAX_COLUMNS);
        const int64_t stride = columns + random_below(20);
        struct input in, weight, bias;
        struct nano_short_conv_args args = {
            .in = rows_alloc(&in, rows, stride),
            .weight = rows_alloc(&weight, kernel, stride),
            .bias = i % 3 ? rows_alloc(&bias, 1, columns) : NULL,
            .in_stride = stride,
            .weight_stride = stride,
            .num_rows = rows,
            .kernel = kernel,
            .num_columns = columns,
            .silu = i % 4 < 2,
        };
        fill(in.data, rows * stride, any_scale());
        fill(weight.data, kernel * stride, any_scale());
        if (args.bias)
            fill(bias.data, columns, any_scale());
        fill(state, (kernel - 1) * columns, any_scale());
        short_conv_in_double(&args, state, columns, out, end_state, tolerance);
        struct result r;
        run_cut(&(struct cuttable){run_short_conv, tiers->test, &args, state, rows, kernel - 1,
                                   columns},
                &r);
        check_near(&r, out, end_state, tolerance, exact);
        result_free(&r);
        input_free(&in);
        input_free(&weight);
        if (args.bias)
            input_free(&bias);
    }
    check_end();
}

/* ---- Mamba-2 ---- */

static void run_mamba2(const struct cuttable *c, struct result *r, int row, int num_rows,
                       int64_t column, int64_t num_columns)
{
    struct nano_mamba2_args args = *(const struct nano_mamba2_args *)c->args;
    args.x += row * args.in_stride + column;
    args.b += row * args.in_stride;
    args.c += row * args.in_stride;
    args.dt += row * args.dt_stride;
    args.out = row_of(&r->out, r->out_stride, row, column);
    args.out_stride = r->out_stride;
    args.state = row_of(&r->state, r->state_stride, 0, column);
    args.state_stride = r->state_stride;
    args.num_rows = num_rows;
    args.num_columns = (int)num_columns;
    c->kernels->mamba2(&args);
}

/* `bound` is the state made of absolute values. */
static void mamba2_in_double(const struct nano_mamba2_args *a, double *state, double *bound,
                             double *out, double *tolerance)
{
    const double unit = (a->num_rows * 4 + a->state_size + 16) * 0x1p-23;
    for (int t = 0; t < a->num_rows; t++) {
        const double dt = softplus((double)(a->dt[t * a->dt_stride] + a->dt_bias));
        const double decay = exp(dt * a->a);
        for (int i = 0; i < a->num_columns; i++) {
            const double x = a->x[t * a->in_stride + i];
            double y = a->d * x, y_bound = fabs(y);
            for (int n = 0; n < a->state_size; n++) {
                const double b = a->b[t * a->in_stride + n], c = a->c[t * a->in_stride + n];
                double *h = &state[n * a->num_columns + i],
                       *h_bound = &bound[n * a->num_columns + i];
                *h = *h * decay + dt * b * x;
                *h_bound = *h_bound * decay * (1 + dt * fabs(a->a) * 1e-2) + fabs(dt * b * x);
                y += c * *h;
                y_bound += fabs(c) * *h_bound;
            }
            out[t * a->num_columns + i] = y;
            tolerance[t * a->num_columns + i] = y_bound * unit + 1e-35;
        }
    }
    for (int i = 0; i < a->state_size * a->num_columns; i++)
        bound[i] = bound[i] * unit + 1e-35;
}

static void check_mamba2(const struct tiers *tiers)
{
    static double out[MAX_ROWS * MAX_COLUMNS], tolerance[MAX_ROWS * MAX_COLUMNS],
        state[MAX_STATE * MAX_COLUMNS], bound[MAX_STATE * MAX_COLUMNS];
    static float begin[MAX_STATE * MAX_COLUMNS];
    check_begin(tiers, "mamba2", "");
    for (int i = 0; i < 60; i++) {
        const int rows = 1 + random_below(i % 2 ? 4 : MAX_ROWS);
        const int columns = i % 5 ? 1 + random_below(MAX_COLUMNS) : 64;
        const int size = i % 5 ? 1 + random_below(MAX_STATE) : 128;
        const int64_t stride = 2 * size + columns;
        struct input in, dt;
        float *b = rows_alloc(&in, rows, stride);
        struct nano_mamba2_args args = {
            .b = b,
            .c = b + size,
            .x = b + 2 * size,
            .in_stride = stride,
            .dt = rows_alloc(&dt, rows, 3),
            .dt_stride = 3,
            .a = -fabsf(random_float()) * (float)(1 << random_below(5)),
            .d = random_float(),
            .dt_bias = random_float() * 4,
            .num_rows = rows,
            .num_columns = columns,
            .state_size = size,
        };
        fill(in.data, rows * stride, any_scale());
        fill(dt.data, rows * 3, i % 3 ? 6 : 60);
        fill(begin, size * columns, any_scale());
        for (int k = 0; k < size * columns; k++) {
            state[k] = begin[k];
            bound[k] = fabs(state[k]);
        }
        mamba2_in_double(&args, state, bound, out, tolerance);
        struct result r;
        run_cut(&(struct cuttable){run_mamba2, tiers->test, &args, begin, rows, size, columns}, &r);
        check_near(&r, out, state, tolerance, bound);
        result_free(&r);
        input_free(&in);
        input_free(&dt);
    }
    check_end();
}

/* ---- the gated delta rule ---- */

static void run_delta_net(const struct cuttable *c, struct result *r, int row, int num_rows,
                          int64_t column, int64_t num_columns)
{
    struct nano_delta_net_args args = *(const struct nano_delta_net_args *)c->args;
    args.q += row * args.in_stride;
    args.k += row * args.in_stride;
    args.v += row * args.in_stride + column;
    args.alpha += row * args.alpha_stride;
    args.beta += row * args.beta_stride;
    args.out = row_of(&r->out, r->out_stride, row, column);
    args.out_stride = r->out_stride;
    args.state = row_of(&r->state, r->state_stride, 0, column);
    args.state_stride = r->state_stride;
    args.num_rows = num_rows;
    args.num_columns = (int)num_columns;
    c->kernels->delta_net(&args);
}

static void unit_vector(double *y, const float *x, int n, double eps)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    for (int i = 0; i < n; i++)
        y[i] = x[i] / fmax(sqrt(sum), eps);
}

/* A column of the state is at most as long as it was plus all of its v: k is of length 1 and beta
 * below 1, so a row never makes it longer but by v. `length` [columns] begins as the length. */
static void delta_net_in_double(const struct nano_delta_net_args *a, double *state, double *length,
                                double *out, double *tolerance)
{
    const double unit = (a->num_rows * 4 + a->state_size + 32) * 0x1p-23;
    const int columns = a->num_columns;
    double k[MAX_STATE], q[MAX_STATE];
    for (int t = 0; t < a->num_rows; t++) {
        unit_vector(k, a->k + t * a->in_stride, a->state_size, a->eps);
        unit_vector(q, a->q + t * a->in_stride, a->state_size, a->eps);
        const double decay =
            exp(a->a * softplus((double)(a->alpha[t * a->alpha_stride] + a->alpha_bias)));
        const double beta = 1 / (1 + exp(-(double)a->beta[t * a->beta_stride]));
        for (int c = 0; c < columns; c++) {
            double found = 0, sum = 0;
            for (int n = 0; n < a->state_size; n++)
                found += k[n] * (state[n * columns + c] *= decay);
            for (int n = 0; n < a->state_size; n++) {
                state[n * columns + c] += k[n] * beta * (a->v[t * a->in_stride + c] - found);
                sum += q[n] * state[n * columns + c];
            }
            length[c] += fabs((double)a->v[t * a->in_stride + c]);
            out[t * columns + c] = sum / sqrt(a->state_size);
            tolerance[t * columns + c] = length[c] * unit + 1e-35;
        }
    }
}

static void check_delta_net(const struct tiers *tiers)
{
    static double out[MAX_ROWS * MAX_COLUMNS], tolerance[MAX_ROWS * MAX_COLUMNS],
        state[MAX_STATE * MAX_COLUMNS], state_tolerance[MAX_STATE * MAX_COLUMNS],
        length[MAX_COLUMNS];
    static float begin[MAX_STATE * MAX_COLUMNS], scratch[NANO_DELTA_NET_SCRATCH(MAX_STATE)];
    check_begin(tiers, "delta_net", "");
    for (int i = 0; i < 60; i++) {
        const int rows = 1 + random_below(i % 2 ? 4 : MAX_ROWS);
        const int columns = i % 5 ? 1 + random_below(MAX_COLUMNS) : 128;
        const int size = i % 5 ? 1 + random_below(MAX_STATE) : 128;
        const int64_t stride = 2 * size + columns;
        struct input in, gates;
        float *q = rows_alloc(&in, rows, stride), *alpha = rows_alloc(&gates, rows, 4);
        struct nano_delta_net_args args = {
            .q = q,
            .k = q + size,
            .v = q + 2 * size,
            .in_stride = stride,
            .alpha = alpha,
            .beta = alpha + 3,
            .alpha_stride = 4,
            .beta_stride = 4,
            .a = -fabsf(random_float()) * (float)(1 << random_below(5)),
            .alpha_bias = random_float() * 4,
            .eps = i % 2 ? 1e-6f : 1e-2f,
            .num_rows = rows,
            .num_columns = columns,
            .state_size = size,
            .scratch = scratch,
        };
        fill(in.data, rows * stride, any_scale());
        fill(gates.data, rows * 4, i % 3 ? 6 : 60);
        fill(begin, size * columns, any_scale());
        for (int c = 0; c < columns; c++) {
            double sum = 0;
            for (int n = 0; n < size; n++) {
                state[n * columns + c] = begin[n * columns + c];
                sum += state[n * columns + c] * state[n * columns + c];
            }
            length[c] = sqrt(sum);
        }
        delta_net_in_double(&args, state, length, out, tolerance);
        for (int k = 0; k < size * columns; k++)
            state_tolerance[k] = tolerance[(rows - 1) * columns + k % columns];
        struct result r;
        run_cut(&(struct cuttable){run_delta_net, tiers->test, &args, begin, rows, size, columns},
                &r);
        check_near(&r, out, state, tolerance, state_tolerance);
        result_free(&r);
        input_free(&in);
        input_free(&gates);
    }
    check_end();
}

void check_recurrent(const struct tiers *tiers)
{
    check_short_conv(tiers);
    check_mamba2(tiers);
    check_delta_net(tiers);
}
