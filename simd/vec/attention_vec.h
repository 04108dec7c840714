/* Attention for any instruction set with a vec_<isa>.h, which comes first together with math_vec.h
 * and attention_tile_vec.h. Included by one file of each folder.
 *
 * A "row" is one query of one head; rows are numbered query by query, so that what later ones
 * see begins and ends no earlier. A pass takes up to NANO_ATTENTION_ROWS rows through the ranges of
 * positions (NANO_ATTENTION_SPLIT) in spans of 64; what a row does at a position depends on the
 * position alone. Scores are powers of two: log2(e) is a factor of q. */
#include <math.h>
#include <string.h>

#include "simd/kv_layout.h"

enum {
    BLOCK_ROWS = 24, /* whose scores are computed before the first is used */
    /* From this many rows on, K and V are converted to f32 once instead of in every tile. */
    CONVERT_ROWS = MAX_TILE_ROWS + 1
};

#define LOG2_E 0x1.715476p+0f

/* A pass. What is per row is indexed by the row's number in the pass. */
struct pass {
    const struct nano_attention_args *args;
    int first_row, num_rows;
    int dim, v_dim, padded_v_dim; /* to a multiple of 16 */
    bool convert;
    float softcap; /* times log2(e) */
    float *q;      /* [dim], times scale * log2(e); with a softcap scale / softcap */
    float *out;    /* [padded_v_dim]: of the current range */
    float *sums;   /* [VEC_LANES] */
    float *max;
    int first[NANO_ATTENTION_ROWS], end[NANO_ATTENTION_ROWS]; /* positions that it sees; both of
                                                                 later rows are as large */
    float *all_max, *all_sum;                                 /* of the ranges before */
    float *scores;                                            /* [BLOCK_ROWS][SPAN] */
    float *k, *v;                                             /* a converted span */
    float *k_scales, *v_scales;
    float *token; /* [dim]: one converted */
};

static int padded(int n)
{
    return (n + NANO_KV_GROUP - 1) / NANO_KV_GROUP * NANO_KV_GROUP;
}

/* Lays the arrays out in scratch; returns how many floats they take. */
static size_t lay_out(struct pass *pass, float *scratch, int dim, int v_dim)
{
    const size_t rows = (size_t)padded(NANO_ATTENTION_ROWS);
    const size_t sizes[] = {(size_t)padded(dim) * rows,
                            (size_t)padded(v_dim) * rows,
                            VEC_LANES * rows,
                            rows,
                            rows,
                            rows,
                            (size_t)BLOCK_ROWS * SPAN,
                            (size_t)padded(dim) * SPAN,
                            (size_t)padded(v_dim) * SPAN,
                            SPAN,
                            SPAN,
                            (size_t)padded(dim)};
    float **const arrays[] = {&pass->q,       &pass->out,      &pass->sums,     &pass->max,
                              &pass->all_max, &pass->all_sum,  &pass->scores,   &pass->k,
                              &pass->v,       &pass->k_scales, &pass->v_scales, &pass->token};
    size_t used = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *arrays[i] = scratch ? scratch + used : NULL;
        used += sizes[i];
    }
    return used;
}

size_t VEC_NAME(nano_attention_scratch_floats)(int head_dim, int v_head_dim)
{
    struct pass pass;
    return lay_out(&pass, NULL, head_dim, v_head_dim);
}

/* A partial result: out, then max and sum. */
size_t VEC_NAME(nano_attention_partial_floats)(int v_head_dim)
{
    return (size_t)padded(v_head_dim) + NANO_KV_GROUP;
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
    const int32_t block = args->block_table[position / kv->block_size];
    const int offset = position % kv->block_size, head = args->kv_head;
    struct place place = {.index = offset % nano_kv_group_tokens(kv)};
    place.k =
        (const char *)args->k_pool + nano_kv_group_offset(kv, kv->head_dim, block, offset, head);
    place.v = kv->v_in_k ? place.k
                         : (const char *)args->v_pool +
                               nano_kv_group_offset(kv, kv->v_head_dim, block, offset, head);
    return place;
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

/* Groups of 16 tokens in the pool: used where they are, or converted. Those that positions
 * [from, n) of the span do not reach repeat one that they do; what is computed from them is not
 * used. */
NANO_INLINE void find_groups(const struct pass *pass, enum nano_kv_format format, int begin,
                             int from, int n, struct span *span)
{
    const struct nano_kv_layout *kv = &pass->args->kv;
    const size_t k_scales = nano_kv_scales_offset(kv, pass->dim);
    const size_t v_scales = kv->v_in_k ? k_scales : nano_kv_scales_offset(kv, pass->v_dim);
    const int first = from / NANO_KV_GROUP, last = (n - 1) / NANO_KV_GROUP;
    span->v_stride = (size_t)pass->v_dim * nano_kv_value_bytes(format);
    for (int g = 0; g < SPAN_GROUPS; g++) {
        const int group = g < first ? first : g < last ? g : last;
        const struct place place = find_place(pass->args, begin + group * NANO_KV_GROUP);
        span->k[g] = place.k;
        span->v[g] = place.v;
        if (format == NANO_KV_FORMAT_Q8_0) {
            span->k_scales[g] = (const float *)(const void *)(place.k + k_scales);
            span->v_scales[g] = (const float *)(const void *)(place.v + v_scales);
        }
    }
}

/* v[token][stride] of the first v_dim elements of k[][16]. */
static void transpose_group(float *v, const float *k, int v_dim, int stride)
{
    for (int i = 0; i < v_dim; i += VEC_LANES) {
        for (int token = 0; token < NANO_KV_GROUP; token += VEC_LANES) {
            vec square[VEC_LANES];
            NANO_UNROLL
            for (int j = 0; j < VEC_LANES; j++)
                square[j] =
                    i + j < v_dim ? vec_load(k + (i + j) * NANO_KV_GROUP + token) : vec_zero();
            vec_transpose(square);
            NANO_UNROLL
            for (int j = 0; j < VEC_LANES; j++)
                vec_store(v + (token + j) * stride + i, square[j]);
        }
    }
}

NANO_INLINE void convert_groups(const struct pass *pass, enum nano_kv_format format, int from,
                                int n, struct span *span)
{
    const int dim = pass->dim, v_dim = pass->v_dim, stride = pass->padded_v_dim;
    for (int g = 0; g < SPAN_GROUPS; g++) {
        float *k = pass->k + (size_t)(g * NANO_KV_GROUP) * (size_t)dim;
        float *v = pass->v + (size_t)(g * NANO_KV_GROUP) * (size_t)stride;
        const bool seen = g * NANO_KV_GROUP < n && (g + 1) * NANO_KV_GROUP > from;
        if (format != NANO_KV_FORMAT_F32) {
            if (seen)
                convert(format, k, span->k[g], NANO_KV_GROUP * dim);
            span->k[g] = (const char *)k;
        }
        if (seen && pass->args->kv.v_in_k)
            transpose_group(v, (const float *)(const void *)span->k[g], v_dim, stride);
        else if (seen && v_dim == stride)
            convert(format, v, span->v[g], NANO_KV_GROUP * v_dim);
        else
            for (int p = 0; seen && p < NANO_KV_GROUP; p++)
                convert(format, v + p * stride, span->v[g] + (size_t)p * span->v_stride, v_dim);
        span->v[g] = (const char *)v;
    }
    span->v_stride = (size_t)stride * sizeof(float);
}

/* Groups of one token: K is transposed. */
NANO_INLINE void convert_tokens(const struct pass *pass, enum nano_kv_format format, int begin,
                                int from, int n, struct span *span)
{
    const struct nano_kv_layout *kv = &pass->args->kv;
    const int dim = pass->dim, v_dim = pass->v_dim;
    for (int p = from; p < n; p++) {
        const struct place place = find_place(pass->args, begin + p);
        float *v = pass->v + (size_t)p * (size_t)pass->padded_v_dim;
        float *column =
            pass->k + (size_t)(p / NANO_KV_GROUP * NANO_KV_GROUP) * (size_t)dim + p % NANO_KV_GROUP;
        convert(format, pass->token, place.k, dim);
        for (int i = 0; i < dim; i++)
            column[i * NANO_KV_GROUP] = pass->token[i];
        if (kv->v_in_k)
            memcpy(v, pass->token, (size_t)v_dim * sizeof *v);
        else
            convert(format, v, place.v, v_dim);
        if (format == NANO_KV_FORMAT_Q8_0) {
            memcpy(&pass->k_scales[p], place.k + nano_kv_scales_offset(kv, dim), sizeof(float));
            memcpy(&pass->v_scales[p],
                   place.v + nano_kv_scales_offset(kv, kv->v_in_k ? dim : v_dim), sizeof(float));
        }
    }
    for (int g = 0; g < SPAN_GROUPS; g++) {
        const size_t first = (size_t)(g * NANO_KV_GROUP);
        span->k[g] = (const char *)(pass->k + first * (size_t)dim);
        span->v[g] = (const char *)(pass->v + first * (size_t)pass->padded_v_dim);
        span->k_scales[g] = pass->k_scales + first;
        span->v_scales[g] = pass->v_scales + first;
    }
    span->v_stride = (size_t)pass->padded_v_dim * sizeof(float);
}

/* ---- softmax ---- */

/* Makes a row's products its scores of positions [from, n), the rest -infinity. Returns the largest
 * one. */
NANO_INLINE float find_max(const struct span *span, enum nano_kv_format format, float softcap,
                           float *scores, int from, int n, float max)
{
    vec largest = vec_set1(max);
    if (from == 0 && n == SPAN && softcap == 0 && format != NANO_KV_FORMAT_Q8_0) {
        NANO_UNROLL
        for (int p = 0; p < SPAN; p += VEC_LANES)
            largest = vec_max(largest, vec_load(scores + p));
        return vec_max_lane(largest);
    }
    for (int p = 0; softcap != 0 && p < SPAN; p += VEC_LANES) {
        vec x = vec_load(scores + p);
        if (format == NANO_KV_FORMAT_Q8_0)
            x = vec_mul(x, vec_load(span->k_scales[p / NANO_KV_GROUP] + p % NANO_KV_GROUP));
        vec_store(scores + p, vec_mul(vec_tanh(x), vec_set1(softcap)));
    }
    NANO_UNROLL
    for (int p = 0; p < SPAN; p += VEC_LANES) {
        vec x = vec_load(scores + p);
        if (format == NANO_KV_FORMAT_Q8_0 && softcap == 0)
            x = vec_mul(x, vec_load(span->k_scales[p / NANO_KV_GROUP] + p % NANO_KV_GROUP));
        x = vec_first_lanes(n - p, x, vec_set1(-INFINITY));
        x = vec_first_lanes(from - p, vec_set1(-INFINITY), x);
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

/* The part of a span that rows see: positions [from[r], to[r]), 1 at least. */
struct seen {
    int from[BLOCK_ROWS], to[BLOCK_ROWS];
};

/* The rows of a tile share the positions that all of them see; what is before and behind is each
 * row's own. keep becomes 1. */
NANO_INLINE void weigh_seen(const struct span *span, enum nano_kv_format format,
                            const float *weights, float *out, int out_stride, float *keep,
                            const int *from, const int *to, int num_rows)
{
    int begin = from[num_rows - 1], end = to[0];
    if (begin >= end)
        begin = end = SPAN;
    for (int part = 0; part < 2; part++) {
        for (int r = 0; r < num_rows; r++) {
            const int first = part == 0 ? from[r] : end;
            const int last = part == 0 && begin < to[r] ? begin : to[r];
            if (first >= last)
                continue;
            weigh_tile(span, format, weights + r * SPAN, out + r * out_stride, out_stride, &keep[r],
                       first, last, 1);
            keep[r] = 1;
        }
        if (part == 0 && begin < end) {
            weigh_rows(span, format, weights, out, out_stride, keep, begin, end, num_rows);
            for (int r = 0; r < num_rows; r++)
                keep[r] = 1;
        }
    }
}

/* Rows [first, first + num_rows), at most BLOCK_ROWS, over a span. */
NANO_INLINE void attend_block(const struct pass *pass, const struct span *span,
                              enum nano_kv_format stored, bool converted, int first, int num_rows,
                              const struct seen *seen)
{
    const enum nano_kv_format format = converted ? NANO_KV_FORMAT_F32 : stored;
    const int dim = pass->dim, stride = pass->padded_v_dim;
    float *q = pass->q + (size_t)first * (size_t)dim;
    float *out = pass->out + (size_t)first * (size_t)stride;
    float keep[(BLOCK_ROWS + VEC_LANES - 1) / VEC_LANES * VEC_LANES];
    float *max = pass->max + first;
    for (int r = 0, size; r < num_rows; r += size) {
        size = tile_rows(num_rows - r, converted);
        score_rows(span, format, q + r * dim, dim, pass->scores + r * SPAN,
                   (seen->to[r + size - 1] + VEC_LANES - 1) / VEC_LANES, size);
    }
    for (int r = 0; r < num_rows; r++) {
        const float new_max = find_max(span, stored, pass->softcap, pass->scores + r * SPAN,
                                       seen->from[r], seen->to[r], max[r]);
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
        weigh_seen(span, format, pass->scores + r * SPAN, out + r * stride, stride, keep + r,
                   seen->from + r, seen->to + r, size);
    }
}

/* One body for all formats. */
static __attribute__((noinline)) void attend_converted_block(const struct pass *pass,
                                                             const struct span *span,
                                                             enum nano_kv_format stored, int first,
                                                             int num_rows, const struct seen *seen)
{
    attend_block(pass, span, stored, true, first, num_rows, seen);
}

/* The pass over positions [begin, end) of a span; rows [row, last) see some of them. */
NANO_INLINE void attend_span(const struct pass *pass, enum nano_kv_format format, int begin,
                             int end)
{
    struct span span;
    const int n = end - begin;
    const bool tokens = nano_kv_group_tokens(&pass->args->kv) == 1;
    int row = 0, last = pass->num_rows;
    while (row < last && pass->end[row] <= begin)
        row++;
    while (row < last && pass->first[last - 1] >= end)
        last--;
    if (row == last)
        return;
    const int from = clamp(pass->first[row] - begin, n);
    if (tokens) {
        convert_tokens(pass, format, begin, from, n, &span);
    } else {
        find_groups(pass, format, begin, from, n, &span);
        if (pass->convert)
            convert_groups(pass, format, from, n, &span);
    }
    for (int size; row < last; row += size) {
        struct seen seen;
        size = clamp(last - row, BLOCK_ROWS);
        for (int r = 0; r < size; r++) {
            seen.from[r] = clamp(pass->first[row + r] - begin, n);
            seen.to[r] = clamp(pass->end[row + r] - begin, n);
        }
        if (tokens || pass->convert)
            attend_converted_block(pass, &span, format, row, size, &seen);
        else
            attend_block(pass, &span, format, false, row, size, &seen);
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

static void finish_merge(float *total, float max, float sum, const float *sink, int dim)
{
    vec factors[2] = {vec_set1(1), vec_zero()};
    if (sink) {
        const float score = *sink * LOG2_E, new_max = score > max ? score : max;
        factors[0] = vec_set1(max - new_max);
        factors[1] = vec_set1(score - new_max);
        vec_exp2(factors, 2);
    }
    const vec divisor = vec_fma(vec_set1(sum), factors[0], factors[1]);
    for (int i = 0; i < dim; i += VEC_LANES) {
        const int n = lanes_at(i, dim);
        const vec kept = vec_mul(vec_load_part(total + i, n), factors[0]);
        vec_store_part(total + i, vec_div(kept, divisor), n);
    }
}

void VEC_NAME(nano_attention_merge)(float *out, const float *partials, int64_t stride,
                                    int num_partials, const float *sink, int v_head_dim)
{
    float max = -INFINITY, sum = 0;
    for (int i = 0; i < num_partials; i++, partials += stride)
        merge(out, &max, &sum, partials, partials[padded(v_head_dim)],
              partials[padded(v_head_dim) + 1], v_head_dim);
    finish_merge(out, max, sum, sink, v_head_dim);
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
    const vec factor =
        vec_set1(args->softcap != 0 ? args->scale / args->softcap : args->scale * LOG2_E);
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
    memset(pass->out, 0, rows * (size_t)pass->padded_v_dim * sizeof *pass->out);
    memset(pass->sums, 0, rows * VEC_LANES * sizeof *pass->sums);
    for (int r = 0; r < pass->num_rows; r++)
        pass->max[r] = -INFINITY;
}

/* Hands what the rows that see something of the range got over: to the partial results, or to what
 * came before, in the output. */
static void end_range(const struct pass *pass, int begin)
{
    const struct nano_attention_args *args = pass->args;
    const int v_dim = pass->v_dim, padded_v_dim = pass->padded_v_dim;
    const int64_t floats = (int64_t)VEC_NAME(nano_attention_partial_floats)(v_dim);
    for (int r = 0; r < pass->num_rows; r++) {
        const float *out = pass->out + (size_t)r * (size_t)padded_v_dim;
        const float sum = vec_sum(vec_load(pass->sums + r * VEC_LANES));
        if (pass->end[r] <= begin || pass->first[r] >= begin + NANO_ATTENTION_SPLIT)
            continue;
        if (args->partial) {
            float *partial = args->partial + row_offset(pass, r, args->partial_stride, floats);
            memcpy(partial, out, (size_t)v_dim * sizeof *out);
            partial[padded_v_dim] = pass->max[r];
            partial[padded_v_dim + 1] = sum;
        } else {
            merge(args->out + row_offset(pass, r, args->out_stride, v_dim), &pass->all_max[r],
                  &pass->all_sum[r], out, pass->max[r], sum, v_dim);
        }
    }
}

static void finish_rows(const struct pass *pass)
{
    const struct nano_attention_args *args = pass->args;
    for (int r = 0; r < pass->num_rows; r++) {
        const int head = (pass->first_row + r) % args->num_q_heads;
        finish_merge(args->out + row_offset(pass, r, args->out_stride, pass->v_dim),
                     pass->all_max[r], pass->all_sum[r], args->sinks ? args->sinks + head : NULL,
                     pass->v_dim);
    }
}

NANO_INLINE void attend_pass(const struct pass *pass, enum nano_kv_format format)
{
    const struct nano_attention_args *args = pass->args;
    int begin = pass->first[0] / SPAN * SPAN, end = pass->end[pass->num_rows - 1];
    if (args->partial) {
        begin = begin < args->begin ? args->begin : begin;
        end = args->begin + clamp(end - args->begin, NANO_ATTENTION_SPLIT);
    }
    load_queries(pass);
    for (int r = 0; r < pass->num_rows; r++)
        pass->all_max[r] = -INFINITY;
    for (int p = begin; p < end; p += SPAN) {
        if (p == begin || p % NANO_ATTENTION_SPLIT == 0)
            begin_range(pass);
        attend_span(pass, format, p, p + clamp(end - p, SPAN));
        if (p + SPAN >= end || (p + SPAN) % NANO_ATTENTION_SPLIT == 0)
            end_range(pass, p / NANO_ATTENTION_SPLIT * NANO_ATTENTION_SPLIT);
    }
    if (!args->partial)
        finish_rows(pass);
}

/* Rows of each pass: about equally many, in whole blocks. */
static int choose_pass_rows(int num_rows)
{
    const int num_passes = (num_rows + NANO_ATTENTION_ROWS - 1) / NANO_ATTENTION_ROWS;
    const int rows = num_passes ? (num_rows + num_passes - 1) / num_passes : 0;
    return (rows + BLOCK_ROWS - 1) / BLOCK_ROWS * BLOCK_ROWS;
}

NANO_INLINE void attend(const struct nano_attention_args *args, enum nano_kv_format format)
{
    const int num_rows = args->num_queries * args->num_q_heads;
    const int pass_rows = choose_pass_rows(num_rows);
    struct pass pass = {.args = args,
                        .dim = args->kv.head_dim,
                        .v_dim = args->kv.v_head_dim,
                        .softcap = args->softcap * LOG2_E};
    pass.padded_v_dim = padded(pass.v_dim);
    lay_out(&pass, args->scratch, pass.dim, pass.v_dim);
    for (; pass.first_row < num_rows; pass.first_row += pass_rows) {
        pass.num_rows = clamp(num_rows - pass.first_row, pass_rows);
        for (int r = 0; r < pass.num_rows; r++) {
            const int position = args->first_position + (pass.first_row + r) / args->num_q_heads;
            pass.end[r] = args->num_positions ? args->num_positions : position + 1;
            pass.first[r] = args->num_positions || !args->window || position < args->window
                                ? 0
                                : position - args->window + 1;
        }
        pass.convert = args->kv.v_in_k || pass.v_dim != pass.padded_v_dim ||
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

void VEC_NAME(nano_attention_fp8)(const struct nano_attention_args *args)
{
    attend(args, NANO_KV_FORMAT_FP8);
}
