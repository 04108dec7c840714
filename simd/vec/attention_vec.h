/* Attention for any instruction set with a vec_<isa>.h, which comes first together with math_vec.h
 * and attention_tile_vec.h. Included by one file of each folder.
 *
 * A "row" is one query of one head; rows are numbered query by query, so that later ones see at
 * least as much. A pass takes up to NANO_ATTENTION_ROWS rows through the ranges of positions
 * (NANO_ATTENTION_SPLIT) in spans of 64; what a row does at a position depends on the position
 * alone. Scores are powers of two: log2(e) is a factor of q. */
#include <math.h>
#include <string.h>

#include "simd/kv_layout.h"

enum {
    BLOCK_ROWS = 24, /* whose scores are computed before the first is used */
    /* From this many rows on, K and V are converted to f32 once instead of in every tile. */
    CONVERT_ROWS = MAX_TILE_ROWS + 1
};

/* A pass. What is per row is indexed by the row's number in the pass. */
struct pass {
    const struct nano_attention_args *args;
    int first_row, num_rows;
    int dim, padded_dim; /* to a multiple of 16 */
    bool convert;
    float *q;    /* [dim], times scale * log2(e) */
    float *out;  /* [padded_dim]: of the current range */
    float *sums; /* [VEC_LANES] */
    float *max;
    int visible[NANO_ATTENTION_ROWS]; /* positions */
    float *all_max, *all_sum;         /* of the ranges before */
    float *scores;                    /* [BLOCK_ROWS][SPAN] */
    float *k, *v;                     /* a converted span */
    float *k_scales, *v_scales;
};

static int padded(int n)
{
    return (n + NANO_KV_GROUP - 1) / NANO_KV_GROUP * NANO_KV_GROUP;
}

/* Lays the arrays out in scratch; returns how many floats they take. */
static size_t lay_out(struct pass *pass, float *scratch, int dim)
{
    const size_t rows = (size_t)padded(NANO_ATTENTION_ROWS);
    const size_t sizes[] = {(size_t)padded(dim) * rows,
                            (size_t)padded(dim) * rows,
                            VEC_LANES * rows,
                            rows,
                            rows,
                            rows,
                            (size_t)BLOCK_ROWS * SPAN,
                            (size_t)padded(dim) * SPAN,
                            (size_t)padded(dim) * SPAN,
                            SPAN,
                            SPAN};
    float **const arrays[] = {&pass->q,       &pass->out,      &pass->sums,    &pass->max,
                              &pass->all_max, &pass->all_sum,  &pass->scores,  &pass->k,
                              &pass->v,       &pass->k_scales, &pass->v_scales};
    size_t used = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *arrays[i] = scratch ? scratch + used : NULL;
        used += sizes[i];
    }
    return used;
}

size_t VEC_NAME(nano_attention_scratch_floats)(int head_dim)
{
    struct pass pass;
    return lay_out(&pass, NULL, head_dim);
}

/* A partial result: out, then max and sum. */
size_t VEC_NAME(nano_attention_partial_floats)(int head_dim)
{
    return (size_t)padded(head_dim) + NANO_KV_GROUP;
}

/* ---- K and V of a span ---- */

/* Token `position` in both pools: its group, and its place there. */
struct place {
    const char *k, *v;
    int index;
};

static struct place find_place(const struct nano_attention_args *args, int position)
{
    const struct nano_kv_layout *kv = &args->kv;
    const int offset = position % kv->block_size;
    const size_t at = nano_kv_group_offset(kv, args->block_table[position / kv->block_size], offset,
                                           args->kv_head);
    return (struct place){(const char *)args->k_pool + at, (const char *)args->v_pool + at,
                          offset % nano_kv_group_tokens(kv)};
}

NANO_INLINE void convert(enum nano_kv_format format, float *to, const char *from, int n)
{
    const size_t bytes = nano_kv_value_bytes(format);
    int i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES)
        vec_store(to + i, load_values(format, from + (size_t)i * bytes));
    if (i < n) {
        char rest[VEC_LANES * sizeof(float)] = {0};
        memcpy(rest, from + (size_t)i * bytes, (size_t)(n - i) * bytes);
        vec_store_part(to + i, load_values(format, rest), n - i);
    }
}

/* Groups of 16 tokens in the pool: used where they are, or converted. Those that the n positions do
 * not reach repeat the last one; what is computed from them is not used. */
NANO_INLINE void find_groups(const struct pass *pass, enum nano_kv_format format, int begin, int n,
                             struct span *span)
{
    const int dim = pass->dim;
    const size_t scales = nano_kv_scales_offset(&pass->args->kv);
    span->v_stride = (size_t)dim * nano_kv_value_bytes(format);
    for (int g = 0; g < SPAN_GROUPS; g++) {
        const int last = (n - 1) / NANO_KV_GROUP, group = g < last ? g : last;
        const struct place place = find_place(pass->args, begin + group * NANO_KV_GROUP);
        span->k[g] = place.k;
        span->v[g] = place.v;
        if (format == NANO_KV_FORMAT_Q8_0) {
            span->k_scales[g] = (const float *)(const void *)(place.k + scales);
            span->v_scales[g] = (const float *)(const void *)(place.v + scales);
        }
    }
}

NANO_INLINE void convert_groups(const struct pass *pass, enum nano_kv_format format, int n,
                                struct span *span)
{
    const int dim = pass->dim, stride = pass->padded_dim;
    for (int g = 0; g < SPAN_GROUPS; g++) {
        float *k = pass->k + (size_t)(g * NANO_KV_GROUP) * (size_t)dim;
        float *v = pass->v + (size_t)(g * NANO_KV_GROUP) * (size_t)stride;
        if (g * NANO_KV_GROUP < n) {
            convert(format, k, span->k[g], NANO_KV_GROUP * dim);
            if (dim == stride) {
                convert(format, v, span->v[g], NANO_KV_GROUP * dim);
            } else {
                for (int p = 0; p < NANO_KV_GROUP; p++)
                    convert(format, v + p * stride, span->v[g] + (size_t)p * span->v_stride, dim);
            }
        }
        span->k[g] = (const char *)k;
        span->v[g] = (const char *)v;
    }
    span->v_stride = (size_t)stride * sizeof(float);
}

/* Groups of one token: K is transposed. */
NANO_INLINE void convert_tokens(const struct pass *pass, enum nano_kv_format format, int begin,
                                int n, struct span *span)
{
    const int dim = pass->dim;
    const size_t scales = nano_kv_scales_offset(&pass->args->kv);
    for (int p = 0; p < n; p++) {
        const struct place place = find_place(pass->args, begin + p);
        float *row = pass->v + (size_t)p * (size_t)pass->padded_dim;
        float *column =
            pass->k + (size_t)(p / NANO_KV_GROUP * NANO_KV_GROUP) * (size_t)dim + p % NANO_KV_GROUP;
        convert(format, row, place.k, dim);
        for (int i = 0; i < dim; i++)
            column[i * NANO_KV_GROUP] = row[i];
        convert(format, row, place.v, dim);
        if (format == NANO_KV_FORMAT_Q8_0) {
            memcpy(&pass->k_scales[p], place.k + scales, sizeof(float));
            memcpy(&pass->v_scales[p], place.v + scales, sizeof(float));
        }
    }
    for (int g = 0; g < SPAN_GROUPS; g++) {
        const size_t first = (size_t)(g * NANO_KV_GROUP);
        span->k[g] = (const char *)(pass->k + first * (size_t)dim);
        span->v[g] = (const char *)(pass->v + first * (size_t)pass->padded_dim);
        span->k_scales[g] = pass->k_scales + first;
        span->v_scales[g] = pass->v_scales + first;
    }
    span->v_stride = (size_t)pass->padded_dim * sizeof(float);
}

/* ---- softmax ---- */

/* Makes a row's products its scores of n positions, the rest -infinity. Returns the largest one. */
NANO_INLINE float find_max(const struct span *span, enum nano_kv_format format, float *scores,
                           int n, float max)
{
    vec largest = vec_set1(max);
    if (n == SPAN && format != NANO_KV_FORMAT_Q8_0) {
        NANO_UNROLL
        for (int p = 0; p < SPAN; p += VEC_LANES)
            largest = vec_max(largest, vec_load(scores + p));
        return vec_max_lane(largest);
    }
    NANO_UNROLL
    for (int p = 0; p < SPAN; p += VEC_LANES) {
        vec x = vec_load(scores + p);
        if (format == NANO_KV_FORMAT_Q8_0)
            x = vec_mul(x, vec_load(span->k_scales[p / NANO_KV_GROUP] + p % NANO_KV_GROUP));
        x = vec_first_lanes(n - p, x, vec_set1(-INFINITY));
        vec_store(scores + p, x);
        largest = vec_max(largest, x);
    }
    return vec_max_lane(largest);
}

/* Scores become weights of V. */
NANO_INLINE void soften(const struct span *span, enum nano_kv_format format, float *scores,
                        float max, float keep, float *sums)
{
    vec total = vec_zero();
    NANO_UNROLL
    for (int first = 0; first < SPAN; first += 4 * VEC_LANES) {
        vec e[4];
        NANO_UNROLL
        for (int j = 0; j < 4; j++)
            e[j] = vec_sub(vec_load(scores + first + j * VEC_LANES), vec_set1(max));
        vec_exp2(e, 4);
        NANO_UNROLL
        for (int j = 0; j < 4; j++) {
            const int p = first + j * VEC_LANES;
            total = vec_add(total, e[j]);
            if (format == NANO_KV_FORMAT_Q8_0)
                e[j] =
                    vec_mul(e[j], vec_load(span->v_scales[p / NANO_KV_GROUP] + p % NANO_KV_GROUP));
            vec_store(scores + p, e[j]);
        }
    }
    vec_store(sums, vec_fma(vec_load(sums), vec_set1(keep), total));
}

/* ---- the walk ---- */

NANO_INLINE int clamp(int n, int max)
{
    return n < 0 ? 0 : n < max ? n : max;
}

/* The size of the next tile: no tile is much smaller than the others. */
NANO_INLINE int tile_rows(int left, bool converted)
{
    const int most = converted ? 6 : MAX_TILE_ROWS;
    return left <= most ? left : left < 2 * most ? (left + 1) / 2 : most;
}

/* Rows [first, first + num_rows), at most BLOCK_ROWS, over the n positions of a span. own[r] of
 * them are seen by row r, 1 at least. */
NANO_INLINE void attend_block(const struct pass *pass, const struct span *span,
                              enum nano_kv_format stored, bool converted, int first, int num_rows,
                              const int own[BLOCK_ROWS])
{
    const enum nano_kv_format format = converted ? NANO_KV_FORMAT_F32 : stored;
    const int dim = pass->dim, stride = pass->padded_dim;
    float *q = pass->q + (size_t)first * (size_t)dim;
    float *out = pass->out + (size_t)first * (size_t)stride;
    float keep[(BLOCK_ROWS + VEC_LANES - 1) / VEC_LANES * VEC_LANES];
    float *max = pass->max + first;
    for (int r = 0, size; r < num_rows; r += size) {
        size = tile_rows(num_rows - r, converted);
        score_rows(span, format, q + r * dim, dim, pass->scores + r * SPAN,
                   (own[r + size - 1] + VEC_LANES - 1) / VEC_LANES, size);
    }
    for (int r = 0; r < num_rows; r++) {
        const float new_max = find_max(span, stored, pass->scores + r * SPAN, own[r], max[r]);
        keep[r] = max[r] - new_max;
        max[r] = new_max;
    }
    for (int r = 0; r < num_rows; r += VEC_LANES) {
        const int lanes = clamp(num_rows - r, VEC_LANES);
        vec change = vec_load_part(keep + r, lanes);
        vec_exp2(&change, 1);
        vec_store(keep + r, change);
    }
    for (int r = 0; r < num_rows; r++)
        soften(span, stored, pass->scores + r * SPAN, max[r], keep[r],
               pass->sums + (size_t)(first + r) * VEC_LANES);
    for (int r = 0, size; r < num_rows; r += size) {
        size = tile_rows(num_rows - r, converted);
        weigh_rows(span, format, pass->scores + r * SPAN, out + r * stride, stride, keep + r, 0,
                   own[r], size);
        static const float one = 1;
        for (int k = r; k < r + size; k++)
            if (own[k] > own[r])
                weigh_tile(span, format, pass->scores + k * SPAN, out + k * stride, stride, &one,
                           own[r], own[k], 1);
    }
}

/* One body for all formats. */
static __attribute__((noinline)) void
attend_converted_block(const struct pass *pass, const struct span *span, enum nano_kv_format stored,
                       int first, int num_rows, const int own[BLOCK_ROWS])
{
    attend_block(pass, span, stored, true, first, num_rows, own);
}

/* The pass over positions [begin, end) of a span. */
NANO_INLINE void attend_span(const struct pass *pass, enum nano_kv_format format, int begin,
                             int end)
{
    struct span span;
    const int n = end - begin;
    const bool tokens = nano_kv_group_tokens(&pass->args->kv) == 1;
    int row = 0;
    if (tokens) {
        convert_tokens(pass, format, begin, n, &span);
    } else {
        find_groups(pass, format, begin, n, &span);
        if (pass->convert)
            convert_groups(pass, format, n, &span);
    }
    while (row < pass->num_rows && pass->visible[row] <= begin)
        row++;
    for (int size; row < pass->num_rows; row += size) {
        int own[BLOCK_ROWS];
        size = clamp(pass->num_rows - row, BLOCK_ROWS);
        for (int r = 0; r < size; r++)
            own[r] = clamp(pass->visible[row + r] - begin, n);
        if (tokens || pass->convert)
            attend_converted_block(pass, &span, format, row, size, own);
        else
            attend_block(pass, &span, format, false, row, size, own);
    }
}

/* ---- ranges ---- */

/* total, all_max and all_sum get one more range. In the first one all_max is -infinity. */
static void merge(float *total, float *all_max, float *all_sum, const float *out, float max,
                  float sum, int dim)
{
    if (*all_max == -INFINITY) {
        memcpy(total, out, (size_t)dim * sizeof *total);
        *all_max = max;
        *all_sum = sum;
        return;
    }
    const float new_max = max > *all_max ? max : *all_max;
    vec factors[2] = {vec_set1(*all_max - new_max), vec_set1(max - new_max)};
    vec_exp2(factors, 2);
    for (int i = 0; i < dim; i += VEC_LANES) {
        const int n = lanes_at(i, dim);
        const vec kept = vec_mul(vec_load_part(total + i, n), factors[0]);
        vec_store_part(total + i, vec_fma(vec_load_part(out + i, n), factors[1], kept), n);
    }
    *all_sum =
        vec_max_lane(vec_fma(vec_set1(sum), factors[1], vec_mul(vec_set1(*all_sum), factors[0])));
    *all_max = new_max;
}

static void finish_merge(float *total, float sum, int dim)
{
    for (int i = 0; i < dim; i += VEC_LANES) {
        const int n = lanes_at(i, dim);
        vec_store_part(total + i, vec_div(vec_load_part(total + i, n), vec_set1(sum)), n);
    }
}

void VEC_NAME(nano_attention_merge)(float *out, const float *partials, int64_t stride,
                                    int num_partials, int head_dim)
{
    float max = -INFINITY, sum = 0;
    for (int i = 0; i < num_partials; i++, partials += stride)
        merge(out, &max, &sum, partials, partials[padded(head_dim)], partials[padded(head_dim) + 1],
              head_dim);
    finish_merge(out, sum, head_dim);
}

/* Where row `row` of the pass has its query, output or partial result. */
static int64_t row_offset(const struct pass *pass, int row, int64_t query_stride, int64_t width)
{
    const int heads = pass->args->num_q_heads, number = pass->first_row + row;
    return number / heads * query_stride + number % heads * width;
}

static void load_queries(const struct pass *pass)
{
    const struct nano_attention_args *args = pass->args;
    const vec factor = vec_set1(args->scale * 0x1.715476p+0f);
    for (int r = 0; r < pass->num_rows; r++) {
        const float *q = args->q + row_offset(pass, r, args->q_stride, pass->dim);
        float *to = pass->q + (size_t)r * (size_t)pass->dim;
        for (int i = 0; i < pass->dim; i += VEC_LANES) {
            const int n = lanes_at(i, pass->dim);
            vec_store_part(to + i, vec_mul(vec_load_part(q + i, n), factor), n);
        }
    }
}

static void begin_range(const struct pass *pass)
{
    const size_t rows = (size_t)pass->num_rows;
    memset(pass->out, 0, rows * (size_t)pass->padded_dim * sizeof *pass->out);
    memset(pass->sums, 0, rows * VEC_LANES * sizeof *pass->sums);
    for (int r = 0; r < pass->num_rows; r++)
        pass->max[r] = -INFINITY;
}

/* Hands what the rows that see something of the range got over: to the partial results, or to what
 * came before, in the output. */
static void end_range(const struct pass *pass, int begin)
{
    const struct nano_attention_args *args = pass->args;
    const int64_t floats = (int64_t)VEC_NAME(nano_attention_partial_floats)(pass->dim);
    for (int r = 0; r < pass->num_rows; r++) {
        const float *out = pass->out + (size_t)r * (size_t)pass->padded_dim;
        const float sum = vec_sum(vec_load(pass->sums + r * VEC_LANES));
        if (pass->visible[r] <= begin)
            continue;
        if (args->partial) {
            float *partial = args->partial + row_offset(pass, r, args->partial_stride, floats);
            memcpy(partial, out, (size_t)pass->dim * sizeof *out);
            partial[pass->padded_dim] = pass->max[r];
            partial[pass->padded_dim + 1] = sum;
        } else {
            merge(args->out + row_offset(pass, r, args->out_stride, pass->dim), &pass->all_max[r],
                  &pass->all_sum[r], out, pass->max[r], sum, pass->dim);
        }
    }
}

NANO_INLINE void attend_pass(const struct pass *pass, enum nano_kv_format format)
{
    const struct nano_attention_args *args = pass->args;
    const int seen = pass->visible[pass->num_rows - 1];
    const int begin = args->partial ? args->begin : 0;
    const int end = args->partial ? begin + clamp(seen - begin, NANO_ATTENTION_SPLIT) : seen;
    load_queries(pass);
    for (int r = 0; r < pass->num_rows; r++)
        pass->all_max[r] = -INFINITY;
    for (int p = begin; p < end; p += SPAN) {
        if (p % NANO_ATTENTION_SPLIT == 0)
            begin_range(pass);
        attend_span(pass, format, p, p + clamp(end - p, SPAN));
        if (p + SPAN >= end || (p + SPAN) % NANO_ATTENTION_SPLIT == 0)
            end_range(pass, p / NANO_ATTENTION_SPLIT * NANO_ATTENTION_SPLIT);
    }
    for (int r = 0; !args->partial && r < pass->num_rows; r++)
        finish_merge(args->out + row_offset(pass, r, args->out_stride, pass->dim), pass->all_sum[r],
                     pass->dim);
}

NANO_INLINE void attend(const struct nano_attention_args *args, enum nano_kv_format format)
{
    const int num_rows = args->num_queries * args->num_q_heads;
    struct pass pass = {.args = args, .dim = args->kv.head_dim};
    pass.padded_dim = padded(pass.dim);
    lay_out(&pass, args->scratch, pass.dim);
    for (; pass.first_row < num_rows; pass.first_row += NANO_ATTENTION_ROWS) {
        pass.num_rows = clamp(num_rows - pass.first_row, NANO_ATTENTION_ROWS);
        for (int r = 0; r < pass.num_rows; r++)
            pass.visible[r] = args->first_position + (pass.first_row + r) / args->num_q_heads + 1;
        pass.convert = pass.dim != pass.padded_dim ||
                       (format != NANO_KV_FORMAT_F32 && pass.num_rows >= CONVERT_ROWS);
        attend_pass(&pass, format);
    }
}

void VEC_NAME(nano_attention_f32)(const struct nano_attention_args *args)
{
    attend(args, NANO_KV_FORMAT_F32);
}

void VEC_NAME(nano_attention_f16)(const struct nano_attention_args *args)
{
    attend(args, NANO_KV_FORMAT_F16);
}

void VEC_NAME(nano_attention_bf16)(const struct nano_attention_args *args)
{
    attend(args, NANO_KV_FORMAT_BF16);
}

void VEC_NAME(nano_attention_q8_0)(const struct nano_attention_args *args)
{
    attend(args, NANO_KV_FORMAT_Q8_0);
}
