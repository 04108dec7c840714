/* What attention's kernels have in common: where K and V lie, what a row sees, and how the sums of
 * ranges become an output.
 *
 * A row is a query at one head. It is summed range by range of NANO_ATTENTION_SPLIT positions, in
 * chunks of 32 keys that begin at multiples of 32: a largest score, the sum of weights relative to
 * it and the weighted sum of V. Ranges are added to a running total in ascending order, by one
 * function wherever it happens, every rounding of which is written down. Together with kernels
 * whose sums inside a range depend on positions only, that makes a row's bits the same however it
 * was cut. */
#ifndef NANO_RUNNER_CUDA_CUDA_ATTENTION_ROWS_H
#define NANO_RUNNER_CUDA_CUDA_ATTENTION_ROWS_H

#include <math.h>

#include "runner/cuda/cuda_attention.h"
#include "runner/cuda/cuda_lang.h"

enum { NANO_ATTENTION_CHUNK = 32 };

/* ---- pools ---- */

struct nano_kv_pool {
    const uint8_t *data;
    int64_t block_bytes, scales_offset; /* of a block's scales, from its beginning */
    int64_t token_bytes;
    int dim;
};

static __host__ __device__ inline int64_t nano_kv_round_up(int64_t num_bytes)
{
    return (num_bytes + 15) / 16 * 16; /* whatever the sizes, 16 bytes at a time can be loaded */
}

static __host__ __device__ inline struct nano_kv_pool nano_kv_pool_of(enum nano_kv_format format,
                                                                      const void *data,
                                                                      int num_kv_heads, int dim,
                                                                      int block_size)
{
    const bool is_bytes = format == NANO_KV_FORMAT_Q8_0 || format == NANO_KV_FORMAT_FP8;
    const int value_bytes = format == NANO_KV_FORMAT_F32 ? 4 : is_bytes ? 1 : 2;
    const int64_t tokens = static_cast<int64_t>(num_kv_heads) * block_size;
    struct nano_kv_pool pool;
    pool.data = static_cast<const uint8_t *>(data);
    pool.dim = dim;
    pool.token_bytes = static_cast<int64_t>(dim) * value_bytes;
    pool.scales_offset = nano_kv_round_up(tokens * pool.token_bytes);
    pool.block_bytes =
        pool.scales_offset + (format == NANO_KV_FORMAT_Q8_0 ? nano_kv_round_up(4 * tokens) : 0);
    return pool;
}

/* Token `token` of a block: head * block_size + offset. */
static __device__ inline const uint8_t *nano_kv_values(const struct nano_kv_pool &pool,
                                                       int64_t block, int64_t token)
{
    return pool.data + block * pool.block_bytes + token * pool.token_bytes;
}

static __device__ inline const float *nano_kv_scale(const struct nano_kv_pool &pool, int64_t block,
                                                    int64_t token)
{
    return reinterpret_cast<const float *>(pool.data + block * pool.block_bytes +
                                           pool.scales_offset) +
           token;
}

/* ---- rows ---- */

struct nano_attention_params {
    struct nano_cuda_attention_args args;
    struct nano_kv_pool k, v; /* v is k with v_in_k, but for its dim */
    int group_heads;          /* that share a KV head */
    float inverse_softcap;
};

/* Row r of an item at a KV head: queries one after the other, each with its heads. It sees
 * positions [begin, end); rows that there are not see nothing. */
struct nano_attention_row {
    int query, head;
    int begin, end;
    bool exists;
};

static __device__ inline struct nano_attention_row
nano_attention_row_of(const struct nano_attention_params &p,
                      const struct nano_cuda_attention_item &item, int kv_head, int r)
{
    struct nano_attention_row row;
    row.query = r / p.group_heads;
    row.head = kv_head * p.group_heads + r % p.group_heads;
    row.exists = row.query < item.num_queries;
    const int position = item.first_position + row.query, window = p.args.window;
    row.end = p.args.bidirectional ? item.seq_end : position + 1;
    row.begin = !p.args.bidirectional && window > 0 && window <= position ? row.end - window : 0;
    if (!row.exists)
        row.begin = row.end = 0;
    return row;
}

static __device__ inline const float *nano_attention_q(const struct nano_attention_params &p,
                                                       const struct nano_cuda_attention_item &item,
                                                       const struct nano_attention_row &row)
{
    return p.args.q.data + (item.first_row + row.query) * p.args.q.stride +
           static_cast<int64_t>(row.head) * p.args.head_dim;
}

static __device__ inline float *nano_attention_out(const struct nano_attention_params &p,
                                                   int64_t row, int head)
{
    return p.args.out.data + row * p.args.out.stride +
           static_cast<int64_t>(head) * p.args.v_head_dim;
}

/* v_head_dim values, the largest score, the sum of weights. */
static __device__ inline float *nano_attention_partial(const struct nano_attention_params &p,
                                                       int64_t partial_row, int head)
{
    return p.args.partials +
           (partial_row * p.args.num_heads + head) * static_cast<int64_t>(p.args.v_head_dim + 2);
}

static __device__ inline const struct nano_cuda_attention_item *
nano_attention_items(const struct nano_attention_params &p)
{
    const struct nano_cuda_batch *batch = p.args.batch;
    return reinterpret_cast<const struct nano_cuda_attention_item *>(
        reinterpret_cast<const int32_t *>(batch) + batch->groups[p.args.group].items);
}

static __device__ inline const int32_t *
nano_attention_table(const struct nano_attention_params &p,
                     const struct nano_cuda_attention_item &item)
{
    return reinterpret_cast<const int32_t *>(p.args.batch) + item.table;
}

/* ---- sums ---- */

/* tanh as simd/ref has it, with every rounding written down: m / (m + 2) with m = exp(2 x) - 1. */
static __device__ inline float nano_attention_tanh(float x)
{
    const float y = fminf(fmaxf(__fmul_rn(2, x), -20), 20);
    const float n = rintf(__fmul_rn(y, 0x1.715476p+0f));
    const float r = __fmaf_rn(n, -0x1.7f7d1cp-20f, __fmaf_rn(n, -0x1.62e4p-1f, y));
    float p = 1.0f / 5040;
    p = __fmaf_rn(p, r, 1.0f / 720);
    p = __fmaf_rn(p, r, 1.0f / 120);
    p = __fmaf_rn(p, r, 1.0f / 24);
    p = __fmaf_rn(p, r, 1.0f / 6);
    p = __fmaf_rn(p, r, 0.5f);
    p = __fmaf_rn(__fmul_rn(p, r), r, r);
    const float power = nano_f32_from_bits(static_cast<uint32_t>(static_cast<int>(n) + 127) << 23);
    const float m = __fmaf_rn(p, power, __fadd_rn(power, -1));
    return x == x ? m / __fadd_rn(m, 2) : x; /* x where it is NaN */
}

static __device__ inline float nano_attention_capped(const struct nano_attention_params &p,
                                                     float score)
{
    return __fmul_rn(p.args.softcap, nano_attention_tanh(__fmul_rn(score, p.inverse_softcap)));
}

static __device__ inline float nano_attention_score(const struct nano_attention_params &p,
                                                    float dot)
{
    const float score = __fmul_rn(dot, p.args.scale);
    return p.args.softcap != 0 ? nano_attention_capped(p, score) : score;
}

/* By what sums so far are multiplied when the largest score grows: 1 to the bit when it does not.
 */
static __device__ inline float nano_attention_keep(float max, float new_max)
{
    return max == new_max ? 1 : nano_fast_exp(__fadd_rn(max, -new_max));
}

/* Of a score -inf, 0: also where there is nothing but those. */
static __device__ inline float nano_attention_weight(float score, float max)
{
    return nano_fast_exp(__fadd_rn(score, max == -INFINITY ? 0 : -max));
}

struct nano_attention_total {
    float max, sum;
};

/* How a range's values are added to the total's. */
struct nano_attention_fold {
    bool seen; /* else the range has nothing that the row sees: the total stays as it is */
    float keep, add;
};

static __device__ inline struct nano_attention_fold
nano_attention_add(struct nano_attention_total &total, float max, float sum)
{
    struct nano_attention_fold fold;
    fold.seen = sum != 0; /* NaN is seen */
    fold.keep = fold.add = 0;
    if (fold.seen) {
        const float new_max = fmaxf(total.max, max);
        fold.keep = nano_attention_keep(total.max, new_max);
        fold.add = nano_attention_keep(max, new_max);
        total.sum = __fmaf_rn(total.sum, fold.keep, __fmul_rn(sum, fold.add));
        total.max = new_max;
    }
    return fold;
}

static __device__ inline float nano_attention_add_value(const struct nano_attention_fold &fold,
                                                        float total, float value)
{
    return fold.seen ? __fmaf_rn(total, fold.keep, __fmul_rn(value, fold.add)) : total;
}

/* A range's value, in units of V's elements, as it is added or stored: never -0, which a chunk that
 * a row does not see would turn into 0. */
static __device__ inline float nano_attention_value(float value, float unit)
{
    return __fmaf_rn(value, unit, 0.0f);
}

/* What the total's values are multiplied with at last. */
static __device__ inline float nano_attention_factor(const struct nano_attention_params &p,
                                                     const struct nano_attention_total &total,
                                                     int head)
{
    if (!p.args.sinks)
        return 1 / total.sum;
    const float sink = p.args.sinks[head], new_max = fmaxf(total.max, sink);
    const float keep = nano_attention_keep(total.max, new_max);
    return keep / __fmaf_rn(total.sum, keep, nano_attention_keep(sink, new_max));
}

/* ---- launchers ---- */

/* Any shape and format. */
void nano_cuda_attention_any(struct nano_cuda_device *device,
                             const struct nano_attention_params &params);

/* With tensor cores; false, and nothing is done, for a shape or format that it is not for. */
bool nano_cuda_attention_mma(struct nano_cuda_device *device,
                             const struct nano_attention_params &params);
bool nano_cuda_attention_mma8(struct nano_cuda_device *device,
                              const struct nano_attention_params &params);

#endif
