/* The two products of attention, for any instruction set with a vec_<isa>.h, which comes first:
 * scores = Q K^T and out = keep * out + weights V, over a span of 64 positions.
 *
 * A tile is a few query rows that share the loads (and conversions) of K and V in registers. Every
 * score is one chain of fused multiply-adds over head_dim, every output one over positions, so the
 * shape of the tile changes no bit. */
#include "simd/kv_layout.h"

enum {
    SPAN = 64,                          /* positions */
    SPAN_GROUPS = SPAN / NANO_KV_GROUP, /* of 16 positions */
    SPAN_VECTORS = SPAN / VEC_LANES,    /* of scores of a row */
    MAX_TILE_ROWS = 8
};

/* K and V of 64 positions: in the pool, or converted in scratch. */
struct span {
    const char *k[SPAN_GROUPS]; /* [head_dim][16] each */
    const char *v[SPAN_GROUPS]; /* 16 rows each, v_stride bytes apart */
    const float *k_scales[SPAN_GROUPS], *v_scales[SPAN_GROUPS]; /* Q8_0: [16] */
    size_t v_stride;
};

NANO_INLINE vec load_values(enum nano_kv_format format, const char *p)
{
    return format == NANO_KV_FORMAT_F32    ? vec_load((const float *)(const void *)p)
           : format == NANO_KV_FORMAT_F16  ? vec_load_f16(p)
           : format == NANO_KV_FORMAT_BF16 ? vec_load_bf16(p)
           : format == NANO_KV_FORMAT_FP8  ? vec_load_e4m3(p)
                                           : vec_load_s8(p);
}

/* How many vectors of K or V a tile of so many rows takes at a time: 4, 2 or 1. */
NANO_INLINE int tile_vectors(int num_rows)
{
    return num_rows * 4 + 5 <= VEC_REGISTERS ? 4 : num_rows * 2 + 3 <= VEC_REGISTERS ? 2 : 1;
}

/* scores[r * SPAN + p] for the first num_vectors vectors of positions (and some after them). */
NANO_INLINE void score_tile(const struct span *span, enum nano_kv_format format, const float *q,
                            int dim, float *scores, int num_vectors, const int num_rows)
{
    const int width = tile_vectors(num_rows);
    const size_t bytes = nano_kv_value_bytes(format);
    for (int first = 0; first < num_vectors; first += width) {
        const char *k[4];
        vec acc[MAX_TILE_ROWS][4];
        NANO_UNROLL
        for (int j = 0; j < width; j++) {
            const int p = (first + j) * VEC_LANES;
            k[j] = span->k[p / NANO_KV_GROUP] + (size_t)(p % NANO_KV_GROUP) * bytes;
            NANO_UNROLL
            for (int r = 0; r < num_rows; r++)
                acc[r][j] = vec_zero();
        }
        for (int i = 0; i < dim; i++) {
            vec kv[4];
            NANO_UNROLL
            for (int j = 0; j < width; j++)
                kv[j] = load_values(format, k[j] + (size_t)i * NANO_KV_GROUP * bytes);
            NANO_UNROLL
            for (int r = 0; r < num_rows; r++) {
                const vec x = vec_set1(q[r * dim + i]);
                NANO_UNROLL
                for (int j = 0; j < width; j++)
                    acc[r][j] = vec_fma(x, kv[j], acc[r][j]);
            }
        }
        NANO_UNROLL
        for (int r = 0; r < num_rows; r++) {
            NANO_UNROLL
            for (int j = 0; j < width; j++)
                vec_store(scores + r * SPAN + (first + j) * VEC_LANES, acc[r][j]);
        }
    }
}

/* Columns [column, column + width * VEC_LANES) of the rows' outputs, positions [begin, end). */
NANO_INLINE void weigh_columns(const struct span *span, enum nano_kv_format format,
                               const float *weights, float *out, int out_stride, const float *keep,
                               int column, int begin, int end, const int num_rows, const int width)
{
    const size_t bytes = nano_kv_value_bytes(format);
    vec acc[MAX_TILE_ROWS][4];
    NANO_UNROLL
    for (int r = 0; r < num_rows; r++) {
        NANO_UNROLL
        for (int j = 0; j < width; j++)
            acc[r][j] =
                vec_mul(vec_load(out + r * out_stride + column + j * VEC_LANES), vec_set1(keep[r]));
    }
    for (int p = begin; p < end;) {
        const int group = p / NANO_KV_GROUP, next = (group + 1) * NANO_KV_GROUP;
        const char *v =
            span->v[group] + (size_t)(p % NANO_KV_GROUP) * span->v_stride + (size_t)column * bytes;
        for (; p < end && p < next; p++, v += span->v_stride) {
            vec kv[4];
            NANO_UNROLL
            for (int j = 0; j < width; j++)
                kv[j] = load_values(format, v + (size_t)(j * VEC_LANES) * bytes);
            NANO_UNROLL
            for (int r = 0; r < num_rows; r++) {
                const vec weight = vec_set1(weights[r * SPAN + p]);
                NANO_UNROLL
                for (int j = 0; j < width; j++)
                    acc[r][j] = vec_fma(weight, kv[j], acc[r][j]);
            }
        }
    }
    NANO_UNROLL
    for (int r = 0; r < num_rows; r++) {
        NANO_UNROLL
        for (int j = 0; j < width; j++)
            vec_store(out + r * out_stride + column + j * VEC_LANES, acc[r][j]);
    }
}

/* All out_stride columns. */
NANO_INLINE void weigh_tile(const struct span *span, enum nano_kv_format format,
                            const float *weights, float *out, int out_stride, const float *keep,
                            int begin, int end, const int num_rows)
{
    int column = 0;
    if (tile_vectors(num_rows) == 4)
        for (; column + 4 * VEC_LANES <= out_stride; column += 4 * VEC_LANES)
            weigh_columns(span, format, weights, out, out_stride, keep, column, begin, end,
                          num_rows, 4);
    if (tile_vectors(num_rows) >= 2)
        for (; column + 2 * VEC_LANES <= out_stride; column += 2 * VEC_LANES)
            weigh_columns(span, format, weights, out, out_stride, keep, column, begin, end,
                          num_rows, 2);
    for (; column < out_stride; column += VEC_LANES)
        weigh_columns(span, format, weights, out, out_stride, keep, column, begin, end, num_rows,
                      1);
}

/* One body per number of rows. */
#define FOR_TILE_ROWS(n, call) \
    switch (n) {               \
    case 1:                    \
        call(1);               \
        break;                 \
    case 2:                    \
        call(2);               \
        break;                 \
    case 3:                    \
        call(3);               \
        break;                 \
    case 4:                    \
        call(4);               \
        break;                 \
    case 5:                    \
        call(5);               \
        break;                 \
    case 6:                    \
        call(6);               \
        break;                 \
    case 7:                    \
        call(7);               \
        break;                 \
    case 8:                    \
        call(8);               \
        break;                 \
    }

NANO_INLINE void score_rows(const struct span *span, enum nano_kv_format format, const float *q,
                            int dim, float *scores, int num_vectors, int num_rows){
#define SCORE(n) score_tile(span, format, q, dim, scores, num_vectors, n)
    FOR_TILE_ROWS(num_rows, SCORE)
#undef SCORE
}

NANO_INLINE
    void weigh_rows(const struct span *span, enum nano_kv_format format, const float *weights,
                    float *out, int out_stride, const float *keep, int begin, int end, int num_rows)
{
#define WEIGH(n) weigh_tile(span, format, weights, out, out_stride, keep, begin, end, n)
    FOR_TILE_ROWS(num_rows, WEIGH)
#undef WEIGH
}
