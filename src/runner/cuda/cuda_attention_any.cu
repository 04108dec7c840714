/* Attention for any shape and format, without tensor cores.
 *
 * A block of threads takes up to 16 rows of an item. Per chunk of keys its threads are used three
 * ways: eight lanes for a key (scores), a warp for a row (softmax), a thread for some columns of
 * some rows (the sum of values). */
#include "runner/cuda/cuda_attention_rows.h"
#include "runner/cuda/cuda_kv.h"

namespace
{
enum { WARPS = 8, THREADS = WARPS * NANO_WARP, CHUNK = NANO_ATTENTION_CHUNK, ROWS = 16 };
enum { KEY_LANES = THREADS / CHUNK, WARP_ROWS = ROWS / WARPS };

/* Elements of a row of K or V, without its scale; load8 wants i and the row's dim divisible by 8.
 */
template <enum nano_kv_format Format> struct elements;

template <> struct elements<NANO_KV_FORMAT_F32> {
    static __device__ float load(const uint8_t *row, int i)
    {
        return reinterpret_cast<const float *>(row)[i];
    }
    static __device__ void load8(const uint8_t *row, int i, float out[8])
    {
        const float4 *from = reinterpret_cast<const float4 *>(row + 4 * i);
        const float4 a = from[0], b = from[1];
        out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w;
        out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
    }
};

template <bool Bf16> struct half_elements {
    static __device__ float convert(uint16_t bits)
    {
        return Bf16 ? nano_f32_from_bf16(bits) : nano_f32_from_f16(bits);
    }
    static __device__ float load(const uint8_t *row, int i)
    {
        return convert(reinterpret_cast<const uint16_t *>(row)[i]);
    }
    static __device__ void load8(const uint8_t *row, int i, float out[8])
    {
        const uint4 v = *reinterpret_cast<const uint4 *>(row + 2 * i);
        const uint32_t pairs[4] = {v.x, v.y, v.z, v.w};
        for (int k = 0; k < 8; k++)
            out[k] = convert(static_cast<uint16_t>(pairs[k / 2] >> k % 2 * 16));
    }
};

template <> struct elements<NANO_KV_FORMAT_F16> : half_elements<false> {
};
template <> struct elements<NANO_KV_FORMAT_BF16> : half_elements<true> {
};

template <> struct elements<NANO_KV_FORMAT_Q8_0> {
    static __device__ float load(const uint8_t *row, int i)
    {
        return static_cast<float>(reinterpret_cast<const int8_t *>(row)[i]);
    }
    static __device__ void load8(const uint8_t *row, int i, float out[8])
    {
        const uint2 v = *reinterpret_cast<const uint2 *>(row + i);
        const uint32_t words[2] = {v.x, v.y};
        for (int k = 0; k < 8; k++)
            out[k] = static_cast<float>(static_cast<int8_t>(words[k / 4] >> k % 4 * 8));
    }
};

template <> struct elements<NANO_KV_FORMAT_FP8> {
    static __device__ float load(const uint8_t *row, int i)
    {
        return __fmul_rn(nano_f32_from_f16(nano_f16_from_e4m3(row[i])), NANO_E4M3_UNIT);
    }
    static __device__ void load8(const uint8_t *row, int i, float out[8])
    {
        const uint2 v = *reinterpret_cast<const uint2 *>(row + i);
        const uint32_t words[2] = {v.x, v.y};
        for (int k = 0; k < 2; k++) {
            const uint2 halves = nano_f16x4_from_e4m3(words[k]);
            const float2 a = nano_f32x2_from_f16x2(halves.x), b = nano_f32x2_from_f16x2(halves.y);
            const float values[4] = {a.x, a.y, b.x, b.y};
            for (int j = 0; j < 4; j++)
                out[4 * k + j] = __fmul_rn(values[j], NANO_E4M3_UNIT);
        }
    }
};

/* The block's shared memory. q is behind it: [ROWS][units of 8 elements], of each row the first
 * halves of all units and then the second ones, so that neighbouring lanes read neighbouring 16
 * bytes. */
struct shared {
    const uint8_t *v_rows[CHUNK]; /* NULL: no query of the item sees the key */
    float v_scales[CHUNK];
    float weights[ROWS][CHUNK]; /* and before that, scores */
    unsigned seen[ROWS];        /* bit j: the row sees key j of the chunk */
    float keep[ROWS];           /* of the chunk, for what the range has so far */
    struct nano_attention_fold folds[ROWS];
    float factors[ROWS];
};

/* One block's work on some rows of an item. */
struct work {
    const struct nano_attention_params *p;
    const struct nano_cuda_attention_item *item;
    struct shared *shared;
    float *q;
    int units; /* of 8 elements of head_dim, rounded up */
    int kv_head, first_row, num_rows;
    int warp, lane;
};

__device__ struct nano_attention_row row_of(const struct work &w, int r)
{
    return nano_attention_row_of(*w.p, *w.item, w.kv_head, w.first_row + r);
}

__device__ void load_q(const struct work &w)
{
    const int dim = w.p->args.head_dim, padded = 8 * w.units;
    for (int r = w.warp; r < w.num_rows; r += WARPS) {
        const float *q = nano_attention_q(*w.p, *w.item, row_of(w, r));
        for (int i = w.lane; i < padded; i += NANO_WARP)
            w.q[r * padded + (i & 4 ? 4 * w.units : 0) + i / 8 * 4 + i % 4] = i < dim ? q[i] : 0;
    }
}

template <enum nano_kv_format Format>
__device__ void load_unit(const uint8_t *row, int unit, int dim, float out[8])
{
    if (dim % 8 == 0) {
        elements<Format>::load8(row, 8 * unit, out);
        return;
    }
    for (int i = 0; i < 8; i++)
        out[i] = 8 * unit + i < dim ? elements<Format>::load(row, 8 * unit + i) : 0;
}

/* Scores of the chunk's keys, and where their values are. */
template <enum nano_kv_format Format> __device__ void score_keys(const struct work &w, int chunk)
{
    const struct nano_attention_params &p = *w.p;
    const int index = w.warp * (NANO_WARP / KEY_LANES) + w.lane / KEY_LANES;
    const int part = w.lane % KEY_LANES, position = chunk + index, block_size = p.args.block_size;
    const bool valid = position >= w.item->begin && position < w.item->end;
    float dots[ROWS];
    for (int r = 0; r < ROWS; r++)
        dots[r] = 0;
    int64_t block = 0, token = 0;
    if (valid) {
        block = nano_attention_table(p, *w.item)[position / block_size];
        token = static_cast<int64_t>(w.kv_head) * block_size + position % block_size;
        const uint8_t *row = nano_kv_values(p.k, block, token);
        for (int unit = part; unit < w.units; unit += KEY_LANES) {
            float k[8];
            load_unit<Format>(row, unit, p.args.head_dim, k);
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                if (r < w.num_rows) {
                    const float *q = w.q + 8 * w.units * r + 4 * unit;
                    const float4 a = *reinterpret_cast<const float4 *>(q);
                    const float4 b = *reinterpret_cast<const float4 *>(q + 4 * w.units);
                    float dot = dots[r];
                    dot = __fmaf_rn(a.x, k[0], dot);
                    dot = __fmaf_rn(a.y, k[1], dot);
                    dot = __fmaf_rn(a.z, k[2], dot);
                    dot = __fmaf_rn(a.w, k[3], dot);
                    dot = __fmaf_rn(b.x, k[4], dot);
                    dot = __fmaf_rn(b.y, k[5], dot);
                    dot = __fmaf_rn(b.z, k[6], dot);
                    dots[r] = __fmaf_rn(b.w, k[7], dot);
                }
        }
    }
    const bool scaled = Format == NANO_KV_FORMAT_Q8_0 && valid;
    const float k_scale = scaled ? *nano_kv_scale(p.k, block, token) : 1;
#pragma unroll
    for (int r = 0; r < ROWS; r++)
        if (r < w.num_rows) {
            float dot = dots[r];
            for (int mask = KEY_LANES / 2; mask; mask /= 2)
                dot = __fadd_rn(dot, nano_shfl_xor(dot, mask));
            if (part == 0)
                w.shared->weights[r][index] = nano_attention_score(p, __fmul_rn(dot, k_scale));
        }
    if (part == 0) {
        w.shared->v_rows[index] = valid ? nano_kv_values(p.v, block, token) : NULL;
        w.shared->v_scales[index] = scaled ? *nano_kv_scale(p.v, block, token) : 1;
    }
}

/* The sums of a warp's rows. */
struct row_sums {
    float max, sum; /* of the range */
    struct nano_attention_total total;
};

/* Weights of the chunk's keys for row r; with `ends`, the range ends behind it. */
__device__ void weigh_keys(const struct work &w, int r, int chunk, bool ends, struct row_sums &sums)
{
    struct shared &s = *w.shared;
    const struct nano_attention_row row = row_of(w, r);
    const bool seen = chunk + w.lane >= row.begin && chunk + w.lane < row.end;
    const float score = seen ? s.weights[r][w.lane] : -INFINITY;
    const float new_max = fmaxf(sums.max, nano_warp_max(score));
    const float keep = nano_attention_keep(sums.max, new_max);
    const float weight = nano_attention_weight(score, new_max);
    float sum = weight;
    for (int mask = NANO_WARP / 2; mask; mask /= 2)
        sum = __fadd_rn(sum, nano_shfl_xor(sum, mask));
    sums.max = new_max;
    sums.sum = __fmaf_rn(sums.sum, keep, sum);
    /* The scale of a token that the row does not see may be NaN. */
    s.weights[r][w.lane] = seen ? __fmul_rn(weight, s.v_scales[w.lane]) : 0;
    const unsigned seen_bits = nano_ballot(seen);
    if (w.lane == 0) {
        s.seen[r] = seen_bits;
        s.keep[r] = keep;
    }
    if (!ends)
        return;
    if (w.item->partial >= 0) {
        float *partial = nano_attention_partial(*w.p, w.item->partial + row.query, row.head) +
                         w.p->args.v_head_dim;
        if (w.lane == 0)
            partial[0] = sums.max, partial[1] = sums.sum;
        return;
    }
    const struct nano_attention_fold fold = nano_attention_add(sums.total, sums.max, sums.sum);
    if (w.lane == 0) {
        s.folds[r] = fold;
        s.factors[r] = nano_attention_factor(*w.p, sums.total, row.head);
    }
    sums.max = -INFINITY;
    sums.sum = 0;
}

/* The columns of a thread: group + i * Groups are its rows, first + n * ColumnThreads its columns.
 */
template <int ColumnThreads, int Columns> struct columns {
    enum { GROUPS = THREADS / ColumnThreads, MY_ROWS = ROWS / GROUPS };
    float range[MY_ROWS][Columns], total[MY_ROWS][Columns];
    int group, first;

    __device__ void clear_range(void)
    {
#pragma unroll
        for (int i = 0; i < MY_ROWS; i++)
            for (int n = 0; n < Columns; n++)
                range[i][n] = 0;
    }

    template <enum nano_kv_format Format> __device__ void add_chunk(const struct work &w)
    {
        const struct shared &s = *w.shared;
        const int dim = w.p->args.v_head_dim;
#pragma unroll
        for (int i = 0; i < MY_ROWS; i++)
            if (group + i * GROUPS < w.num_rows)
                for (int n = 0; n < Columns; n++)
                    range[i][n] = __fmul_rn(range[i][n], s.keep[group + i * GROUPS]);
#pragma unroll 2
        for (int key = 0; key < CHUNK; key += 4) {
            float v[4][Columns];
#pragma unroll
            for (int k = 0; k < 4; k++)
                for (int n = 0; n < Columns; n++) {
                    const int column = first + n * ColumnThreads;
                    const uint8_t *row = s.v_rows[key + k];
                    v[k][n] = row && column < dim ? elements<Format>::load(row, column) : 0;
                }
#pragma unroll
            for (int i = 0; i < MY_ROWS; i++) {
                const int r = group + i * GROUPS;
                if (r >= w.num_rows)
                    continue;
                const float4 weights = *reinterpret_cast<const float4 *>(&s.weights[r][key]);
                const float weight[4] = {weights.x, weights.y, weights.z, weights.w};
                const unsigned seen = s.seen[r] >> key & 15;
#pragma unroll
                for (int k = 0; k < 4; k++)
                    for (int n = 0; n < Columns; n++) {
                        /* What the row does not see may be NaN. */
                        const float value = seen == 15 || seen >> k & 1 ? v[k][n] : 0;
                        range[i][n] = __fmaf_rn(weight[k], value, range[i][n]);
                    }
            }
        }
    }

    __device__ void end_range(const struct work &w)
    {
#pragma unroll
        for (int i = 0; i < MY_ROWS; i++) {
            const int r = group + i * GROUPS;
            if (r >= w.num_rows)
                continue;
            float *partial = NULL;
            if (w.item->partial >= 0) {
                const struct nano_attention_row row = row_of(w, r);
                partial = nano_attention_partial(*w.p, w.item->partial + row.query, row.head);
            }
            for (int n = 0; n < Columns; n++) {
                const int column = first + n * ColumnThreads;
                const float value = nano_attention_value(range[i][n], 1);
                if (!partial)
                    total[i][n] = nano_attention_add_value(w.shared->folds[r], total[i][n], value);
                else if (column < w.p->args.v_head_dim)
                    partial[column] = value;
            }
        }
        clear_range();
    }

    __device__ void write_out(const struct work &w)
    {
#pragma unroll
        for (int i = 0; i < MY_ROWS; i++) {
            const int r = group + i * GROUPS;
            if (r >= w.num_rows)
                continue;
            const struct nano_attention_row row = row_of(w, r);
            float *out = nano_attention_out(*w.p, w.item->first_row + row.query, row.head);
            for (int n = 0; n < Columns; n++) {
                const int column = first + n * ColumnThreads;
                if (column < w.p->args.v_head_dim)
                    out[column] = __fmul_rn(total[i][n], w.shared->factors[r]);
            }
        }
    }
};

template <enum nano_kv_format Format, int ColumnThreads, int Columns>
__device__ void attend(const struct work &w)
{
    struct row_sums sums[WARP_ROWS];
    struct columns<ColumnThreads, Columns> values;
    for (int i = 0; i < WARP_ROWS; i++)
        sums[i] = {-INFINITY, 0, {-INFINITY, 0}};
    values.group = static_cast<int>(threadIdx.x) / ColumnThreads;
    values.first = static_cast<int>(threadIdx.x) % ColumnThreads;
    values.clear_range();
    for (int i = 0; i < values.MY_ROWS; i++)
        for (int n = 0; n < Columns; n++)
            values.total[i][n] = 0;
    load_q(w);
    __syncthreads();
    const int end = w.item->end;
    for (int chunk = w.item->begin / CHUNK * CHUNK; chunk < end; chunk += CHUNK) {
        const bool ends = chunk + CHUNK >= end || (chunk + CHUNK) % NANO_ATTENTION_SPLIT == 0;
        score_keys<Format>(w, chunk);
        __syncthreads();
        for (int i = 0; i < WARP_ROWS; i++)
            if (w.warp + i * WARPS < w.num_rows)
                weigh_keys(w, w.warp + i * WARPS, chunk, ends, sums[i]);
        __syncthreads();
        values.template add_chunk<Format>(w);
        if (ends)
            values.end_range(w);
        if (ends && chunk + CHUNK >= end && w.item->partial < 0)
            values.write_out(w);
        __syncthreads();
    }
}

template <enum nano_kv_format Format, int ColumnThreads, int Columns>
__global__ void __launch_bounds__(THREADS, 2) attention_kernel(struct nano_attention_params p)
{
    nano_wait_for_earlier();
    NANO_DYNAMIC_SHARED(struct shared, shared);
    struct work w;
    w.p = &p;
    w.shared = shared;
    w.q = reinterpret_cast<float *>(shared + 1);
    w.units = (p.args.head_dim + 7) / 8;
    w.kv_head = static_cast<int>(blockIdx.y);
    w.first_row = static_cast<int>(blockIdx.z) * ROWS;
    w.warp = static_cast<int>(threadIdx.x) / NANO_WARP;
    w.lane = static_cast<int>(threadIdx.x) % NANO_WARP;
    const int num_items = p.args.batch->groups[p.args.group].num_items;
    for (int i = static_cast<int>(blockIdx.x); i < num_items; i += static_cast<int>(gridDim.x)) {
        const struct nano_cuda_attention_item item = nano_attention_items(p)[i];
        w.item = &item;
        w.num_rows = min(item.num_queries * p.group_heads - w.first_row, static_cast<int>(ROWS));
        if (w.num_rows > 0)
            attend<Format, ColumnThreads, Columns>(w);
    }
}

typedef void (*kernel)(struct nano_attention_params);

template <enum nano_kv_format Format> kernel choose(int v_head_dim)
{
    return v_head_dim <= 64    ? attention_kernel<Format, 64, 1>
           : v_head_dim <= 128 ? attention_kernel<Format, 128, 1>
           : v_head_dim <= 256 ? attention_kernel<Format, 256, 1>
           : v_head_dim <= 512 ? attention_kernel<Format, 256, 2>
                               : attention_kernel<Format, 256, 3>;
}
} // namespace

void nano_cuda_attention_any(struct nano_cuda_device *device,
                             const struct nano_attention_params &params)
{
    const struct nano_cuda_attention_args &args = params.args;
    const int dim = args.v_head_dim,
              max_rows = params.group_heads *
                         nano_cuda_attention_queries(args.num_heads, args.num_kv_heads);
    const kernel kernel = args.format == NANO_KV_FORMAT_F32    ? choose<NANO_KV_FORMAT_F32>(dim)
                          : args.format == NANO_KV_FORMAT_F16  ? choose<NANO_KV_FORMAT_F16>(dim)
                          : args.format == NANO_KV_FORMAT_BF16 ? choose<NANO_KV_FORMAT_BF16>(dim)
                          : args.format == NANO_KV_FORMAT_Q8_0 ? choose<NANO_KV_FORMAT_Q8_0>(dim)
                                                               : choose<NANO_KV_FORMAT_FP8>(dim);
    const size_t q_floats =
        static_cast<size_t>(ROWS) * static_cast<size_t>((args.head_dim + 7) / 8 * 8);
    nano_launch_early(device, kernel,
                      dim3(static_cast<unsigned>(nano_cuda_attention_blocks(&args)),
                           static_cast<unsigned>(args.num_kv_heads),
                           static_cast<unsigned>((max_rows + ROWS - 1) / ROWS)),
                      dim3(THREADS), sizeof(struct shared) + q_floats * sizeof(float), params);
}
