/* KV store and attention: right, and the same bits for any block size, chunking and head grouping.
 */
#include "check_kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "simd/half.h"
#include "simd/kv_layout.h"

const char *const kv_format_names[NANO_NUM_KV_FORMATS] = {"F32", "F16", "BF16", "Q8_0", "FP8"};

static void fill_block_table(int32_t *table, int num_used, int num_blocks)
{
    int32_t *ids = malloc((size_t)num_blocks * sizeof *ids);
    for (int i = 0; i < num_blocks; i++)
        ids[i] = i;
    for (int i = 0; i < num_used; i++) {
        int other = i + random_below(num_blocks - i);
        table[i] = ids[other];
        ids[other] = ids[i];
    }
    free(ids);
}

struct kv_case kv_case_make(const struct nano_kernels *kernels, struct nano_kv_layout layout,
                            int num_positions, const float *k, const float *v)
{
    const struct nano_kv_kernels *slots = &kernels->kv[layout.format];
    struct kv_case kv = {.layout = layout, .num_positions = num_positions};
    int num_used = (num_positions + layout.block_size - 1) / layout.block_size;
    int64_t k_width = (int64_t)layout.num_kv_heads * layout.head_dim,
            v_width = (int64_t)layout.num_kv_heads * layout.v_head_dim;
    kv.num_blocks = num_used + 2;
    kv.block_table = malloc((size_t)num_used * sizeof *kv.block_table);
    fill_block_table(kv.block_table, num_used, kv.num_blocks);
    size_t k_bytes = nano_kv_block_bytes(&layout, layout.head_dim) * (size_t)kv.num_blocks;
    size_t v_bytes =
        layout.v_in_k ? 0 : nano_kv_block_bytes(&layout, layout.v_head_dim) * (size_t)kv.num_blocks;
    kv.k_pool = input_alloc((k_bytes + 63) / 64 * 64);
    kv.v_pool = input_alloc((v_bytes + 63) / 64 * 64);
    /* What was never stored is NaN and must not be seen. */
    memset(kv.k_pool.data, 0xFF, k_bytes);
    memset(kv.v_pool.data, 0xFF, v_bytes);
    for (int p = num_positions - 1; p >= 0; p--) {
        int32_t block = kv.block_table[p / layout.block_size];
        slots->store(&layout, kv.k_pool.data, kv.v_pool.data,
                     block * layout.block_size + p % layout.block_size, k + p * k_width,
                     layout.v_in_k ? NULL : v + p * v_width);
    }
    return kv;
}

void kv_case_free(struct kv_case *kv)
{
    free(kv->block_table);
    input_free(&kv->k_pool);
    input_free(&kv->v_pool);
}

/* One random case; q is [num_positions, num_kv_heads, group, head_dim], out the same with
 * v_head_dim. */
struct sizes {
    enum nano_kv_format format;
    int num_kv_heads, group, head_dim, v_head_dim, num_positions;
    bool v_in_k, bidirectional;
    int window; /* 0: none */
    float scale, softcap;
    const float *sinks; /* [num_kv_heads, group], or NULL */
};

static struct nano_kv_layout layout_of(const struct sizes *s, int block_size)
{
    return (struct nano_kv_layout){.format = s->format,
                                   .num_kv_heads = s->num_kv_heads,
                                   .head_dim = s->head_dim,
                                   .v_head_dim = s->v_head_dim,
                                   .block_size = block_size,
                                   .v_in_k = s->v_in_k};
}

/* What a query sees. */
static int first_seen(const struct sizes *s, int query)
{
    return s->window && query >= s->window ? query - s->window + 1 : 0;
}

static int end_seen(const struct sizes *s, int query)
{
    return s->bidirectional ? s->num_positions : query + 1;
}

/* Queries [begin, end), heads [head_begin, head_end) of the group. */
static struct nano_attention_args make_args(const struct sizes *s, const struct kv_case *kv,
                                            int kv_head, int begin, int end, int head_begin,
                                            int head_end, const float *q, float *out)
{
    const int64_t heads = (int64_t)s->num_kv_heads * s->group,
                  head = kv_head * s->group + head_begin;
    return (struct nano_attention_args){
        .kv = kv->layout,
        .k_pool = kv->k_pool.data,
        .v_pool = kv->v_pool.data,
        .block_table = kv->block_table,
        .kv_head = kv_head,
        .num_q_heads = head_end - head_begin,
        .num_queries = end - begin,
        .first_position = begin,
        .window = s->window,
        .num_positions = s->bidirectional ? s->num_positions : 0,
        .q = q + (begin * heads + head) * s->head_dim,
        .q_stride = heads * s->head_dim,
        .out = out + (begin * heads + head) * s->v_head_dim,
        .out_stride = heads * s->v_head_dim,
        .scale = s->scale,
        .softcap = s->softcap,
        .sinks = s->sinks ? s->sinks + head : NULL,
    };
}

/* Blocks that no query sees have been given back. */
static void run(const struct nano_kernels *kernels, struct nano_attention_args *args)
{
    const int first = args->num_positions || args->first_position < args->window || !args->window
                          ? 0
                          : args->first_position - args->window + 1;
    const int num_hidden = (first > args->begin ? first : args->begin) / args->kv.block_size;
    const size_t bytes = (size_t)num_hidden * sizeof(int32_t);
    int32_t *entries = malloc(bytes + 1), *table = (int32_t *)(uintptr_t)args->block_table;
    memcpy(entries, table, bytes);
    memset(table, 0xFF, bytes);
    struct output scratch = output_alloc(
        kernels->attention_scratch_floats(args->kv.head_dim, args->kv.v_head_dim) * sizeof(float),
        0);
    args->scratch = scratch.data;
    kernels->kv[args->kv.format].attention(args);
    check_that(output_guards_intact(&scratch), "wrote outside the scratch");
    output_free(&scratch);
    memcpy(table, entries, bytes);
    free(entries);
}

static void attend(const struct nano_kernels *kernels, const struct sizes *s,
                   const struct kv_case *kv, int kv_head, int begin, int end, int head_begin,
                   int head_end, const float *q, float *out)
{
    struct nano_attention_args args =
        make_args(s, kv, kv_head, begin, end, head_begin, head_end, q, out);
    run(kernels, &args);
}

/* The same range by range, and merged. Where all queries see all of a range, they are given as if
 * they were of other sequences. */
static void attend_in_ranges(const struct nano_kernels *kernels, const struct sizes *s,
                             const struct kv_case *kv, int kv_head, int begin, int end,
                             const float *q, float *out)
{
    struct nano_attention_args args = make_args(s, kv, kv_head, begin, end, 0, s->group, q, out);
    const int num_ranges = (end_seen(s, end - 1) - 1) / NANO_ATTENTION_SPLIT + 1,
              num_queries = end - begin;
    const int64_t floats = (int64_t)kernels->attention_partial_floats(s->v_head_dim);
    const int64_t range_floats = floats * s->group * num_queries;
    struct output partials = output_alloc((size_t)(num_ranges * range_floats) * sizeof(float), 0);
    args.partial_stride = floats * s->group;
    args.out = NULL;
    for (int r = num_ranges - 1; r >= 0; r--) {
        args.partial = (float *)partials.data + r * range_floats;
        args.begin = r * NANO_ATTENTION_SPLIT;
        const int range_end = args.begin + NANO_ATTENTION_SPLIT;
        const bool whole = first_seen(s, end - 1) <= args.begin && range_end <= end_seen(s, begin);
        args.num_positions = whole ? range_end : s->bidirectional ? s->num_positions : 0;
        run(kernels, &args);
    }
    check_that(output_guards_intact(&partials), "wrote outside the partial results");
    for (int i = begin; i < end; i++) {
        const int first = first_seen(s, i) / NANO_ATTENTION_SPLIT;
        for (int h = 0; h < s->group; h++) {
            const int64_t head = kv_head * s->group + h;
            kernels->attention_merge(
                out + ((int64_t)i * s->num_kv_heads * s->group + head) * s->v_head_dim,
                (float *)partials.data + first * range_floats +
                    ((i - begin) * s->group + h) * floats,
                range_floats, (end_seen(s, i) - 1) / NANO_ATTENTION_SPLIT + 1 - first,
                s->sinks ? s->sinks + head : NULL, s->v_head_dim);
        }
    }
    output_free(&partials);
}

static void attend_all(const struct nano_kernels *kernels, const struct sizes *s,
                       const struct kv_case *kv, const float *q, float *out)
{
    for (int head = 0; head < s->num_kv_heads; head++)
        attend(kernels, s, kv, head, 0, s->num_positions, 0, s->group, q, out);
}

/* x as the pool holds it: i of a row of dim values. */
static double rounded(enum nano_kv_format format, const float *row, int dim, int i)
{
    if (format == NANO_KV_FORMAT_F32)
        return row[i];
    if (format == NANO_KV_FORMAT_F16)
        return nano_f16_to_f32(nano_f32_to_f16(row[i]));
    if (format == NANO_KV_FORMAT_BF16)
        return nano_bf16_to_f32(nano_f32_to_bf16(row[i]));
    if (format == NANO_KV_FORMAT_FP8)
        return nano_e4m3_to_f32(nano_f32_to_e4m3(row[i]));
    float largest = 0;
    for (int k = 0; k < dim; k++)
        largest = fmaxf(largest, fabsf(row[k]));
    const float scale = largest / 127, inverse = largest > 0 ? 1 / scale : 0;
    return (double)scale * rint(row[i] * inverse);
}

/* [num_positions, num_kv_heads, dim], rounded. */
static double *rounded_copy(const struct sizes *s, const float *x, int dim)
{
    const int64_t rows = (int64_t)s->num_positions * s->num_kv_heads;
    double *copy = malloc((size_t)(rows * dim) * sizeof *copy);
    for (int64_t row = 0; row < rows; row++)
        for (int i = 0; i < dim; i++)
            copy[row * dim + i] = rounded(s->format, x + row * dim, dim, i);
    return copy;
}

/* One query of one head in double. v_stride values lie from position to position of v. */
static void check_values(const struct sizes *s, const float *q, const double *k, const double *v,
                         int64_t v_stride, int query, int head, const float *out)
{
    const int64_t k_stride = (int64_t)s->num_kv_heads * s->head_dim;
    const int first = first_seen(s, query), end = end_seen(s, query);
    double *p = malloc((size_t)end * sizeof *p), max = -INFINITY, sum = 0, score_error = 0;
    const double unit = 0x1p-24;
    k += (int64_t)(head / s->group) * s->head_dim;
    v += (int64_t)(head / s->group) * (s->v_in_k ? s->head_dim : s->v_head_dim);
    for (int j = first; j < end; j++) {
        double magnitude = 0;
        p[j] = 0;
        for (int i = 0; i < s->head_dim; i++) {
            double term = q[i] * k[j * k_stride + i] * s->scale;
            p[j] += term;
            magnitude += fabs(term);
        }
        if (s->softcap != 0) {
            p[j] = s->softcap * tanh(p[j] / s->softcap);
            magnitude += 4 * fabs(p[j]);
        }
        max = fmax(max, p[j]);
        score_error = fmax(score_error, (s->head_dim + 2) * unit * magnitude);
    }
    if (s->sinks) {
        max = fmax(max, s->sinks[head]);
        sum = exp(s->sinks[head] - max);
    }
    for (int j = first; j < end; j++)
        sum += p[j] = exp(p[j] - max);
    for (int i = 0; i < s->v_head_dim; i++) {
        double expected = 0, magnitude = 0;
        for (int j = first; j < end; j++) {
            double term = p[j] / sum * v[j * v_stride + i];
            expected += term;
            magnitude += fabs(term);
        }
        /* exp turns the error of a score into a relative one, in the numerator and in the sum. */
        double tolerance = magnitude * (4 * score_error + (end - first + 40) * unit) + 1e-38;
        check_that(fabs(out[i] - expected) <= tolerance,
                   "dim %d and %d, window %d, query %d head %d: out[%d] = %.9g, expected %.9g "
                   "within %.2g",
                   s->head_dim, s->v_head_dim, s->window, query, head, i, (double)out[i], expected,
                   tolerance);
    }
    free(p);
}

/* The same input in other blocks, other chunks of queries and other groups of heads. */
static void check_invariance(const struct tiers *tiers, const struct sizes *s, const float *q,
                             const float *k, const float *v, const float *whole, size_t num_bytes)
{
    static const int block_sizes[] = {1, 4, 7, 16, 32, 64, 100, 256};
    struct nano_kv_layout layout = layout_of(s, block_sizes[random_below(8)]);
    struct kv_case kv = kv_case_make(tiers->test, layout, s->num_positions, k, v);
    struct output out = output_alloc(num_bytes, 4 * (size_t)random_below(16));
    for (int head = 0; head < s->num_kv_heads; head++) {
        for (int begin = 0, end; begin < s->num_positions; begin = end) {
            end = begin + 1 + random_below(random_below(2) ? 3 : s->num_positions - begin);
            end = end < s->num_positions ? end : s->num_positions;
            if (random_below(2)) {
                attend_in_ranges(tiers->test, s, &kv, head, begin, end, q, out.data);
                continue;
            }
            int cut = random_below(s->group + 1);
            if (cut > 0)
                attend(tiers->test, s, &kv, head, begin, end, 0, cut, q, out.data);
            if (cut < s->group)
                attend(tiers->test, s, &kv, head, begin, end, cut, s->group, q, out.data);
        }
    }
    check_that(
        memcmp(out.data, whole, num_bytes) == 0,
        "dim %d and %d, %d heads, window %d, %d positions, block size %d: bits depend on blocks, "
        "chunks or ranges",
        s->head_dim, s->v_head_dim, s->group, s->window, s->num_positions, layout.block_size);
    check_that(output_guards_intact(&out), "wrote outside the output");
    output_free(&out);
    kv_case_free(&kv);
}

/* E4M3's codes, what lies in the middle of two, and a unit beside them; and what is no number. */
static int fp8_values(float *x)
{
    static const float others[] = {500, 1e30f, INFINITY, NAN, 1e-40f, 1e-30f, 0x1p-10f};
    int n = 0;
    for (int code = 0; code < 0x7E; code++) {
        const float low = nano_e4m3_to_f32((uint8_t)code);
        const float middle = (low + nano_e4m3_to_f32((uint8_t)(code + 1))) / 2;
        x[n++] = low;
        x[n++] = nextafterf(middle, 0);
        x[n++] = middle;
        x[n++] = nextafterf(middle, INFINITY);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        x[n++] = others[i];
    for (int i = 0; i < n; i++)
        x[n + i] = -x[i];
    return 2 * n;
}

/* The bytes that the reference stores. */
static void check_fp8_store(const struct tiers *tiers)
{
    float x[1100];
    const int n = fp8_values(x);
    for (int tokens = 1; tokens <= 16; tokens += 15) {
        const struct nano_kv_layout kv = {.format = NANO_KV_FORMAT_FP8,
                                          .num_kv_heads = 1,
                                          .head_dim = n,
                                          .v_head_dim = n,
                                          .block_size = tokens};
        const size_t bytes = nano_kv_block_bytes(&kv, n);
        unsigned char *pools = calloc(4, bytes);
        for (int i = 0; i < 2; i++)
            (i ? tiers->ref : tiers->test)
                ->kv[kv.format]
                .store(&kv, pools + (size_t)i * 2 * bytes, pools + (size_t)(i * 2 + 1) * bytes,
                       tokens - 1, x, x);
        check_that(memcmp(pools, pools + 2 * bytes, 2 * bytes) == 0,
                   "FP8: stored bytes are not the reference's");
        free(pools);
    }
}

static float *random_floats(size_t count, float range)
{
    float *x = malloc(count * sizeof *x);
    for (size_t i = 0; i < count; i++)
        x[i] = random_float() * range;
    return x;
}

static void check_case(const struct tiers *tiers, const struct sizes *s, float range)
{
    const int num_heads = s->num_kv_heads * s->group;
    const size_t rows = (size_t)s->num_positions, kv_heads = (size_t)s->num_kv_heads;
    const size_t num_q = rows * (size_t)(num_heads * s->head_dim),
                 num_out = rows * (size_t)(num_heads * s->v_head_dim);
    float *k = random_floats(rows * kv_heads * (size_t)s->head_dim, range);
    float *v = random_floats(rows * kv_heads * (size_t)s->v_head_dim, 4);
    float *out = malloc(num_out * sizeof *out);
    struct input q = input_alloc(num_q * sizeof(float));
    float *qf = q.data;
    for (size_t i = 0; i < num_q; i++)
        qf[i] = random_float() * range;
    struct kv_case kv = kv_case_make(tiers->test, layout_of(s, 16), s->num_positions, k, v);
    attend_all(tiers->test, s, &kv, qf, out);
    double *rounded_k = rounded_copy(s, k, s->head_dim);
    double *rounded_v = s->v_in_k ? NULL : rounded_copy(s, v, s->v_head_dim);
    for (int i = 0; i < 12; i++) {
        int query = i == 0 ? s->num_positions - 1 : random_below(s->num_positions);
        int head = random_below(num_heads);
        size_t at = (size_t)(query * num_heads + head);
        check_values(s, qf + at * (size_t)s->head_dim, rounded_k, s->v_in_k ? rounded_k : rounded_v,
                     (int64_t)s->num_kv_heads * (s->v_in_k ? s->head_dim : s->v_head_dim), query,
                     head, out + at * (size_t)s->v_head_dim);
    }
    free(rounded_k);
    free(rounded_v);
    for (int i = 0; i < 3; i++)
        check_invariance(tiers, s, qf, k, v, out, num_out * sizeof *out);
    kv_case_free(&kv);
    input_free(&q);
    free(k);
    free(v);
    free(out);
}

/* One of the sizes, or any. */
static int random_dim(void)
{
    static const int dims[] = {1, 8, 20, 48, 64, 96, 192, 256, 576};
    return random_below(3) ? dims[random_below(9)] : 1 + random_below(130);
}

/* A case with some of what models add to plain attention. */
static void check_features(const struct tiers *tiers, enum nano_kv_format format, int num_positions)
{
    static const int windows[] = {1, 2, 5, 31, 32, 64, 100, 256, 300, 512};
    float sinks[32];
    struct sizes s = {.format = format,
                      .num_kv_heads = 1 + random_below(2),
                      .group = 1 + random_below(random_below(4) ? 5 : 16),
                      .head_dim = random_dim(),
                      .num_positions = num_positions};
    for (size_t i = 0; i < sizeof sinks / sizeof *sinks; i++)
        sinks[i] = random_float() * 5;
    s.scale = (0.5f + random_float() * 0.3f) / sqrtf((float)s.head_dim);
    s.v_in_k = random_below(3) == 0;
    s.v_head_dim = s.v_in_k          ? 1 + random_below(s.head_dim)
                   : random_below(2) ? s.head_dim
                                     : random_dim();
    s.bidirectional = random_below(4) == 0;
    if (!s.bidirectional && random_below(3))
        s.window = windows[random_below(10)];
    if (random_below(2))
        s.softcap = random_below(2) ? 50 : 2;
    if (random_below(2))
        s.sinks = sinks;
    check_case(tiers, &s, random_below(2) ? 8 : 1);
}

void check_attention(const struct tiers *tiers)
{
    static const int dims[] = {8, 16, 20, 32, 64, 80, 96, 128, 192, 256};
    static const int positions[] = {1, 2, 63, 64, 65, 130, 200, 256, 257, 600};
    const bool quick = getenv("NANOVLLM_TEST_QUICK") != NULL;
    for (int format = 0; format < NANO_NUM_KV_FORMATS; format++) {
        check_begin(tiers, "attention", kv_format_names[format]);
        if (format == NANO_KV_FORMAT_FP8)
            check_fp8_store(tiers);
        for (int i = 0; i < (quick ? 10 : 20); i++) {
            int dim = dims[i % 10];
            struct sizes s = {
                .format = (enum nano_kv_format)format,
                .num_kv_heads = 1 + random_below(2),
                .group = 1 + random_below(9),
                .head_dim = dim,
                .v_head_dim = dim,
                .num_positions = positions[random_below(quick ? 9 : 10)],
                .scale = 1 / sqrtf((float)dim),
            };
            check_case(tiers, &s,
                       (i + i / 10) % 2 ? 8 : 1); /* 8: scores far apart, exp down to 0 */
        }
        for (int i = 0; i < (quick ? 10 : 40); i++)
            check_features(tiers, (enum nano_kv_format)format,
                           positions[random_below(quick ? 9 : 10)]);
        check_end();
    }
}
