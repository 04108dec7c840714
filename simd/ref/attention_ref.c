/* The KV pool and attention over it.
 *
 * Attention runs over positions in groups of 64 that begin at multiples of 64, keeping the largest
 * score so far, the sum of exponentials and the weighted sum of V ("online softmax"), anew for each
 * range of NANO_ATTENTION_SPLIT. Groups and ranges are a matter of positions only, so block_size,
 * chunking and what else is in the call change no bit. */
#include <float.h>
#include <math.h>

#include "simd/kv_layout.h"
#include "simd/ref/ref.h"

enum { GROUP = 64 };

static float load_value(const uint8_t *values, size_t i, enum nano_kv_format format)
{
    if (format == NANO_KV_FORMAT_F32)
        return nano_load_f32(values + 4 * i);
    if (format == NANO_KV_FORMAT_Q8_0)
        return (int8_t)values[i];
    return format == NANO_KV_FORMAT_F16 ? nano_load_f16(values + 2 * i)
                                        : nano_load_bf16(values + 2 * i);
}

static void store_value(uint8_t *values, size_t i, enum nano_kv_format format, float x)
{
    if (format == NANO_KV_FORMAT_F32)
        memcpy(values + 4 * i, &x, sizeof x);
    else
        nano_store_u16(values + 2 * i,
                       format == NANO_KV_FORMAT_F16 ? nano_f32_to_f16(x) : nano_f32_to_bf16(x));
}

/* One token's values of one head in a group of a pool, `step` elements apart. */
static void store_token(const struct nano_kv_layout *kv, uint8_t *group, int token, size_t first,
                        size_t step, const float *x)
{
    if (kv->format != NANO_KV_FORMAT_Q8_0) {
        for (int i = 0; i < kv->head_dim; i++)
            store_value(group, first + (size_t)i * step, kv->format, x[i]);
        return;
    }
    float largest = 0;
    for (int i = 0; i < kv->head_dim; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    const float scale = largest / 127;
    const float inverse = scale >= FLT_MIN ? 1 / scale : 0;
    for (int i = 0; i < kv->head_dim; i++) {
        const float level = rintf(x[i] * inverse);
        group[first + (size_t)i * step] = (uint8_t)(int8_t)(fabsf(level) <= 127 ? level : 0);
    }
    memcpy(group + nano_kv_scales_offset(kv) + 4 * (size_t)token, &scale, sizeof scale);
}

void nano_kv_store_ref(const struct nano_kv_layout *kv, void *k_pool, void *v_pool, int32_t slot,
                       const float *k, const float *v)
{
    const int tokens = nano_kv_group_tokens(kv), dim = kv->head_dim;
    const int offset = slot % kv->block_size, token = offset % tokens;
    for (int head = 0; head < kv->num_kv_heads; head++, k += dim, v += dim) {
        const size_t at = nano_kv_group_offset(kv, slot / kv->block_size, offset, head);
        store_token(kv, (uint8_t *)k_pool + at, token, (size_t)token, (size_t)tokens, k);
        store_token(kv, (uint8_t *)v_pool + at, token, (size_t)(token * dim), 1, v);
    }
}

size_t nano_attention_scratch_floats_ref(int head_dim)
{
    return nano_attention_partial_floats_ref(head_dim);
}

size_t nano_attention_partial_floats_ref(int head_dim)
{
    return (size_t)head_dim + 2;
}

struct token {
    const uint8_t *k, *v; /* its groups */
    size_t index;         /* in them */
};

static struct token token_at(const struct nano_attention_args *args, int position)
{
    const struct nano_kv_layout *kv = &args->kv;
    const int offset = position % kv->block_size;
    const size_t at = nano_kv_group_offset(kv, args->block_table[position / kv->block_size], offset,
                                           args->kv_head);
    return (struct token){(const uint8_t *)args->k_pool + at, (const uint8_t *)args->v_pool + at,
                          (size_t)(offset % nano_kv_group_tokens(kv))};
}

static float scale_of(const struct nano_kv_layout *kv, const uint8_t *group, size_t token)
{
    return kv->format == NANO_KV_FORMAT_Q8_0
               ? nano_load_f32(group + nano_kv_scales_offset(kv) + 4 * token)
               : 1;
}

static float score(const struct nano_attention_args *args, const float *q, int position)
{
    const struct nano_kv_layout *kv = &args->kv;
    const struct token token = token_at(args, position);
    const size_t step = (size_t)nano_kv_group_tokens(kv);
    float dot = 0;
    for (int i = 0; i < kv->head_dim; i++)
        dot += q[i] * load_value(token.k, (size_t)i * step + token.index, kv->format);
    return dot * scale_of(kv, token.k, token.index) * args->scale;
}

static void add_value(const struct nano_attention_args *args, float *out, float weight,
                      int position)
{
    const struct nano_kv_layout *kv = &args->kv;
    const struct token token = token_at(args, position);
    const size_t first = token.index * (size_t)kv->head_dim;
    weight *= scale_of(kv, token.v, token.index);
    for (int i = 0; i < kv->head_dim; i++)
        out[i] += weight * load_value(token.v, first + (size_t)i, kv->format);
}

/* One query of one head over positions [begin, end) of a range. */
static void attend(const struct nano_attention_args *args, const float *q, float *partial,
                   int begin, int end)
{
    const int dim = args->kv.head_dim;
    float max = -INFINITY, sum = 0, scores[GROUP];
    for (int i = 0; i < dim; i++)
        partial[i] = 0;
    for (; begin < end; begin += GROUP) {
        const int n = end - begin < GROUP ? end - begin : GROUP;
        const float old_max = max;
        for (int p = 0; p < n; p++) {
            scores[p] = score(args, q, begin + p);
            max = scores[p] > max ? scores[p] : max;
        }
        const float keep = nano_exp_ref(old_max - max);
        sum *= keep;
        for (int i = 0; i < dim; i++)
            partial[i] *= keep;
        for (int p = 0; p < n; p++) {
            const float weight = nano_exp_ref(scores[p] - max);
            sum += weight;
            add_value(args, partial, weight, begin + p);
        }
    }
    partial[dim] = max;
    partial[dim + 1] = sum;
}

/* out, *max and *sum of the ranges so far and one more. */
static void merge(float *out, float *max, float *sum, const float *partial, int dim)
{
    const float new_max = partial[dim] > *max ? partial[dim] : *max;
    const float keep = nano_exp_ref(*max - new_max), add = nano_exp_ref(partial[dim] - new_max);
    for (int i = 0; i < dim; i++)
        out[i] = out[i] * keep + partial[i] * add;
    *sum = *sum * keep + partial[dim + 1] * add;
    *max = new_max;
}

static void begin_merge(float *out, float *max, float *sum, int dim)
{
    for (int i = 0; i < dim; i++)
        out[i] = 0;
    *max = -INFINITY;
    *sum = 0;
}

void nano_attention_merge_ref(float *out, const float *partials, int64_t stride, int num_partials,
                              int head_dim)
{
    float max, sum;
    begin_merge(out, &max, &sum, head_dim);
    for (int i = 0; i < num_partials; i++)
        merge(out, &max, &sum, partials + i * stride, head_dim);
    for (int i = 0; i < head_dim; i++)
        out[i] /= sum;
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static void attend_all_ranges(const struct nano_attention_args *args, const float *q, float *out,
                              int num_positions)
{
    float max, sum;
    begin_merge(out, &max, &sum, args->kv.head_dim);
    for (int begin = 0; begin < num_positions; begin += NANO_ATTENTION_SPLIT) {
        attend(args, q, args->scratch, begin, smaller(begin + NANO_ATTENTION_SPLIT, num_positions));
        merge(out, &max, &sum, args->scratch, args->kv.head_dim);
    }
    for (int i = 0; i < args->kv.head_dim; i++)
        out[i] /= sum;
}

void nano_attention_ref(const struct nano_attention_args *args)
{
    const int dim = args->kv.head_dim;
    const int64_t partial_floats = (int64_t)nano_attention_partial_floats_ref(dim);
    for (int i = 0; i < args->num_queries; i++) {
        const int num_positions = args->first_position + i + 1;
        for (int h = 0; h < args->num_q_heads; h++) {
            const float *q = args->q + i * args->q_stride + (int64_t)h * dim;
            if (!args->partial)
                attend_all_ranges(args, q, args->out + i * args->out_stride + (int64_t)h * dim,
                                  num_positions);
            else if (num_positions > args->begin)
                attend(args, q, args->partial + i * args->partial_stride + h * partial_floats,
                       args->begin, smaller(args->begin + NANO_ATTENTION_SPLIT, num_positions));
        }
    }
}
