/* The KV pool and attention over it.
 *
 * A page is [block_size, head_dim] values, row by row; the pool is pages [num_blocks,
 * num_kv_heads].
 *
 * Attention runs over positions in groups of 64 that begin at multiples of 64, keeping the largest
 * score so far, the sum of exponentials and the weighted sum of V ("online softmax"). The groups
 * are a matter of positions only, so block_size, chunking and what else is in the call change no
 * bit. */
#include <math.h>

#include "simd/ref/ref.h"

enum { GROUP = 64 };

static size_t value_bytes(enum nano_kv_format format)
{
    return format == NANO_KV_FORMAT_F32 ? 4 : 2;
}

static float load_value(const uint8_t *at, enum nano_kv_format format)
{
    if (format == NANO_KV_FORMAT_F32)
        return nano_load_f32(at);
    return format == NANO_KV_FORMAT_F16 ? nano_load_f16(at) : nano_load_bf16(at);
}

static void store_values(uint8_t *row, enum nano_kv_format format, const float *values, int n)
{
    if (format == NANO_KV_FORMAT_F32) {
        memcpy(row, values, (size_t)n * sizeof *values);
        return;
    }
    for (int i = 0; i < n; i++)
        nano_store_u16(row + 2 * i, format == NANO_KV_FORMAT_F16 ? nano_f32_to_f16(values[i])
                                                                 : nano_f32_to_bf16(values[i]));
}

size_t nano_kv_page_bytes_ref(const struct nano_kv_layout *kv)
{
    return (size_t)kv->block_size * (size_t)kv->head_dim * value_bytes(kv->format);
}

/* Where a token's row of one head begins in a pool. */
static size_t row_offset(const struct nano_kv_layout *kv, int64_t block, int offset, int head)
{
    size_t page = (size_t)block * (size_t)kv->num_kv_heads + (size_t)head;
    return page * nano_kv_page_bytes_ref(kv) +
           (size_t)offset * (size_t)kv->head_dim * value_bytes(kv->format);
}

void nano_kv_store_ref(const struct nano_kv_layout *kv, void *k_pool, void *v_pool, int32_t slot,
                       const float *k, const float *v)
{
    for (int head = 0; head < kv->num_kv_heads; head++) {
        size_t at = row_offset(kv, slot / kv->block_size, slot % kv->block_size, head);
        int64_t from = (int64_t)head * kv->head_dim;
        store_values((uint8_t *)k_pool + at, kv->format, k + from, kv->head_dim);
        store_values((uint8_t *)v_pool + at, kv->format, v + from, kv->head_dim);
    }
}

size_t nano_attention_scratch_floats_ref(int head_dim, int num_q_heads)
{
    (void)head_dim;
    (void)num_q_heads;
    return 0;
}

static size_t position_offset(const struct nano_attention_args *args, int position)
{
    const struct nano_kv_layout *kv = &args->kv;
    int32_t block = args->block_table[position / kv->block_size];
    return row_offset(kv, block, position % kv->block_size, args->kv_head);
}

/* One query of one head that sees `num_positions` positions. */
static void attend(const struct nano_attention_args *args, const float *q, float *out,
                   int num_positions)
{
    const enum nano_kv_format format = args->kv.format;
    const int dim = args->kv.head_dim;
    const size_t bytes = value_bytes(format);
    float max = -INFINITY, sum = 0, scores[GROUP];
    for (int i = 0; i < dim; i++)
        out[i] = 0;
    for (int begin = 0; begin < num_positions; begin += GROUP) {
        int n = num_positions - begin < GROUP ? num_positions - begin : GROUP;
        float old_max = max;
        for (int p = 0; p < n; p++) {
            const uint8_t *k = (const uint8_t *)args->k_pool + position_offset(args, begin + p);
            float dot = 0;
            for (int i = 0; i < dim; i++)
                dot += q[i] * load_value(k + (size_t)i * bytes, format);
            scores[p] = dot * args->scale;
            max = scores[p] > max ? scores[p] : max;
        }
        float keep = nano_exp_ref(old_max - max);
        sum *= keep;
        for (int i = 0; i < dim; i++)
            out[i] *= keep;
        for (int p = 0; p < n; p++) {
            const uint8_t *v = (const uint8_t *)args->v_pool + position_offset(args, begin + p);
            float weight = nano_exp_ref(scores[p] - max);
            sum += weight;
            for (int i = 0; i < dim; i++)
                out[i] += weight * load_value(v + (size_t)i * bytes, format);
        }
    }
    for (int i = 0; i < dim; i++)
        out[i] /= sum;
}

void nano_attention_ref(const struct nano_attention_args *args)
{
    for (int i = 0; i < args->num_queries; i++) {
        for (int h = 0; h < args->num_q_heads; h++) {
            int64_t column = (int64_t)h * args->kv.head_dim;
            attend(args, args->q + i * args->q_stride + column,
                   args->out + i * args->out_stride + column, args->first_position + i + 1);
        }
    }
}
