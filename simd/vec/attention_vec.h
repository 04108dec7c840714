/* KV store and attention for any instruction set with a vec_<isa>.h, which comes first together
 * with math_vec.h. Included by one file of each folder.
 *
 * Pages are as in the reference. A "row" is one query of one head; rows are numbered query by
 * query. VEC_TILE_ROWS rows share the loads of K and V, but each has its own chain of operations
 * over the positions that it sees, in the reference's groups of 64: sharing changes no bit. */
#include <math.h>

#include "simd/ref/ref.h"

enum { GROUP = 64 };

NANO_INLINE vec load_values(enum nano_kv_format format, const void *row, int i, int n)
{
    if (format == NANO_KV_FORMAT_F32)
        return vec_load_part((const float *)row + i, n);
    const uint16_t *values = (const uint16_t *)row + i;
    return format == NANO_KV_FORMAT_F16 ? vec_load_f16_part(values, n)
                                        : vec_load_bf16_part(values, n);
}

NANO_INLINE void store_values(enum nano_kv_format format, void *row, int i, vec x, int n)
{
    if (format == NANO_KV_FORMAT_F32)
        vec_store_part((float *)row + i, x, n);
    else if (format == NANO_KV_FORMAT_F16)
        vec_store_f16_part((uint16_t *)row + i, x, n);
    else
        vec_store_bf16_part((uint16_t *)row + i, x, n);
}

NANO_INLINE int value_bytes(enum nano_kv_format format)
{
    return format == NANO_KV_FORMAT_F32 ? 4 : 2;
}

/* Lanes of the vector at i of a row of dim values; 0 beyond its end. */
NANO_INLINE int lanes_at(int i, int dim)
{
    int left = dim - i;
    return left >= VEC_LANES ? VEC_LANES : left > 0 ? left : 0;
}

void VEC_NAME(nano_kv_store)(const struct nano_kv_layout *kv, void *k_pool, void *v_pool,
                             int32_t slot, const float *k, const float *v)
{
    const size_t page_bytes = nano_kv_page_bytes_ref(kv);
    const int dim = kv->head_dim;
    for (int head = 0; head < kv->num_kv_heads; head++, k += dim, v += dim) {
        size_t page = (size_t)(slot / kv->block_size) * (size_t)kv->num_kv_heads + (size_t)head;
        size_t at = page * page_bytes +
                    (size_t)(slot % kv->block_size * dim) * (size_t)value_bytes(kv->format);
        for (int i = 0; i < dim; i += VEC_LANES) {
            int n = lanes_at(i, dim);
            store_values(kv->format, (char *)k_pool + at, i, vec_load_part(k + i, n), n);
            store_values(kv->format, (char *)v_pool + at, i, vec_load_part(v + i, n), n);
        }
    }
}

/* Up to VEC_TILE_ROWS rows on their way through the positions. */
struct tile {
    const float *q[VEC_TILE_ROWS];
    float *out[VEC_TILE_ROWS];
    int num_visible[VEC_TILE_ROWS]; /* positions */
    float max[VEC_TILE_ROWS], sum[VEC_TILE_ROWS];
    float weights[VEC_TILE_ROWS][GROUP]; /* scores, then their exponentials */
    size_t offsets[GROUP];               /* of the group's positions, in both pools */
};

NANO_INLINE void find_offsets(const struct nano_attention_args *args, size_t offsets[GROUP],
                              int begin, int n)
{
    const struct nano_kv_layout *kv = &args->kv;
    const size_t page_bytes = nano_kv_page_bytes_ref(kv);
    const size_t row_bytes = (size_t)kv->head_dim * (size_t)value_bytes(kv->format);
    int block = begin / kv->block_size, offset = begin % kv->block_size;
    for (int p = 0; p < n; block++, offset = 0) {
        size_t page =
            (size_t)args->block_table[block] * (size_t)kv->num_kv_heads + (size_t)args->kv_head;
        for (; p < n && offset < kv->block_size; p++, offset++)
            offsets[p] = page * page_bytes + (size_t)offset * row_bytes;
    }
}

/* Scores of n positions, four at a time; positions beyond the end repeat the last one. */
NANO_INLINE void score(const struct nano_attention_args *args, enum nano_kv_format format,
                       struct tile *tile, int num_rows, int n)
{
    const int dim = args->kv.head_dim;
    const char *pool = args->k_pool;
    for (int p = 0; p < n; p += 4) {
        const char *k[4];
        vec acc[VEC_TILE_ROWS][4];
        NANO_UNROLL
        for (int j = 0; j < 4; j++) {
            k[j] = pool + tile->offsets[p + j < n ? p + j : n - 1];
            NANO_UNROLL
            for (int r = 0; r < num_rows; r++)
                acc[r][j] = vec_zero();
        }
        for (int i = 0; i < dim; i += VEC_LANES) {
            int lanes = lanes_at(i, dim);
            vec q[VEC_TILE_ROWS];
            NANO_UNROLL
            for (int r = 0; r < num_rows; r++)
                q[r] = vec_load_part(tile->q[r] + i, lanes);
            NANO_UNROLL
            for (int j = 0; j < 4; j++) {
                vec kj = load_values(format, k[j], i, lanes);
                NANO_UNROLL
                for (int r = 0; r < num_rows; r++)
                    acc[r][j] = vec_fma(q[r], kj, acc[r][j]);
            }
        }
        NANO_UNROLL
        for (int r = 0; r < num_rows; r++)
            vec_sum4(&tile->weights[r][p], acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
    }
}

/* Scores of a row's n positions to exponentials; returns the factor for what was summed before. */
NANO_INLINE float soften(float weights[GROUP], int n, float scale, float *max, float *sum)
{
    vec largest = vec_set1(*max), total = vec_zero();
    for (int p = n; p < GROUP; p++)
        weights[p] = -INFINITY;
    NANO_UNROLL
    for (int p = 0; p < GROUP; p += VEC_LANES) {
        vec scaled = vec_mul(vec_load(weights + p), vec_set1(scale));
        vec_store(weights + p, scaled);
        largest = vec_max(largest, scaled);
    }
    float new_max = vec_max_lane(largest);
    float keep = nano_exp_ref(*max - new_max);
    NANO_UNROLL
    for (int p = 0; p < GROUP; p += VEC_LANES) {
        vec e = vec_exp(vec_sub(vec_load(weights + p), vec_set1(new_max)));
        vec_store(weights + p, e);
        total = vec_add(total, e);
    }
    *max = new_max;
    *sum = *sum * keep + vec_sum(total);
    return keep;
}

/* out = keep * out + the group's weighted V, two vectors at a time. All rows see num_common
 * positions; a row that sees more goes on alone. */
NANO_INLINE void accumulate(const struct nano_attention_args *args, enum nano_kv_format format,
                            struct tile *tile, int num_rows, int begin, int num_common,
                            const float keep[VEC_TILE_ROWS])
{
    const int dim = args->kv.head_dim;
    const char *pool = args->v_pool;
    for (int i = 0; i < dim; i += 2 * VEC_LANES) {
        int lanes0 = lanes_at(i, dim), lanes1 = lanes_at(i + VEC_LANES, dim);
        vec acc[VEC_TILE_ROWS][2];
        NANO_UNROLL
        for (int r = 0; r < num_rows; r++) {
            acc[r][0] = acc[r][1] = vec_zero();
            if (begin > 0) {
                acc[r][0] = vec_mul(vec_load_part(tile->out[r] + i, lanes0), vec_set1(keep[r]));
                acc[r][1] =
                    vec_mul(vec_load_part(tile->out[r] + i + VEC_LANES, lanes1), vec_set1(keep[r]));
            }
        }
        for (int p = 0; p < num_common; p++) {
            const char *v = pool + tile->offsets[p];
            vec v0 = load_values(format, v, i, lanes0),
                v1 = load_values(format, v, i + VEC_LANES, lanes1);
            NANO_UNROLL
            for (int r = 0; r < num_rows; r++) {
                vec weight = vec_set1(tile->weights[r][p]);
                acc[r][0] = vec_fma(weight, v0, acc[r][0]);
                acc[r][1] = vec_fma(weight, v1, acc[r][1]);
            }
        }
        NANO_UNROLL
        for (int r = 0; r < num_rows; r++) {
            int n = tile->num_visible[r] - begin < GROUP ? tile->num_visible[r] - begin : GROUP;
            for (int p = num_common; p < n; p++) {
                const char *v = pool + tile->offsets[p];
                vec weight = vec_set1(tile->weights[r][p]);
                acc[r][0] = vec_fma(weight, load_values(format, v, i, lanes0), acc[r][0]);
                acc[r][1] =
                    vec_fma(weight, load_values(format, v, i + VEC_LANES, lanes1), acc[r][1]);
            }
            vec_store_part(tile->out[r] + i, acc[r][0], lanes0);
            vec_store_part(tile->out[r] + i + VEC_LANES, acc[r][1], lanes1);
        }
    }
}

NANO_INLINE int clamp_to_group(int n)
{
    return n < 0 ? 0 : n < GROUP ? n : GROUP;
}

/* Rows [row, row + num_rows). Later rows see at least as much as earlier ones. */
NANO_INLINE void attend(const struct nano_attention_args *args, enum nano_kv_format format, int row,
                        int num_rows)
{
    struct tile tile;
    const int dim = args->kv.head_dim;
    for (int r = 0; r < num_rows; r++) {
        int64_t query = (row + r) / args->num_q_heads;
        int64_t column = (int64_t)((row + r) % args->num_q_heads) * dim;
        tile.q[r] = args->q + query * args->q_stride + column;
        tile.out[r] = args->out + query * args->out_stride + column;
        tile.num_visible[r] = args->first_position + (int)query + 1;
        tile.max[r] = -INFINITY;
        tile.sum[r] = 0;
    }
    for (int begin = 0; begin < tile.num_visible[num_rows - 1]; begin += GROUP) {
        int num_common = clamp_to_group(tile.num_visible[0] - begin);
        int n = clamp_to_group(tile.num_visible[num_rows - 1] - begin);
        float keep[VEC_TILE_ROWS];
        find_offsets(args, tile.offsets, begin, n);
        score(args, format, &tile, num_rows, n);
        for (int r = 0; r < num_rows; r++) {
            int own = clamp_to_group(tile.num_visible[r] - begin);
            keep[r] = own == 0
                          ? 1
                          : soften(tile.weights[r], own, args->scale, &tile.max[r], &tile.sum[r]);
        }
        accumulate(args, format, &tile, num_rows, begin, num_common, keep);
    }
    for (int r = 0; r < num_rows; r++) {
        for (int i = 0; i < dim; i += VEC_LANES) {
            int n = lanes_at(i, dim);
            vec_store_part(tile.out[r] + i,
                           vec_div(vec_load_part(tile.out[r] + i, n), vec_set1(tile.sum[r])), n);
        }
    }
}

NANO_INLINE void attend_all(const struct nano_attention_args *args, enum nano_kv_format format)
{
    int num_rows = args->num_queries * args->num_q_heads, row = 0;
    for (; row + VEC_TILE_ROWS <= num_rows; row += VEC_TILE_ROWS)
        attend(args, format, row, VEC_TILE_ROWS);
    for (; row < num_rows; row++)
        attend(args, format, row, 1);
}

void VEC_NAME(nano_attention_f32)(const struct nano_attention_args *args)
{
    attend_all(args, NANO_KV_FORMAT_F32);
}

void VEC_NAME(nano_attention_f16)(const struct nano_attention_args *args)
{
    attend_all(args, NANO_KV_FORMAT_F16);
}

void VEC_NAME(nano_attention_bf16)(const struct nano_attention_args *args)
{
    attend_all(args, NANO_KV_FORMAT_BF16);
}
