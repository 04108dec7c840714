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
    if (format == NANO_KV_FORMAT_FP8)
        return nano_e4m3_to_f32(values[i]);
    return format == NANO_KV_FORMAT_F16 ? nano_load_f16(values + 2 * i)
                                        : nano_load_bf16(values + 2 * i);
}

static void store_value(uint8_t *values, size_t i, enum nano_kv_format format, float x)
{
    if (format == NANO_KV_FORMAT_F32)
        memcpy(values + 4 * i, &x, sizeof x);
    else if (format == NANO_KV_FORMAT_FP8)
        values[i] = nano_f32_to_e4m3(x);
    else
        nano_store_u16(values + 2 * i,
                       format == NANO_KV_FORMAT_F16 ? nano_f32_to_f16(x) : nano_f32_to_bf16(x));
}

/* One token's dim values of one head in a group of a pool, `step` elements apart. */
static void store_token(const struct nano_kv_layout *kv, int dim, uint8_t *group, int token,
                        size_t first, size_t step, const float *x)
{
    if (kv->format != NANO_KV_FORMAT_Q8_0) {
        for (int i = 0; i < dim; i++)
            store_value(group, first + (size_t)i * step, kv->format, x[i]);
        return;
    }
    float largest = 0;
    for (int i = 0; i < dim; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    const float scale = largest / 127;
    const float inverse = scale >= FLT_MIN ? 1 / scale : 0;
    for (int i = 0; i < dim; i++) {
        const float level = rintf(x[i] * inverse);
        group[first + (size_t)i * step] = (uint8_t)(int8_t)(fabsf(level) <= 127 ? level : 0);
    }
    memcpy(group + nano_kv_scales_offset(kv, dim) + 4 * (size_t)token, &scale, sizeof scale);
}

void nano_kv_store_ref(const struct nano_kv_layout *kv, void *k_pool, void *v_pool, int32_t slot,
                       const float *k, const float *v)
{
    const int tokens = nano_kv_group_tokens(kv), dim = kv->head_dim, v_dim = kv->v_head_dim;
    const int block = slot / kv->block_size, offset = slot % kv->block_size,
              token = offset % tokens;
    for (int head = 0; head < kv->num_kv_heads; head++) {
        store_token(kv, dim, (uint8_t *)k_pool + nano_kv_group_offset(kv, dim, block, offset, head),
                    token, (size_t)token, (size_t)tokens, k + head * dim);
        if (!kv->v_in_k)
            store_token(kv, v_dim,
                        (uint8_t *)v_pool + nano_kv_group_offset(kv, v_dim, block, offset, head),
                        token, (size_t)(token * v_dim), 1, v + head * v_dim);
    }
}

size_t nano_attention_scratch_floats_ref(int head_dim, int v_head_dim)
{
    (void)head_dim;
    return nano_attention_partial_floats_ref(v_head_dim);
}

size_t nano_attention_partial_floats_ref(int v_head_dim)
{
    return (size_t)v_head_dim + 2;
}

/* Where the elements of a token's K or V are. */
struct token {
    const uint8_t *group;
    size_t first, step;
    float scale;
};

static struct token token_at(const struct nano_attention_args *args, bool v, int position)
{
    const struct nano_kv_layout *kv = &args->kv;
    const int offset = position % kv->block_size;
    const bool in_v_pool = v && !kv->v_in_k;
    const int dim = in_v_pool ? kv->v_head_dim : kv->head_dim;
    const size_t index = (size_t)(offset % nano_kv_group_tokens(kv));
    const uint8_t *group =
        (const uint8_t *)(in_v_pool ? args->v_pool : args->k_pool) +
        nano_kv_group_offset(kv, dim, args->block_table[position / kv->block_size], offset,
                             args->kv_head);
    return (struct token){
        .group = group,
        .first = in_v_pool ? index * (size_t)dim : index,
        .step = in_v_pool ? 1 : (size_t)nano_kv_group_tokens(kv),
        .scale = kv->format == NANO_KV_FORMAT_Q8_0
                     ? nano_load_f32(group + nano_kv_scales_offset(kv, dim) + 4 * index)
                     : 1};
}

static float score(const struct nano_attention_args *args, const float *q, int position)
{
    const struct token k = token_at(args, false, position);
    float dot = 0;
    for (int i = 0; i < args->kv.head_dim; i++)
        dot += q[i] * load_value(k.group, k.first + (size_t)i * k.step, args->kv.format);
    dot *= k.scale * args->scale;
    return args->softcap != 0 ? args->softcap * nano_tanh_ref(dot / args->softcap) : dot;
}

static void add_value(const struct nano_attention_args *args, float *out, float weight,
                      int position)
{
    const struct token v = token_at(args, true, position);
    weight *= v.scale;
    for (int i = 0; i < args->kv.v_head_dim; i++)
        out[i] += weight * load_value(v.group, v.first + (size_t)i * v.step, args->kv.format);
}

/* One query of one head over positions [begin, end) of a range. */
static void attend(const struct nano_attention_args *args, const float *q, float *partial,
                   int begin, int end)
{
    const int dim = args->kv.v_head_dim;
    float max = -INFINITY, sum = 0, scores[GROUP];
    for (int i = 0; i < dim; i++)
        partial[i] = 0;
    for (int next; begin < end; begin = next) {
        next = (begin / GROUP + 1) * GROUP;
        next = next < end ? next : end;
        const float old_max = max;
        for (int p = begin; p < next; p++) {
            scores[p - begin] = score(args, q, p);
            max = scores[p - begin] > max ? scores[p - begin] : max;
        }
        const float keep = nano_exp_ref(old_max - max);
        sum *= keep;
        for (int i = 0; i < dim; i++)
            partial[i] *= keep;
        for (int p = begin; p < next; p++) {
            const float weight = nano_exp_ref(scores[p - begin] - max);
            sum += weight;
            add_value(args, partial, weight, p);
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

static void end_merge(float *out, float max, float sum, const float *sink, int dim)
{
    float keep = 1;
    if (sink) {
        const float new_max = *sink > max ? *sink : max;
        keep = nano_exp_ref(max - new_max);
        sum = sum * keep + nano_exp_ref(*sink - new_max);
    }
    for (int i = 0; i < dim; i++)
        out[i] = out[i] * keep / sum;
}

void nano_attention_merge_ref(float *out, const float *partials, int64_t stride, int num_partials,
                              const float *sink, int v_head_dim)
{
    float max, sum;
    begin_merge(out, &max, &sum, v_head_dim);
    for (int i = 0; i < num_partials; i++)
        merge(out, &max, &sum, partials + i * stride, v_head_dim);
    end_merge(out, max, sum, sink, v_head_dim);
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static int larger(int a, int b)
{
    return a > b ? a : b;
}

static void attend_all_ranges(const struct nano_attention_args *args, const float *q,
                              const float *sink, float *out, int first, int end)
{
    float max, sum;
    begin_merge(out, &max, &sum, args->kv.v_head_dim);
    for (int next; first < end; first = next) {
        next = smaller((first / NANO_ATTENTION_SPLIT + 1) * NANO_ATTENTION_SPLIT, end);
        attend(args, q, args->scratch, first, next);
        merge(out, &max, &sum, args->scratch, args->kv.v_head_dim);
    }
    end_merge(out, max, sum, sink, args->kv.v_head_dim);
}

void nano_attention_ref(const struct nano_attention_args *args)
{
    const int dim = args->kv.head_dim, v_dim = args->kv.v_head_dim;
    const int64_t partial_floats = (int64_t)nano_attention_partial_floats_ref(v_dim);
    for (int i = 0; i < args->num_queries; i++) {
        const int end = args->num_positions ? args->num_positions : args->first_position + i + 1;
        const int first = args->num_positions || !args->window ? 0 : larger(end - args->window, 0);
        for (int h = 0; h < args->num_q_heads; h++) {
            const float *q = args->q + i * args->q_stride + (int64_t)h * dim;
            if (!args->partial) {
                attend_all_ranges(args, q, args->sinks ? args->sinks + h : NULL,
                                  args->out + i * args->out_stride + (int64_t)h * v_dim, first,
                                  end);
                continue;
            }
            const int from = larger(first, args->begin),
                      to = smaller(end, args->begin + NANO_ATTENTION_SPLIT);
            if (from < to)
                attend(args, q, args->partial + i * args->partial_stride + h * partial_floats, from,
                       to);
        }
    }
}
