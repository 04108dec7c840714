/* A tile of attention with tensor cores: 16 rows of an item, A of the products Q x K^T and P x V.
 *
 * Either each warp of a block has a tile of its own, or all of them have the same one and share its
 * work: in the first product its keys, and where there are more warps than groups of 8 keys also
 * its dims, whose sums are added through shared memory; in the second product its columns. An
 * element of a product is the same sequence of instructions whether keys and columns are shared or
 * not, so the same bits. */
#ifndef NANO_RUNNER_CUDA_CUDA_ATTENTION_TILE_H
#define NANO_RUNNER_CUDA_CUDA_ATTENTION_TILE_H

#include "runner/cuda/cuda_attention_rows.h"
#include "runner/cuda/cuda_kv.h"

/* ColumnWarps: warps that share a tile, 1 or all. Chunk: keys at a time, 16 or 32. Slots: of shared
 * memory for a chunk of K or of V as halves; RawSlots: for it as bytes, in formats of 8 bits.
 * Blocks: that a multiprocessor is to have room for. */
template <int KDim, int VDim, bool VInK, nano_kv_format Format, int Warps, int ColumnWarps,
          int Chunk, int Slots, int RawSlots, int Blocks>
struct nano_attention_shape {
    static constexpr int K_DIM = KDim, V_DIM = VDim, WARPS = Warps, COLUMN_WARPS = ColumnWarps,
                         CHUNK = Chunk, SLOTS = Slots, RAW_SLOTS = RawSlots, BLOCKS = Blocks;
    static constexpr bool V_IN_K = VInK, BF16 = Format == NANO_KV_FORMAT_BF16,
                          HAS_SCALES = Format == NANO_KV_FORMAT_Q8_0, IS_SHARED = ColumnWarps > 1;
    /* What 1 in the slots stands for. */
    static constexpr float UNIT = Format == NANO_KV_FORMAT_FP8 ? NANO_E4M3_UNIT : 1;
    static constexpr int TILE = 16, THREADS = Warps * NANO_WARP;
    static constexpr int ROWS = IS_SHARED ? TILE : Warps * TILE; /* of a block */
    static constexpr int KEY_TILES = Chunk / 8;
    /* Warps that share the dims of the same keys. */
    static constexpr int DIM_WARPS = IS_SHARED ? Warps / KEY_TILES : 1;
    static constexpr int DIM_STEPS = KDim / 16 / DIM_WARPS, KEY_STEPS = Chunk / 16;
    /* Groups of 8 columns. Where V cannot be shared out evenly some warps have groups that there
     * are not: those are summed like others, of whatever is there, and not written. */
    static constexpr int COLUMN_TILES = (VDim / 8 + ColumnWarps - 1) / ColumnWarps;
    /* Halves. Eight neighbouring rows begin in different banks. */
    static constexpr int STRIDE = (KDim + 31) / 32 * 32 + 8, SLOT_HALVES = Chunk * STRIDE;
    static constexpr int SCORE_STRIDE = Chunk + 8;
    /* Bytes, and where things begin behind the slots of halves. */
    static constexpr int RAW_BYTES = Chunk * KDim, RAW_AT = Slots * SLOT_HALVES * 2;
    static constexpr int SCALES_AT = RAW_AT + RawSlots * RAW_BYTES;
    static constexpr int SCORES_AT = SCALES_AT + (HAS_SCALES ? RawSlots * THREADS * 4 : 0);
    static constexpr int SHARED_BYTES =
        SCORES_AT + (IS_SHARED ? DIM_WARPS * TILE * SCORE_STRIDE * 4 : 0);
    static_assert(SHARED_BYTES <= 48 << 10, "more shared memory than a kernel has without asking");
};

/* ---- half precision ---- */

template <bool Bf16> static __device__ inline uint32_t nano_pack(float first, float second)
{
    return Bf16 ? nano_bf16x2_from_f32(first, second) : nano_f16x2_from_f32(first, second);
}

template <bool Bf16> static __device__ inline float nano_unpack(uint32_t pair, int which)
{
    const uint16_t bits = static_cast<uint16_t>(pair >> 16 * which);
    return Bf16 ? nano_f32_from_bf16(bits) : nano_f32_from_f16(bits);
}

template <bool Bf16>
static __device__ inline void nano_multiply_add(float d[4], const uint32_t a[4],
                                                const uint32_t b[2])
{
    if (Bf16)
        nano_mma_bf16(d, a, b);
    else
        nano_mma_f16(d, a, b);
}

template <bool Bf16> static __device__ inline bool nano_has_infinite(uint32_t pair)
{
    const uint32_t exponent = Bf16 ? 0x7f80 : 0x7c00;
    return (pair & exponent) == exponent || (pair >> 16 & exponent) == exponent;
}

/* Where a running total is kept: it is touched once a range, so in memory where a warp has all of a
 * row's columns and needs its registers for the range. */
template <bool InMemory> struct nano_attention_total_value {
    typedef float type;
};
template <> struct nano_attention_total_value<true> {
    typedef volatile float type;
};

/* ---- a warp's tile ---- */

template <typename Shape> struct nano_attention_tile {
    typedef typename nano_attention_total_value<!Shape::IS_SHARED>::type total_type;
    const struct nano_attention_params *p;
    const struct nano_cuda_attention_item *item;
    float *shared_scores;             /* [DIM_WARPS][TILE][SCORE_STRIDE] */
    int kv_head, first_row, num_rows; /* rows of the tile that there are */
    int first_column;                 /* of the warp's part of V */
    int warp, lane, g, t;             /* g = lane / 4 and t = lane % 4, as for mma */

    /* A thread has elements of rows g and g + 8: 0 and 1 below. */
    int row_begin[2], row_end[2];
    int begin, end;               /* what some row of the tile sees, */
    int common_begin, common_end; /* and what all of them see */
    uint32_t q[Shape::DIM_STEPS][4];
    float scores[Shape::KEY_TILES][4];
    float range[Shape::COLUMN_TILES][4];
    float max[2], sum[2]; /* of the range; a thread's sum is of its own keys */
    struct nano_attention_total totals[2];

    __device__ struct nano_attention_row row_of(int r) const
    {
        return nano_attention_row_of(*p, *item, kv_head, first_row + r);
    }

    /* Whether V has the warp's columns 8 * n on. */
    __device__ bool has_columns(int n) const
    {
        return 8 * Shape::COLUMN_TILES * Shape::COLUMN_WARPS == Shape::V_DIM ||
               first_column + 8 * n < Shape::V_DIM;
    }

    /* Of the first product: the first of the tile's 8 keys that are the warp's, and of its dims. */
    __device__ int first_key(void) const
    {
        return 8 * (warp % Shape::KEY_TILES);
    }
    __device__ int first_dim(void) const
    {
        return Shape::DIM_WARPS > 1 ? 16 * Shape::DIM_STEPS * (warp / Shape::KEY_TILES) : 0;
    }

    __device__ void clear_range(void)
    {
#pragma unroll
        for (int n = 0; n < Shape::COLUMN_TILES; n++)
            for (int i = 0; i < 4; i++)
                range[n][i] = 0;
        max[0] = max[1] = -INFINITY;
        sum[0] = sum[1] = 0;
    }

    __device__ void start(void)
    {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const struct nano_attention_row row = row_of(g + 8 * i);
            const float *from = row.exists ? nano_attention_q(*p, *item, row) + first_dim() : NULL;
            row_begin[i] = row.begin;
            row_end[i] = row.end;
#pragma unroll
            for (int k = 0; k < Shape::DIM_STEPS; k++)
                for (int half = 0; half < 2; half++) {
                    const int at = 16 * k + 8 * half + 2 * t;
                    q[k][i + 2 * half] = from ? nano_pack<Shape::BF16>(from[at], from[at + 1]) : 0;
                }
        }
        begin = end = common_begin = common_end = 0;
        if (num_rows > 0) {
            const struct nano_attention_row first = row_of(0), last = row_of(num_rows - 1);
            begin = first.begin;
            end = last.end;
            common_begin = last.begin;
            common_end = first.end;
        }
        totals[0] = totals[1] = {-INFINITY, 0};
        clear_range();
    }

    /* Whether a row sees a key of the chunk. To the other rows it makes no difference. */
    __device__ bool sees(int chunk) const
    {
        return chunk < end && chunk + Shape::CHUNK > begin;
    }

    /* ---- scores ---- */

    __device__ void multiply_keys(float s[4], const uint16_t *slot, int key) const
    {
        const uint16_t *from = slot + (key + lane % 8) * Shape::STRIDE + first_dim() + lane / 8 * 8;
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[i] = 0;
#pragma unroll
        for (int k = 0; k < Shape::DIM_STEPS; k += 2) {
            uint32_t b[4]; /* for two steps; the second half may be of none, and is not used then */
            nano_ldmatrix4(b, from + 16 * k);
            nano_multiply_add<Shape::BF16>(s, q[k], b);
            if (k + 1 < Shape::DIM_STEPS)
                nano_multiply_add<Shape::BF16>(s, q[k + 1], b + 2);
        }
    }

    /* From products to what weights are made of, for some groups of 8 keys. What is the same for
     * all is asked once: in between, the compiler can mix the work on them. */
    template <int Groups> __device__ void finish_scores(float (*s)[4], int first_position) const
    {
        const float scale = __fmul_rn(p->args.scale, Shape::UNIT);
#pragma unroll
        for (int i = 0; i < 4 * Groups; i++)
            s[i / 4][i % 4] = __fmul_rn(s[i / 4][i % 4], scale);
        if (p->args.softcap != 0) {
#pragma unroll
            for (int i = 0; i < 4 * Groups; i++)
                s[i / 4][i % 4] = nano_attention_capped(*p, s[i / 4][i % 4]);
        }
        if (first_position >= common_begin && first_position + 8 * Groups <= common_end)
            return;
#pragma unroll
        for (int i = 0; i < 4 * Groups; i++) {
            const int position = first_position + i / 4 * 8 + 2 * t + i % 2, r = i % 4 / 2;
            const bool seen = position >= row_begin[r] && position < row_end[r];
            s[i / 4][i % 4] = seen ? s[i / 4][i % 4] : -INFINITY;
        }
    }

    __device__ float2 *shared_score(int part, int i, int key) const
    {
        return reinterpret_cast<float2 *>(
            &shared_scores[(part * Shape::TILE + g + 8 * i) * Shape::SCORE_STRIDE + key + 2 * t]);
    }

    /* All scores of the tile, or the warp's part of them, which go to shared memory. */
    __device__ void score_keys(const uint16_t *slot, int chunk)
    {
        if (!Shape::IS_SHARED) {
#pragma unroll
            for (int n = 0; n < Shape::KEY_TILES; n++)
                multiply_keys(scores[n], slot, 8 * n);
            finish_scores<Shape::KEY_TILES>(scores, chunk);
            return;
        }
        float s[1][4];
        multiply_keys(s[0], slot, first_key());
        if (Shape::DIM_WARPS == 1)
            finish_scores<1>(s, chunk + first_key());
#pragma unroll
        for (int i = 0; i < 2; i++)
            *shared_score(warp / Shape::KEY_TILES, i, first_key()) =
                make_float2(s[0][2 * i], s[0][2 * i + 1]);
    }

    __device__ void gather_scores(int chunk)
    {
#pragma unroll
        for (int n = 0; n < Shape::KEY_TILES; n++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float2 s = *shared_score(0, i, 8 * n);
#pragma unroll
                for (int part = 1; part < Shape::DIM_WARPS; part++) {
                    const float2 more = *shared_score(part, i, 8 * n);
                    s.x = __fadd_rn(s.x, more.x);
                    s.y = __fadd_rn(s.y, more.y);
                }
                scores[n][2 * i] = s.x;
                scores[n][2 * i + 1] = s.y;
            }
        }
        if (Shape::DIM_WARPS > 1)
            finish_scores<Shape::KEY_TILES>(scores, chunk);
    }

    /* ---- values ---- */

    /* Scores become weights, A of the second product: the sum is of what they are rounded to. */
    __device__ void weigh_keys(uint32_t weights[Shape::KEY_STEPS][4])
    {
        float keep[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float largest = -INFINITY;
#pragma unroll
            for (int n = 0; n < Shape::KEY_TILES; n++)
                largest = fmaxf(largest, fmaxf(scores[n][2 * i], scores[n][2 * i + 1]));
            largest = fmaxf(largest, nano_shfl_xor(largest, 1));
            largest = fmaxf(largest, nano_shfl_xor(largest, 2));
            const float new_max = fmaxf(max[i], largest);
            keep[i] = nano_attention_keep(max[i], new_max);
            max[i] = new_max;
            float chunk_sum = 0;
#pragma unroll
            for (int n = 0; n < Shape::KEY_TILES; n++) {
                const uint32_t pair =
                    nano_pack<Shape::BF16>(nano_attention_weight(scores[n][2 * i], new_max),
                                           nano_attention_weight(scores[n][2 * i + 1], new_max));
                weights[n / 2][i + n % 2 * 2] = pair;
                chunk_sum = __fadd_rn(chunk_sum, nano_unpack<Shape::BF16>(pair, 0));
                chunk_sum = __fadd_rn(chunk_sum, nano_unpack<Shape::BF16>(pair, 1));
            }
            sum[i] = __fmaf_rn(sum[i], keep[i], chunk_sum);
        }
        if (!nano_ballot(keep[0] != 1 || keep[1] != 1))
            return;
#pragma unroll
        for (int n = 0; n < Shape::COLUMN_TILES; n++)
            for (int i = 0; i < 4; i++)
                range[n][i] = __fmul_rn(range[n][i], keep[i / 2]);
    }

    /* Whether the warp's columns of V have something infinite or NaN for a row that does not see
     * it: times 0 it would be NaN. */
    __device__ bool is_poisoned(const uint16_t *slot, int chunk) const
    {
        const int from = chunk > item->begin ? chunk : item->begin;
        const int to = chunk + Shape::CHUNK < item->end ? chunk + Shape::CHUNK : item->end;
        if (common_begin <= from && common_end >= to)
            return false;
        bool found = false;
        for (int i = lane; i < Shape::CHUNK * Shape::COLUMN_TILES; i += NANO_WARP) {
            if (!has_columns(i % Shape::COLUMN_TILES))
                continue;
            const uint4 v =
                *reinterpret_cast<const uint4 *>(slot + i / Shape::COLUMN_TILES * Shape::STRIDE +
                                                 first_column + i % Shape::COLUMN_TILES * 8);
            found |= nano_has_infinite<Shape::BF16>(v.x) || nano_has_infinite<Shape::BF16>(v.y) ||
                     nano_has_infinite<Shape::BF16>(v.z) || nano_has_infinite<Shape::BF16>(v.w);
        }
        return nano_ballot(found) != 0;
    }

    /* Groups of 8 columns of V, B of the second product, that one load gives. */
    static constexpr int COLUMNS_AT_ONCE = NANO_WARP / Shape::CHUNK;

    __device__ void load_columns(uint32_t b[4], const uint16_t *slot, int n) const
    {
        nano_ldmatrix4_transposed(b, slot + lane % Shape::CHUNK * Shape::STRIDE + first_column +
                                         lane / Shape::CHUNK * 8 + 8 * n);
    }

    __device__ void add_columns(float d[4], const uint32_t weights[Shape::KEY_STEPS][4],
                                const uint32_t b[2 * Shape::KEY_STEPS]) const
    {
#pragma unroll
        for (int k = 0; k < Shape::KEY_STEPS; k++)
            nano_multiply_add<Shape::BF16>(d, weights[k], b + 2 * k);
    }

    /* Row after row, with zeros for what it does not see. */
    __device__ void add_poisoned(const uint32_t weights[Shape::KEY_STEPS][4], const uint16_t *slot,
                                 int chunk)
    {
#pragma unroll 1
        for (int r = 0; r < num_rows; r++) {
            const struct nano_attention_row row = row_of(r);
            uint32_t seen[2 * Shape::KEY_STEPS];
#pragma unroll
            for (int i = 0; i < 2 * Shape::KEY_STEPS; i++) {
                const int position = chunk + 8 * i + 2 * t;
                seen[i] = (position >= row.begin && position < row.end ? 0xffffu : 0) |
                          (position + 1 >= row.begin && position + 1 < row.end ? 0xffff0000u : 0);
            }
#pragma unroll
            for (int n = 0; n < Shape::COLUMN_TILES; n += COLUMNS_AT_ONCE) {
                uint32_t b[4];
                load_columns(b, slot, n);
#pragma unroll
                for (int i = 0; i < COLUMNS_AT_ONCE; i++) {
                    uint32_t *own = b + i * 2 * Shape::KEY_STEPS;
                    float *d = range[n + i], sums[4] = {d[0], d[1], d[2], d[3]};
                    for (int k = 0; k < 2 * Shape::KEY_STEPS; k++)
                        own[k] &= seen[k];
                    add_columns(sums, weights, own);
                    for (int k = 0; k < 4; k++)
                        d[k] = g + k / 2 * 8 == r ? sums[k] : d[k];
                }
            }
        }
    }

    __device__ void add_values(const uint16_t *slot, int chunk)
    {
        uint32_t weights[Shape::KEY_STEPS][4];
        if (Shape::IS_SHARED)
            gather_scores(chunk);
        weigh_keys(weights);
        if (is_poisoned(slot, chunk)) {
            add_poisoned(weights, slot, chunk);
            return;
        }
#pragma unroll
        for (int n = 0; n < Shape::COLUMN_TILES; n += COLUMNS_AT_ONCE) {
            uint32_t b[4];
            load_columns(b, slot, n);
#pragma unroll
            for (int i = 0; i < COLUMNS_AT_ONCE; i++)
                add_columns(range[n + i], weights, b + i * 2 * Shape::KEY_STEPS);
        }
    }

    /* ---- ends ---- */

    __device__ void store_partial(int i) const
    {
        if (g + 8 * i >= num_rows)
            return;
        const struct nano_attention_row row = row_of(g + 8 * i);
        float *partial = nano_attention_partial(*p, item->partial + row.query, row.head);
#pragma unroll
        for (int n = 0; n < Shape::COLUMN_TILES; n++)
            for (int k = 0; k < 2 && has_columns(n); k++)
                partial[first_column + 8 * n + 2 * t + k] =
                    nano_attention_value(range[n][2 * i + k], Shape::UNIT);
        if (t == 0 && first_column == 0) {
            partial[Shape::V_DIM] = max[i];
            partial[Shape::V_DIM + 1] = sum[i];
        }
    }

    /* To partial rows, or to the total. */
    __device__ void end_range(total_type total[Shape::COLUMN_TILES][4])
    {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            sum[i] = __fadd_rn(sum[i], nano_shfl_xor(sum[i], 1));
            sum[i] = __fadd_rn(sum[i], nano_shfl_xor(sum[i], 2));
            if (item->partial >= 0) {
                store_partial(i);
                continue;
            }
            const struct nano_attention_fold fold = nano_attention_add(totals[i], max[i], sum[i]);
#pragma unroll
            for (int n = 0; n < Shape::COLUMN_TILES; n++)
                for (int k = 2 * i; k < 2 * i + 2; k++)
                    total[n][k] = nano_attention_add_value(
                        fold, total[n][k], nano_attention_value(range[n][k], Shape::UNIT));
        }
        clear_range();
    }

    __device__ void write_out(const total_type total[Shape::COLUMN_TILES][4])
    {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            if (g + 8 * i >= num_rows)
                continue;
            const struct nano_attention_row row = row_of(g + 8 * i);
            const float factor = nano_attention_factor(*p, totals[i], row.head);
            float *out = nano_attention_out(*p, item->first_row + row.query, row.head);
#pragma unroll
            for (int n = 0; n < Shape::COLUMN_TILES; n++)
                for (int k = 0; k < 2 && has_columns(n); k++)
                    out[first_column + 8 * n + 2 * t + k] = __fmul_rn(total[n][2 * i + k], factor);
        }
    }
};

#endif
