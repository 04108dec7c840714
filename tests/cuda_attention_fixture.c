#include "tests/cuda_attention_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runner/cuda/cuda_attention_plan.h"
#include "simd/half.h"
#include "simd/kv_layout.h"
#include "tests/cuda/fake_device.h"
#include "tests/tiny_model.h"

static uint64_t seed = 1;

int below(int n)
{
    return (int)(tiny_random(&seed) % (uint64_t)n);
}

static float random_float(void)
{
    return (float)(tiny_random(&seed) >> 40) * 0x1p-23f - 1;
}

static void *alloc(struct nano_cuda_device *device, size_t num_bytes)
{
    void *memory;
    struct nano_error err;
    cr_assert_eq(nano_cuda_device_alloc(device, &memory, num_bytes, "test", &err), NANO_OK);
    return memory;
}

static float *random_floats(struct nano_cuda_device *device, int64_t rows, int64_t stride,
                            int64_t width, float range)
{
    float *x = alloc(device, (size_t)(rows * stride) * sizeof *x);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < width; i++)
            x[r * stride + i] = random_float() * range;
    return x;
}

static int num_entries(const struct world *w, int seq)
{
    const struct seq *s = &w->seqs[seq];
    return (s->past + s->tokens + w->shape.block_size - 1) / w->shape.block_size;
}

/* The first position that a token of the batch sees. What is before it is never stored, so NaN. */
static int first_seen(const struct shape *shape, const struct seq *seq)
{
    return shape->bidirectional || !shape->window || seq->past < shape->window
               ? 0
               : seq->past - shape->window + 1;
}

static struct nano_kv_layout layout_of(const struct shape *s)
{
    return (struct nano_kv_layout){.format = s->format,
                                   .num_kv_heads = s->num_kv_heads,
                                   .head_dim = s->head_dim,
                                   .v_head_dim = s->v_head_dim,
                                   .block_size = s->block_size,
                                   .v_in_k = s->v_in_k};
}

static void shuffle_blocks(struct world *w)
{
    int32_t *ids = malloc((size_t)w->num_blocks * sizeof *ids);
    int used = 0;
    for (int i = 0; i < w->num_blocks; i++)
        ids[i] = i;
    for (int s = 0; s < w->num_seqs; s++) {
        const int count = num_entries(w, s);
        w->tables[s] = malloc((size_t)count * sizeof(int32_t));
        for (int i = 0; i < count; i++, used++) {
            const int other = used + below(w->num_blocks - used);
            w->tables[s][i] = ids[other];
            ids[other] = ids[used];
        }
    }
    free(ids);
}

void store_on_device(const struct world *w)
{
    const struct shape *s = &w->shape;
    nano_cuda_kv_store(w->device, &(struct nano_cuda_kv_store_args){.format = s->format,
                                                                    .num_kv_heads = s->num_kv_heads,
                                                                    .head_dim = s->head_dim,
                                                                    .v_head_dim = s->v_head_dim,
                                                                    .block_size = s->block_size,
                                                                    .v_in_k = s->v_in_k,
                                                                    .k = {w->k, w->k_stride},
                                                                    .v = {w->v, w->v_stride},
                                                                    .slots = w->slots,
                                                                    .k_pool = w->k_pool,
                                                                    .v_pool = w->v_pool,
                                                                    .rows = w->num_positions});
}

static void store_for_reference(const struct world *w)
{
    const struct nano_kv_layout layout = layout_of(&w->shape);
    struct nano_kernels kernels;
    nano_kernels_init_ref(&kernels);
    for (int p = 0; p < w->num_positions; p++)
        if (w->slots[p] >= 0)
            kernels.kv[layout.format].store(&layout, w->ref_k_pool, w->ref_v_pool, w->slots[p],
                                            w->k + p * w->k_stride, w->v + p * w->v_stride);
}

struct world make_world(const struct shape *shape, const struct seq *seqs, int num_seqs)
{
    struct world w = {.shape = *shape, .num_seqs = num_seqs};
    struct nano_error err;
    const struct nano_kv_layout layout = layout_of(shape);
    memcpy(w.seqs, seqs, (size_t)num_seqs * sizeof *seqs);
    cr_assert_eq(nano_cuda_device_open(&w.device, 0, &err), NANO_OK);
    w.num_heads = shape->num_kv_heads * shape->group;
    w.num_blocks = 3;
    for (int s = 0; s < num_seqs; s++) {
        w.first_position[s] = w.num_positions;
        w.num_positions += seqs[s].past + seqs[s].tokens;
        w.num_rows += seqs[s].tokens;
        w.num_blocks += num_entries(&w, s);
    }
    shuffle_blocks(&w);
    w.k_stride = shape->num_kv_heads * shape->head_dim + PAD;
    w.v_stride = shape->num_kv_heads * shape->v_head_dim + PAD;
    w.k = random_floats(w.device, w.num_positions, w.k_stride, w.k_stride - PAD, 2);
    w.v = random_floats(w.device, w.num_positions, w.v_stride, w.v_stride - PAD, 1);
    w.q = random_floats(w.device, w.num_rows, w.num_heads * shape->head_dim,
                        w.num_heads * shape->head_dim, 3);
    for (int64_t i = 0; i < (int64_t)w.num_rows * w.num_heads * shape->head_dim; i++)
        w.q[i] = nano_bf16_to_f32(nano_f32_to_bf16(w.q[i])); /* exact in either half format */
    w.sinks = random_floats(w.device, 1, w.num_heads, w.num_heads, 4);
    w.slots = alloc(w.device, (size_t)w.num_positions * sizeof(int32_t));
    for (int s = 0; s < num_seqs; s++)
        for (int p = 0; p < seqs[s].past + seqs[s].tokens; p++)
            w.slots[w.first_position[s] + p] =
                p < first_seen(shape, &seqs[s])
                    ? -1
                    : w.tables[s][p / shape->block_size] * shape->block_size +
                          p % shape->block_size;
    w.k_pool = alloc(w.device, (size_t)w.num_blocks *
                                   nano_cuda_kv_block_bytes(shape->format, shape->num_kv_heads,
                                                            shape->head_dim, shape->block_size));
    if (!shape->v_in_k)
        w.v_pool =
            alloc(w.device, (size_t)w.num_blocks *
                                nano_cuda_kv_block_bytes(shape->format, shape->num_kv_heads,
                                                         shape->v_head_dim, shape->block_size));
    w.ref_k_pool = malloc((size_t)w.num_blocks * nano_kv_block_bytes(&layout, shape->head_dim));
    w.ref_v_pool = malloc((size_t)w.num_blocks * nano_kv_block_bytes(&layout, shape->v_head_dim));
    store_on_device(&w);
    store_for_reference(&w);
    return w;
}

void free_world(struct world *w)
{
    for (int s = 0; s < w->num_seqs; s++)
        free(w->tables[s]);
    free(w->ref_k_pool);
    free(w->ref_v_pool);
    nano_cuda_device_free(w->device, w->k);
    nano_cuda_device_free(w->device, w->v);
    nano_cuda_device_free(w->device, w->q);
    nano_cuda_device_free(w->device, w->sinks);
    nano_cuda_device_free(w->device, w->slots);
    nano_cuda_device_free(w->device, w->k_pool);
    nano_cuda_device_free(w->device, w->v_pool);
    nano_cuda_device_close(w->device);
    cr_assert_eq(fake_device.live_allocations, 0);
}

int64_t out_width(const struct world *w)
{
    return (int64_t)w->num_heads * w->shape.v_head_dim;
}

static float scale_of(const struct world *w)
{
    return 1 / sqrtf((float)w->shape.head_dim);
}

float *reference(const struct world *w)
{
    const struct shape *s = &w->shape;
    struct nano_kernels kernels;
    nano_kernels_init_ref(&kernels);
    float *out = malloc((size_t)(w->num_rows * out_width(w)) * sizeof *out),
          *scratch =
              malloc(kernels.attention_scratch_floats(s->head_dim, s->v_head_dim) * sizeof(float));
    for (int i = 0, row = 0; i < w->num_seqs; row += w->seqs[i++].tokens)
        for (int head = 0; head < s->num_kv_heads; head++)
            kernels.kv[s->format].attention(&(struct nano_attention_args){
                .kv = layout_of(s),
                .k_pool = w->ref_k_pool,
                .v_pool = w->ref_v_pool,
                .block_table = w->tables[i],
                .kv_head = head,
                .num_q_heads = s->group,
                .num_queries = w->seqs[i].tokens,
                .first_position = w->seqs[i].past,
                .window = s->window,
                .num_positions = s->bidirectional ? w->seqs[i].past + w->seqs[i].tokens : 0,
                .q = w->q + (row * w->num_heads + head * s->group) * (int64_t)s->head_dim,
                .q_stride = (int64_t)w->num_heads * s->head_dim,
                .out = out + row * out_width(w) + (int64_t)head * s->group * s->v_head_dim,
                .out_stride = out_width(w),
                .scale = scale_of(w),
                .softcap = s->softcap,
                .sinks = s->has_sinks ? w->sinks + head * s->group : NULL,
                .scratch = scratch});
    free(scratch);
    return out;
}

/* Tables of what is in the batch, with wild entries before and behind what queries see. */
static int write_tables(const struct world *w, const struct cut *cut, int32_t *words, int at,
                        struct nano_cuda_attention_seq *seqs)
{
    const struct shape *s = &w->shape;
    for (int i = 0, row = 0; i < cut->end_seq; row += w->seqs[i++].tokens) {
        if (i < cut->first_seq)
            continue;
        seqs[i - cut->first_seq] =
            (struct nano_cuda_attention_seq){at, row, w->seqs[i].tokens, w->seqs[i].past};
        const int first = first_seen(s, &w->seqs[i]);
        for (int k = 0; k < num_entries(w, i); k++)
            words[at++] = (k + 1) * s->block_size <= first ? INT32_MAX / 2 : w->tables[i][k];
        words[at++] = INT32_MAX / 2;
    }
    return at;
}

static void check_untouched(const struct world *w, const struct cut *cut, const float *out)
{
    for (int i = 0, row = 0; i < w->num_seqs; row += w->seqs[i++].tokens)
        for (int64_t k = 0; k < w->seqs[i].tokens * out_width(w); k++)
            if (i < cut->first_seq || i >= cut->end_seq)
                cr_assert(isnan(out[row * out_width(w) + k]));
}

void attend(const struct world *w, const struct cut *cut, float *result)
{
    const struct shape *s = &w->shape;
    enum { HEAD_WORDS = (sizeof(struct nano_cuda_batch) + 3) / 4 };
    const int queries = cut->num_queries
                            ? cut->num_queries
                            : nano_cuda_attention_queries(w->num_heads, s->num_kv_heads);
    const struct nano_cuda_attention_limits limits =
        nano_cuda_attention_plan_limits(w->num_rows, w->num_seqs, queries, cut->max_partials);
    struct nano_cuda_attention_seq seqs[MAX_SEQS];
    int num_words = HEAD_WORDS;
    for (int i = 0; i < w->num_seqs; i++)
        num_words += num_entries(w, i) + 1;
    const int items = num_words, merges = items + 8 * limits.max_items;
    int32_t *words = alloc(w->device, (size_t)(merges + 4 * limits.max_merges) * sizeof *words);
    write_tables(w, cut, words, HEAD_WORDS, seqs);
    struct nano_cuda_attention_plan plan = {
        .items = (struct nano_cuda_attention_item *)(words + items),
        .merges = (struct nano_cuda_attention_merge *)(words + merges)};
    nano_cuda_attention_plan_make(
        &plan, &(struct nano_cuda_attention_plan_args){.seqs = seqs,
                                                       .num_seqs = cut->end_seq - cut->first_seq,
                                                       .window = s->window,
                                                       .bidirectional = s->bidirectional,
                                                       .num_queries = queries,
                                                       .num_blocks = cut->plan_blocks,
                                                       .max_partials = cut->max_partials});
    struct nano_cuda_batch *batch = (struct nano_cuda_batch *)words;
    batch->groups[2].items = items;
    batch->groups[2].num_items = plan.num_items;
    batch->groups[2].merges = merges;
    batch->groups[2].num_merges = plan.num_merges;
    float *out = alloc(w->device, (size_t)(w->num_rows * out_width(w)) * sizeof *out);
    float *partials = alloc(w->device, (size_t)(plan.num_partials * w->num_heads *
                                                nano_cuda_partial_floats(s->v_head_dim)) *
                                           sizeof *partials);
    nano_emulated_set_order(cut->order);
    nano_cuda_attention(w->device, &(struct nano_cuda_attention_args){
                                       .batch = batch,
                                       .group = 2,
                                       .format = s->format,
                                       .num_heads = w->num_heads,
                                       .num_kv_heads = s->num_kv_heads,
                                       .head_dim = s->head_dim,
                                       .v_head_dim = s->v_head_dim,
                                       .block_size = s->block_size,
                                       .v_in_k = s->v_in_k,
                                       .window = s->window,
                                       .bidirectional = s->bidirectional,
                                       .scale = scale_of(w),
                                       .softcap = s->softcap,
                                       .sinks = s->has_sinks ? w->sinks : NULL,
                                       .q = {w->q, (int64_t)w->num_heads * s->head_dim},
                                       .out = {out, out_width(w)},
                                       .k_pool = w->k_pool,
                                       .v_pool = w->v_pool,
                                       .partials = partials,
                                       .num_blocks = cut->num_blocks});
    check_untouched(w, cut, out);
    for (int i = 0, row = 0; i < cut->end_seq; row += w->seqs[i++].tokens)
        if (i >= cut->first_seq)
            memcpy(result + row * out_width(w), out + row * out_width(w),
                   (size_t)(w->seqs[i].tokens * out_width(w)) * sizeof *out);
    nano_cuda_device_free(w->device, out);
    nano_cuda_device_free(w->device, partials);
    nano_cuda_device_free(w->device, words);
}
