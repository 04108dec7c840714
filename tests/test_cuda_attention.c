/* KV store and attention on the emulated GPU: what the scalar reference gives, and the same bits
 * however work is cut and whoever else is in the batch. */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simd/half.h"
#include "tests/cuda_attention_fixture.h"

static bool has_tensor_cores(const struct shape *s)
{
    static const int dims[] = {64, 80, 96, 112, 128, 192, 256};
    const int dim = s->head_dim;
    bool usual = false;
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        usual |= dim == dims[i];
    const bool latent = s->v_in_k && dim == 576 && s->v_head_dim == 512;
    return s->format != NANO_KV_FORMAT_F32 &&
           (latent || (!s->v_in_k && dim == s->v_head_dim && usual));
}

/* Weights are rounded to a half format for the product with V, whose values are below 1; and what
 * Q8_0 stands for is rounded to F16. */
static float tolerance_of(const struct shape *s)
{
    return !has_tensor_cores(s)               ? 1e-5f
           : s->format == NANO_KV_FORMAT_BF16 ? 4e-3f
           : s->format == NANO_KV_FORMAT_Q8_0 ? 1e-3f
                                              : 5e-4f;
}

static void describe(const struct world *w, char *text, size_t num_bytes)
{
    const struct shape *s = &w->shape;
    snprintf(text, num_bytes,
             "format %d, %d x %d heads, dim %d and %d, block %d, v_in_k %d, bidirectional %d, "
             "sinks %d, window %d, softcap %g, first sequence %d + %d",
             (int)s->format, s->num_kv_heads, s->group, s->head_dim, s->v_head_dim, s->block_size,
             s->v_in_k, s->bidirectional, s->has_sinks, s->window, (double)s->softcap,
             w->seqs[0].past, w->seqs[0].tokens);
}

/* The values are the reference's, and all ways to cut the batch give the same bits. */
static void check(const struct shape *shape, const struct seq *seqs, int num_seqs)
{
    struct world w = make_world(shape, seqs, num_seqs);
    const size_t count = (size_t)(w.num_rows * out_width(&w));
    float *expected = reference(&w), *whole = malloc(count * sizeof(float)),
          *other = malloc(count * sizeof(float));
    char text[256];
    describe(&w, text, sizeof text);
    attend(&w, &(struct cut){.end_seq = num_seqs, .plan_blocks = 1, .num_blocks = 5}, whole);
    const float tolerance = tolerance_of(shape) * (shape->v_in_k ? 2 : 1);
    for (size_t i = 0; i < count; i++)
        cr_assert(fabsf(whole[i] - expected[i]) <= tolerance, "%s: [%zu] %g, expected %g", text, i,
                  (double)whole[i], (double)expected[i]);
    attend(&w,
           &(struct cut){.end_seq = num_seqs,
                         .plan_blocks = 1 << 20,
                         .max_partials = 1 << 14,
                         .num_blocks = 3,
                         .order = 1},
           other);
    cr_assert_eq(memcmp(whole, other, count * sizeof(float)), 0, "split: %s", text);
    memset(other, 0, count * sizeof(float));
    for (int i = 0; i < num_seqs; i++)
        attend(&w,
               &(struct cut){.first_seq = i,
                             .end_seq = i + 1,
                             .num_queries = below(2) ? 1 + below(nano_cuda_attention_queries(
                                                               w.num_heads, shape->num_kv_heads))
                                                     : 0,
                             .plan_blocks = 1 + below(20),
                             .max_partials = below(40),
                             .num_blocks = 2,
                             .order = 2},
               other);
    cr_assert_eq(memcmp(whole, other, count * sizeof(float)), 0, "alone: %s", text);
    free(expected);
    free(whole);
    free(other);
    free_world(&w);
}

/* ---- tests ---- */

static const struct seq decode[] = {{0, 1}, {31, 1}, {256, 1}, {600, 1}, {254, 2}};
static const struct seq mixed[] = {{599, 1}, {0, 33}, {240, 31}};

#define CHECK(shape, seqs) check(&(shape), seqs, (int)(sizeof(seqs) / sizeof *(seqs)))

Test(cuda_attention, any_format)
{
    for (int format = 0; format < NANO_NUM_KV_FORMATS; format++) {
        struct shape s = {.format = (enum nano_kv_format)format,
                          .num_kv_heads = 2,
                          .group = 2,
                          .head_dim = 72,
                          .v_head_dim = 72,
                          .block_size = 16};
        CHECK(s, decode);
        CHECK(s, mixed);
    }
}

Test(cuda_attention, any_dims)
{
    static const int dims[][2] = {{64, 64}, {20, 36}, {7, 5}, {192, 128}, {256, 256}, {300, 520}};
    for (int i = 0; i < 6; i++) {
        struct shape s = {
            .format = (enum nano_kv_format)(i % 2 ? NANO_KV_FORMAT_Q8_0 : NANO_KV_FORMAT_F32),
            .num_kv_heads = 1 + i % 3,
            .group = 3,
            .head_dim = dims[i][0],
            .v_head_dim = dims[i][1],
            .block_size = i % 2 ? 7 : 32};
        CHECK(s, mixed);
    }
}

Test(cuda_attention, latent)
{
    static const struct seq seqs[] = {{300, 1}, {20, 9}};
    for (int format = 0; format < NANO_NUM_KV_FORMATS; format++) {
        struct shape s = {.format = (enum nano_kv_format)format,
                          .num_kv_heads = 1,
                          .group = 16,
                          .head_dim = 576,
                          .v_head_dim = 512,
                          .block_size = 16,
                          .v_in_k = true};
        CHECK(s, seqs);
    }
}

/* Those that are halves when they meet the tensor cores. */
static const enum nano_kv_format half_formats[] = {NANO_KV_FORMAT_F16, NANO_KV_FORMAT_BF16,
                                                   NANO_KV_FORMAT_Q8_0, NANO_KV_FORMAT_FP8};

Test(cuda_attention, tensor_cores)
{
    static const int dims[] = {64, 80, 96, 112, 128, 192, 256}, groups[] = {7, 1, 4, 8};
    for (int i = 0; i < 28; i++) {
        struct shape s = {.format = half_formats[i / 7],
                          .num_kv_heads = 2 - i % 2,
                          .group = groups[(i + i / 4) % 4],
                          .head_dim = dims[i % 7],
                          .v_head_dim = dims[i % 7],
                          .block_size = i % 3 ? 16 : 32};
        CHECK(s, decode);
        CHECK(s, mixed);
    }
}

/* With more heads to a KV head than a block of threads has rows. */
Test(cuda_attention, many_heads)
{
    static const struct seq seqs[] = {{300, 1}, {20, 3}};
    static const enum nano_kv_format formats[] = {NANO_KV_FORMAT_F32, NANO_KV_FORMAT_F16,
                                                  NANO_KV_FORMAT_FP8};
    for (int i = 0; i < 3; i++) {
        struct shape s = {.format = formats[i],
                          .num_kv_heads = 1,
                          .group = 71,
                          .head_dim = 64,
                          .v_head_dim = 64,
                          .block_size = 16};
        CHECK(s, seqs);
    }
}

/* Features together, at random. */
static void check_random(enum nano_kv_format format, int head_dim, int max_past)
{
    static const int windows[] = {1, 5, 32, 100, 256, 300}, groups[] = {1, 2, 4, 7, 8};
    struct seq seqs[3];
    struct shape s = {.format = format,
                      .num_kv_heads = 1 + below(2),
                      .group = groups[below(5)],
                      .head_dim = head_dim,
                      .v_head_dim = head_dim,
                      .block_size = below(2) ? 16 : 32,
                      .bidirectional = below(4) == 0,
                      .has_sinks = below(2)};
    if (!s.bidirectional && below(3))
        s.window = windows[below(6)];
    if (below(2))
        s.softcap = below(2) ? 50 : 2;
    for (int i = 0; i < 3; i++)
        seqs[i] = (struct seq){s.bidirectional ? 0 : below(max_past),
                               below(2) ? 1 + below(3) : 1 + below(70)};
    CHECK(s, seqs);
}

Test(cuda_attention, features_of_any)
{
    for (int i = 0; i < 10; i++)
        check_random((enum nano_kv_format)(i % NANO_NUM_KV_FORMATS), 40, 560);
}

Test(cuda_attention, features_of_tensor_cores)
{
    for (int i = 0; i < 20; i++)
        check_random(half_formats[i % 4], i % 3 ? 64 : 80, 560);
}

/* What later tokens of the same tile store is nothing to earlier ones. */
Test(cuda_attention, not_a_number_stays_where_it_is)
{
    static const struct seq seqs[] = {{40, 30}};
    for (int format = 0; format < NANO_NUM_KV_FORMATS; format++) {
        const struct shape s = {.format = (enum nano_kv_format)format,
                                .num_kv_heads = 1,
                                .group = 2,
                                .head_dim = 64,
                                .v_head_dim = 64,
                                .block_size = 16,
                                .window = 41};
        struct world w = make_world(&s, seqs, 1);
        const int64_t width = out_width(&w);
        const struct cut cut = {.end_seq = 1, .plan_blocks = 1, .num_blocks = 1};
        float *clean = malloc((size_t)(30 * width) * sizeof(float)),
              *spoilt = malloc((size_t)(30 * width) * sizeof(float));
        attend(&w, &cut, clean);
        /* Query 0 is at position 40 and sees 0 … 40, query 29 sees 29 … 69. */
        w.k[5 * w.k_stride] = w.v[6 * w.v_stride + 9] = NAN;
        w.v[60 * w.v_stride + 3] = INFINITY;
        w.k[62 * w.k_stride + 1] = NAN;
        store_on_device(&w);
        attend(&w, &cut, spoilt);
        for (int r = 0; r < 30; r++) {
            const bool sees_first = r <= 6, sees_last = r >= 20;
            if (!sees_first && !sees_last)
                cr_assert_eq(
                    memcmp(clean + r * width, spoilt + r * width, (size_t)width * sizeof(float)), 0,
                    "format %d, row %d", s.format, r);
            if (s.format == NANO_KV_FORMAT_FP8) { /* it has neither */
                cr_assert(isfinite(spoilt[r * width + 3]) && isfinite(spoilt[r * width + 9]));
                continue;
            }
            if (sees_first && !sees_last && s.format != NANO_KV_FORMAT_Q8_0)
                cr_assert(isnan(spoilt[r * width + 9]), "format %d, row %d", s.format, r);
            if (sees_last)
                cr_assert(!isfinite(spoilt[r * width + 3]), "format %d, row %d", s.format, r);
        }
        free(clean);
        free(spoilt);
        free_world(&w);
    }
}

/* The only weight is 1: out comes what codes stand for, to the bit. With tensor cores that is a
 * half, and without them V. */
Test(cuda_attention, codes_are_what_they_stand_for)
{
    static const struct seq seqs[] = {{0, 1}};
    for (int i = 0; i < 4; i++) {
        const bool fp8 = i % 2, tensor_cores = i < 2;
        const struct shape s = {.format = fp8 ? NANO_KV_FORMAT_FP8 : NANO_KV_FORMAT_Q8_0,
                                .num_kv_heads = 1,
                                .group = 1,
                                .head_dim = tensor_cores ? 256 : 260,
                                .v_head_dim = tensor_cores ? 256 : 260,
                                .block_size = 16};
        struct world w = make_world(&s, seqs, 1);
        const struct cut cut = {.end_seq = 1, .plan_blocks = 1, .num_blocks = 1};
        const float scale = 0.0123f;
        float out[260];
        for (int c = 0; c < 256; c++)
            w.v[c] = fp8 ? nano_e4m3_to_f32((uint8_t)c) : scale * (float)(c - 128 + (c == 0));
        store_on_device(&w);
        attend(&w, &cut, out);
        for (int c = 0; c < 256; c++) {
            const float v = fp8 && c % 128 == 127 ? nano_e4m3_to_f32((uint8_t)(c - 1))
                            : fp8                 ? w.v[c]
                                                  : scale * 127 / 127 * (float)(c - 128 + (c == 0));
            const float expected = tensor_cores ? nano_f16_to_f32(nano_f32_to_f16(v)) : v;
            cr_assert(fp8 ? out[c] == expected : fabsf(out[c] - expected) <= fabsf(v) * 0x1p-20f,
                      "case %d, code %d: %a, expected %a", i, c, (double)out[c], (double)expected);
        }
        free_world(&w);
    }
}

/* ---- KV store ---- */

static void check_head(const struct world *w, const void *pool, int dim, int slot, int head,
                       const float *x)
{
    const struct shape *s = &w->shape;
    const size_t tokens = (size_t)(s->num_kv_heads * s->block_size),
                 bytes = nano_cuda_kv_block_bytes(s->format, s->num_kv_heads, dim, s->block_size);
    const unsigned char *block = (const unsigned char *)pool + slot / s->block_size * bytes;
    const size_t token = (size_t)(head * s->block_size + slot % s->block_size);
    float largest = 0;
    for (int i = 0; i < dim; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    const float scale = largest / 127, inverse = scale >= FLT_MIN ? 1 / scale : 0;
    for (int i = 0; i < dim; i++) {
        const size_t at = token * (size_t)dim + (size_t)i;
        if (s->format == NANO_KV_FORMAT_F32)
            cr_assert_eq(((const float *)block)[at], x[i]);
        else if (s->format == NANO_KV_FORMAT_F16)
            cr_assert_eq(((const uint16_t *)block)[at], nano_f32_to_f16(x[i]));
        else if (s->format == NANO_KV_FORMAT_BF16)
            cr_assert_eq(((const uint16_t *)block)[at], nano_f32_to_bf16(x[i]));
        else if (s->format == NANO_KV_FORMAT_FP8)
            cr_assert_eq(block[at], nano_f32_to_e4m3(x[i]));
        else
            cr_assert_eq(((const int8_t *)block)[at], (int8_t)rintf(x[i] * inverse));
    }
    if (s->format == NANO_KV_FORMAT_Q8_0)
        cr_assert_eq(((const float *)(block + (tokens * (size_t)dim + 15) / 16 * 16))[token],
                     scale);
}

Test(cuda_attention, kv_store)
{
    static const struct seq seqs[] = {{0, 20}, {5, 9}};
    for (int format = 0; format < NANO_NUM_KV_FORMATS; format++)
        for (int dim = 5; dim <= 80; dim += 75) {
            const struct shape s = {.format = (enum nano_kv_format)format,
                                    .num_kv_heads = 3,
                                    .group = 1,
                                    .head_dim = dim,
                                    .v_head_dim = dim + 3,
                                    .block_size = dim == 5 ? 1 : 16};
            struct world w = make_world(&s, seqs, 2);
            w.slots[7] = -1; /* padding is not looked at */
            for (int64_t i = 0; i < w.k_stride; i++)
                w.k[i] = 0, w.v[i] *= 1e-40f, w.k[7 * w.k_stride + i] = NAN;
            store_on_device(&w);
            for (int p = 0; p < w.num_positions; p++)
                for (int head = 0; p != 7 && head < 3; head++) {
                    check_head(&w, w.k_pool, dim, w.slots[p], head,
                               w.k + p * w.k_stride + head * dim);
                    check_head(&w, w.v_pool, dim + 3, w.slots[p], head,
                               w.v + p * w.v_stride + head * (dim + 3));
                }
            free_world(&w);
        }
}
