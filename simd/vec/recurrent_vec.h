/* short_conv, mamba2 and delta_net for any instruction set with a vec_<isa>.h, which comes first
 * together with math_vec.h. Included by one file of each folder.
 *
 * A lane is a column, so that no sum crosses lanes, and each sum over the state is one chain in the
 * order of n, whichever tile a column is in and however rows are cut into calls: the same bits for
 * a prompt and for the same tokens one by one. */
#include <math.h>
#include <string.h>

/* Lanes of a tile's vectors: VEC_LANES, or fewer where there is one vector. */
NANO_INLINE vec load_lanes(const float *p, int lanes)
{
    return lanes == VEC_LANES ? vec_load(p) : vec_load_part(p, lanes);
}

NANO_INLINE void store_lanes(float *p, vec x, int lanes)
{
    if (lanes == VEC_LANES)
        vec_store(p, x);
    else
        vec_store_part(p, x, lanes);
}

NANO_INLINE vec vec_sigmoid(vec x)
{
    return vec_div(vec_set1(1), vec_add(vec_set1(1), vec_exp(vec_sub(vec_zero(), x))));
}

/* ---- short convolution ---- */

/* The input row `row`, of which those before 0 are in the state. */
NANO_INLINE const float *conv_row(const struct nano_short_conv_args *a, int row)
{
    return row < 0 ? a->state + (a->kernel - 1 + row) * a->state_stride
                   : a->in + row * a->in_stride;
}

/* n vectors of columns of a row. */
NANO_INLINE void conv_columns(const struct nano_short_conv_args *a, int row, int64_t column,
                              const int n, int lanes)
{
    vec sum[4];
    NANO_UNROLL
    for (int v = 0; v < n; v++)
        sum[v] = a->bias ? load_lanes(a->bias + column + v * VEC_LANES, lanes) : vec_zero();
    for (int j = 0; j < a->kernel; j++) {
        const float *x = conv_row(a, row - a->kernel + 1 + j) + column;
        const float *weight = a->weight + j * a->weight_stride + column;
        NANO_UNROLL
        for (int v = 0; v < n; v++)
            sum[v] = vec_fma(load_lanes(weight + v * VEC_LANES, lanes),
                             load_lanes(x + v * VEC_LANES, lanes), sum[v]);
    }
    float *out = a->out + row * a->out_stride + column;
    NANO_UNROLL
    for (int v = 0; v < n; v++)
        store_lanes(out + v * VEC_LANES, a->silu ? vec_mul(sum[v], vec_sigmoid(sum[v])) : sum[v],
                    lanes);
}

void VEC_NAME(nano_short_conv)(const struct nano_short_conv_args *a)
{
    const int64_t n = a->num_columns;
    for (int row = 0; row < a->num_rows; row++) {
        int64_t column = 0;
        for (; column + 4 * VEC_LANES <= n; column += 4 * VEC_LANES)
            conv_columns(a, row, column, 4, VEC_LANES);
        for (; column + VEC_LANES <= n; column += VEC_LANES)
            conv_columns(a, row, column, 1, VEC_LANES);
        if (column < n)
            conv_columns(a, row, column, 1, (int)(n - column));
    }
    for (int j = 0; j < a->kernel - 1; j++)
        memmove(a->state + j * a->state_stride, conv_row(a, a->num_rows - a->kernel + 1 + j),
                (size_t)n * sizeof(float));
}

/* ---- what the recurrences share ---- */

/* softplus[t] of x[t * stride] + bias and decay[t] = exp(a * softplus[t]). */
NANO_INLINE void make_decays(float *softplus, float *decay, const float *x, int64_t stride,
                             int count, float bias, float a)
{
    for (int t = 0; t < count; t++)
        softplus[t] = x[t * stride] + bias;
    for (int t = 0; t < count; t += VEC_LANES) {
        const int lanes = count - t < VEC_LANES ? count - t : VEC_LANES;
        const vec s = vec_softplus(vec_load_part(softplus + t, lanes));
        vec_store_part(softplus + t, s, lanes);
        vec_store_part(decay + t, vec_exp(vec_mul(s, vec_set1(a))), lanes);
    }
}

/* ---- Mamba-2 ---- */

enum {
    MAMBA2_VECTORS = VEC_REGISTERS == 32 ? 4 : 2, /* columns of a tile */
    MAMBA2_SLOTS = 4                              /* elements of the state in registers */
};

/* Rows [first, first + count) of n vectors of columns, with `slots` elements of the state from
 * `slot` on in registers. Sums are in `out` between calls. */
NANO_INLINE void mamba2_slots(const struct nano_mamba2_args *a, const float *dt, const float *decay,
                              int first, int count, int column, int slot, const int slots,
                              const int n, int lanes)
{
    vec h[MAMBA2_SLOTS][MAMBA2_VECTORS], y[MAMBA2_VECTORS], dt_x[MAMBA2_VECTORS];
    float *state = a->state + slot * a->state_stride + column;
    NANO_UNROLL
    for (int s = 0; s < slots; s++) {
        NANO_UNROLL
        for (int v = 0; v < n; v++)
            h[s][v] = load_lanes(state + s * a->state_stride + v * VEC_LANES, lanes);
    }
    for (int t = 0; t < count; t++) {
        const int64_t in_row = (first + t) * a->in_stride;
        const float *x = a->x + in_row + column, *b = a->b + in_row + slot,
                    *c = a->c + in_row + slot;
        float *out = a->out + (first + t) * a->out_stride + column;
        const vec keep = vec_set1(decay[t]);
        NANO_UNROLL
        for (int v = 0; v < n; v++) {
            dt_x[v] = vec_mul(load_lanes(x + v * VEC_LANES, lanes), vec_set1(dt[t]));
            y[v] = load_lanes(out + v * VEC_LANES, lanes);
        }
        NANO_UNROLL
        for (int s = 0; s < slots; s++) {
            NANO_UNROLL
            for (int v = 0; v < n; v++) {
                h[s][v] = vec_fma(h[s][v], keep, vec_mul(vec_set1(b[s]), dt_x[v]));
                y[v] = vec_fma(h[s][v], vec_set1(c[s]), y[v]);
            }
        }
        NANO_UNROLL
        for (int v = 0; v < n; v++)
            store_lanes(out + v * VEC_LANES, y[v], lanes);
    }
    NANO_UNROLL
    for (int s = 0; s < slots; s++) {
        NANO_UNROLL
        for (int v = 0; v < n; v++)
            store_lanes(state + s * a->state_stride + v * VEC_LANES, h[s][v], lanes);
    }
}

/* The same of one row and the whole state, whose sums stay in registers instead. */
NANO_INLINE void mamba2_row(const struct nano_mamba2_args *a, float dt, float decay, int row,
                            int column, const int n, int lanes)
{
    vec y[MAMBA2_VECTORS], dt_x[MAMBA2_VECTORS];
    const float *x = a->x + row * a->in_stride + column, *b = a->b + row * a->in_stride,
                *c = a->c + row * a->in_stride;
    float *state = a->state + column, *out = a->out + row * a->out_stride + column;
    NANO_UNROLL
    for (int v = 0; v < n; v++) {
        dt_x[v] = vec_mul(load_lanes(x + v * VEC_LANES, lanes), vec_set1(dt));
        y[v] = load_lanes(out + v * VEC_LANES, lanes);
    }
    for (int slot = 0; slot < a->state_size; slot++, state += a->state_stride) {
        NANO_UNROLL
        for (int v = 0; v < n; v++) {
            vec h = vec_fma(load_lanes(state + v * VEC_LANES, lanes), vec_set1(decay),
                            vec_mul(vec_set1(b[slot]), dt_x[v]));
            store_lanes(state + v * VEC_LANES, h, lanes);
            y[v] = vec_fma(h, vec_set1(c[slot]), y[v]);
        }
    }
    NANO_UNROLL
    for (int v = 0; v < n; v++)
        store_lanes(out + v * VEC_LANES, y[v], lanes);
}

NANO_INLINE void mamba2_tile(const struct nano_mamba2_args *a, const float *dt, const float *decay,
                             int first, int count, int column, const int n, int lanes)
{
    for (int t = first; t < first + count; t++) {
        NANO_UNROLL
        for (int v = 0; v < n; v++) {
            const int64_t i = column + v * VEC_LANES;
            store_lanes(a->out + t * a->out_stride + i,
                        vec_mul(load_lanes(a->x + t * a->in_stride + i, lanes), vec_set1(a->d)),
                        lanes);
        }
    }
    if (count == 1) {
        mamba2_row(a, dt[0], decay[0], first, column, n, lanes);
        return;
    }
    int slot = 0;
    for (; slot + MAMBA2_SLOTS <= a->state_size; slot += MAMBA2_SLOTS)
        mamba2_slots(a, dt, decay, first, count, column, slot, MAMBA2_SLOTS, n, lanes);
    for (; slot < a->state_size; slot++)
        mamba2_slots(a, dt, decay, first, count, column, slot, 1, n, lanes);
}

void VEC_NAME(nano_mamba2)(const struct nano_mamba2_args *a)
{
    float dt[NANO_RECURRENT_ROWS], decay[NANO_RECURRENT_ROWS];
    for (int first = 0; first < a->num_rows; first += NANO_RECURRENT_ROWS) {
        const int left = a->num_rows - first;
        const int count = left < NANO_RECURRENT_ROWS ? left : NANO_RECURRENT_ROWS;
        make_decays(dt, decay, a->dt + first * a->dt_stride, a->dt_stride, count, a->dt_bias, a->a);
        int column = 0;
        for (; column + MAMBA2_VECTORS * VEC_LANES <= a->num_columns;
             column += MAMBA2_VECTORS * VEC_LANES)
            mamba2_tile(a, dt, decay, first, count, column, MAMBA2_VECTORS, VEC_LANES);
        for (; column + VEC_LANES <= a->num_columns; column += VEC_LANES)
            mamba2_tile(a, dt, decay, first, count, column, 1, VEC_LANES);
        if (column < a->num_columns)
            mamba2_tile(a, dt, decay, first, count, column, 1, a->num_columns - column);
    }
}

/* ---- the gated delta rule ---- */

enum { DELTA_VECTORS = VEC_LANES == 16 ? 2 : 4 }; /* columns of a tile: their state stays in L1 */

/* Some rows, prepared. */
struct delta_rows {
    int first, count;
    const float *k, *q; /* [count, state_size] normalised */
    float k_q[NANO_RECURRENT_ROWS], decay[NANO_RECURRENT_ROWS], beta[NANO_RECURRENT_ROWS];
};

NANO_INLINE void normalize(float *y, const float *x, int n, float eps, float scale)
{
    vec_double sum = vec_double_zero();
    for (int i = 0; i < n; i += VEC_LANES)
        sum = vec_double_add_squares(sum,
                                     vec_load_part(x + i, n - i < VEC_LANES ? n - i : VEC_LANES));
    const vec factor = vec_set1(scale / fmaxf(sqrtf((float)vec_double_sum(sum)), eps));
    for (int i = 0; i < n; i += VEC_LANES) {
        const int lanes = n - i < VEC_LANES ? n - i : VEC_LANES;
        vec_store_part(y + i, vec_mul(vec_load_part(x + i, lanes), factor), lanes);
    }
}

NANO_INLINE float dot(const float *x, const float *y, int n)
{
    vec sum = vec_zero();
    for (int i = 0; i < n; i += VEC_LANES) {
        const int lanes = n - i < VEC_LANES ? n - i : VEC_LANES;
        sum = vec_fma(vec_load_part(x + i, lanes), vec_load_part(y + i, lanes), sum);
    }
    return vec_sum(sum);
}

static void delta_prepare(const struct nano_delta_net_args *a, struct delta_rows *rows)
{
    const int size = a->state_size;
    float *k = a->scratch, *q = k + NANO_RECURRENT_ROWS * size, softplus[NANO_RECURRENT_ROWS];
    for (int t = 0; t < rows->count; t++, k += size, q += size) {
        const int64_t in_row = (rows->first + t) * a->in_stride;
        normalize(k, a->k + in_row, size, a->eps, 1);
        normalize(q, a->q + in_row, size, a->eps, 1 / sqrtf((float)size));
        rows->k_q[t] = dot(k, q, size);
        rows->beta[t] = a->beta[(rows->first + t) * a->beta_stride];
    }
    make_decays(softplus, rows->decay, a->alpha + rows->first * a->alpha_stride, a->alpha_stride,
                rows->count, a->alpha_bias, a->a);
    for (int t = 0; t < rows->count; t += VEC_LANES) {
        const int lanes = rows->count - t < VEC_LANES ? rows->count - t : VEC_LANES;
        vec_store_part(rows->beta + t, vec_sigmoid(vec_load_part(rows->beta + t, lanes)), lanes);
    }
}

/* What k and q of a row find in the state before it decays. */
struct delta_found {
    vec k[DELTA_VECTORS], q[DELTA_VECTORS];
};

NANO_INLINE struct delta_found delta_find(const struct nano_delta_net_args *a, int column,
                                          const float *k, const float *q, const int n, int lanes)
{
    struct delta_found found;
    const float *state = a->state + column;
    NANO_UNROLL
    for (int v = 0; v < n; v++)
        found.k[v] = found.q[v] = vec_zero();
    for (int i = 0; i < a->state_size; i++, state += a->state_stride) {
        NANO_UNROLL
        for (int v = 0; v < n; v++) {
            const vec s = load_lanes(state + v * VEC_LANES, lanes);
            found.k[v] = vec_fma(s, vec_set1(k[i]), found.k[v]);
            found.q[v] = vec_fma(s, vec_set1(q[i]), found.q[v]);
        }
    }
    return found;
}

/* The state after a row, and what the next row's k and q find in it. */
NANO_INLINE struct delta_found delta_update(const struct nano_delta_net_args *a, int column,
                                            float decay, const float *k, const vec *change,
                                            const float *next_k, const float *next_q, const int n,
                                            int lanes)
{
    struct delta_found found;
    float *state = a->state + column;
    NANO_UNROLL
    for (int v = 0; v < n; v++)
        found.k[v] = found.q[v] = vec_zero();
    for (int i = 0; i < a->state_size; i++, state += a->state_stride) {
        NANO_UNROLL
        for (int v = 0; v < n; v++) {
            vec s = load_lanes(state + v * VEC_LANES, lanes);
            s = vec_fma(s, vec_set1(decay), vec_mul(vec_set1(k[i]), change[v]));
            store_lanes(state + v * VEC_LANES, s, lanes);
            found.k[v] = vec_fma(s, vec_set1(next_k[i]), found.k[v]);
            found.q[v] = vec_fma(s, vec_set1(next_q[i]), found.q[v]);
        }
    }
    return found;
}

/* The output is q's part of the decayed state plus what the row's change adds to it, so that the
 * state is passed over once per row. */
NANO_INLINE void delta_tile(const struct nano_delta_net_args *a, const struct delta_rows *rows,
                            int column, const int n, int lanes)
{
    const int size = a->state_size;
    struct delta_found found = delta_find(a, column, rows->k, rows->q, n, lanes);
    for (int t = 0; t < rows->count; t++) {
        const float *v_row = a->v + (rows->first + t) * a->in_stride + column;
        float *out = a->out + (rows->first + t) * a->out_stride + column;
        const vec decay = vec_set1(rows->decay[t]);
        vec change[DELTA_VECTORS];
        NANO_UNROLL
        for (int v = 0; v < n; v++) {
            const vec error = vec_fma(vec_set1(-rows->decay[t]), found.k[v],
                                      load_lanes(v_row + v * VEC_LANES, lanes));
            change[v] = vec_mul(error, vec_set1(rows->beta[t]));
            store_lanes(out + v * VEC_LANES,
                        vec_fma(change[v], vec_set1(rows->k_q[t]), vec_mul(decay, found.q[v])),
                        lanes);
        }
        const int next = t + 1 < rows->count ? t + 1 : t;
        found = delta_update(a, column, rows->decay[t], rows->k + t * size, change,
                             rows->k + next * size, rows->q + next * size, n, lanes);
    }
}

void VEC_NAME(nano_delta_net)(const struct nano_delta_net_args *a)
{
    struct delta_rows rows = {.k = a->scratch,
                              .q = a->scratch + NANO_RECURRENT_ROWS * a->state_size};
    for (rows.first = 0; rows.first < a->num_rows; rows.first += NANO_RECURRENT_ROWS) {
        const int left = a->num_rows - rows.first;
        rows.count = left < NANO_RECURRENT_ROWS ? left : NANO_RECURRENT_ROWS;
        delta_prepare(a, &rows);
        int column = 0;
        for (; column + DELTA_VECTORS * VEC_LANES <= a->num_columns;
             column += DELTA_VECTORS * VEC_LANES)
            delta_tile(a, &rows, column, DELTA_VECTORS, VEC_LANES);
        for (; column + VEC_LANES <= a->num_columns; column += VEC_LANES)
            delta_tile(a, &rows, column, 1, VEC_LANES);
        if (column < a->num_columns)
            delta_tile(a, &rows, column, 1, a->num_columns - column);
    }
}
