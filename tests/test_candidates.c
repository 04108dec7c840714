/* Candidates: whatever is skipped on the way, each draw is that of a plain walk over the whole
 * vocabulary, to the last bit of every sum. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/candidates.h"
#include "engine/sampler.h"
#include "engine_harness.h"

enum { MAX_VOCAB = 5003 };

static bool before(struct nano_candidate a, struct nano_candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

static int compare(const void *a, const void *b)
{
    struct nano_candidate x = *(const struct nano_candidate *)a;
    struct nano_candidate y = *(const struct nano_candidate *)b;
    return before(x, y) ? -1 : before(y, x) ? 1 : 0;
}

/* The k first ones as a heap, its last one on top: what stands where decides how sums round. */
static void push_heap(struct nano_candidate *heap, size_t count, size_t i)
{
    for (;;) {
        size_t last = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2; child++)
            if (child < count && before(heap[last], heap[child]))
                last = child;
        if (last == i)
            return;
        struct nano_candidate moved = heap[i];
        heap[i] = heap[last];
        heap[last] = moved;
        i = last;
    }
}

static size_t collect_plainly(const float *logits, int n, float floor, size_t k,
                              struct nano_candidate *c)
{
    size_t count = 0;
    for (int i = 0; i < n; i++) {
        struct nano_candidate next = {logits[i], i};
        if (!(logits[i] >= floor) || logits[i] == -INFINITY)
            continue;
        if (k == 0 || count < k) {
            c[count++] = next;
            for (size_t h = count / 2; count == k && h-- > 0;)
                push_heap(c, count, h);
        } else if (before(next, c[0])) {
            c[0] = next;
            push_heap(c, count, 0);
        }
    }
    return count;
}

/* As the header of the sampler has it: top-k and min-p, then top-p, then one draw. */
static int32_t draw_plainly(const struct nano_sampler_input *in, const float *logits, int n)
{
    static struct nano_candidate c[MAX_VOCAB];
    const struct nano_sampling_params *p = in->params;
    float max = -INFINITY, inv_t = 1.0f / p->temperature;
    int best = 0;
    for (int i = 0; i < n; i++)
        if (logits[i] > max) {
            max = logits[i];
            best = i;
        }
    float floor = p->min_p > 0.0f ? max + logf(p->min_p) * p->temperature : -INFINITY;
    size_t count = collect_plainly(logits, n, floor, p->top_k < n ? (size_t)p->top_k : 0, c);
    double total = 0.0, sum = 0.0;
    for (size_t i = 0; i < count; i++)
        total += (double)expf((c[i].logit - max) * inv_t);
    if (p->top_p < 1.0f) {
        qsort(c, count, sizeof *c, compare);
        size_t kept = 0;
        while (kept < count && sum < (double)p->top_p * total)
            sum += (double)expf((c[kept++].logit - max) * inv_t);
        for (size_t i = 0; i < kept / 2; i++) { /* the draw begins with the least likely */
            struct nano_candidate moved = c[i];
            c[i] = c[kept - 1 - i];
            c[kept - 1 - i] = moved;
        }
        count = kept;
        total = 0.0;
        for (size_t i = 0; i < count; i++)
            total += (double)expf((c[i].logit - max) * inv_t);
    }
    uint64_t random[2];
    nano_philox(p->seed, (uint64_t)in->completion,
                (uint64_t)(in->num_tokens - in->num_prompt_tokens), random);
    double rest = (double)(random[0] >> 11) * 0x1p-53 * total;
    for (size_t i = 0; i < count; i++) {
        rest -= (double)expf((c[i].logit - max) * inv_t);
        if (rest < 0.0)
            return c[i].token;
    }
    return best;
}

/* Peaked and flat, with ties, with tokens that cannot be drawn. */
static void fill(float *logits, int n, int kind, uint64_t *random)
{
    static const float widths[] = {0.01f, 1.0f, 5.0f, 40.0f};
    for (int i = 0; i < n; i++) {
        float x = 0.0f;
        for (int k = 0; k < 4; k++)
            x += (float)harness_random(random, 100001) / 50000.0f - 1.0f;
        logits[i] = x * widths[kind % 4];
        if (kind / 4 % 2)
            logits[i] = rintf(logits[i]);
        if (kind / 8 % 2 && harness_random(random, 9) == 0)
            logits[i] = harness_random(random, 3) ? -INFINITY : NAN;
    }
    for (int i = 0; i < 20 && kind / 16 % 2; i++)
        logits[harness_random(random, (uint32_t)n)] += 9.0f * widths[kind % 4];
}

static void check_tier(enum nano_cpu_tier tier)
{
    static const int sizes[] = {2, 17, 1000, 1024, 1025, MAX_VOCAB};
    static const int top_ks[] = {0, 0, 1, 40, 1200, 9999};
    static const float top_ps[] = {1.0f, 0.95f, 0.5f, 0.9999f, 1e-6f, 1.0f};
    static const float min_ps[] = {0.0f, 0.0f, 0.0f, 0.05f, 1.0f};
    static const float temperatures[] = {0.8f, 1.0f, 0.1f, 3.0f};
    static float logits[MAX_VOCAB], copy[MAX_VOCAB];
    struct nano_kernels kernels;
    struct nano_sampling_params params = nano_sampling_params_default();
    uint64_t random = 1;
    static const int32_t tokens[4] = {1};
    nano_kernels_init(&kernels, tier);
    for (int size = 0; size < 6; size++) {
        struct nano_sampler sampler;
        struct nano_error err;
        int n = sizes[size];
        cr_assert_eq(nano_sampler_init(&sampler, &kernels, n, 1, &err), NANO_OK);
        for (int i = 0; i < 900; i++) {
            struct nano_sampler_input input = {
                .params = &params, .tokens = tokens, .num_prompt_tokens = 1, .num_tokens = 1};
            params.top_k = top_ks[harness_random(&random, 6)];
            params.top_p = top_ps[harness_random(&random, 6)];
            params.min_p = min_ps[harness_random(&random, 5)];
            params.temperature = temperatures[harness_random(&random, 4)];
            if (i % 4 == 0)
                fill(logits, n, i / 4, &random);
            params.seed = (uint64_t)i;
            memcpy(copy, logits, (size_t)n * sizeof *copy);
            int32_t expected = draw_plainly(&input, logits, n);
            int32_t got = nano_sampler_sample(&sampler, &input, copy, NULL, NULL);
            cr_assert_eq(got, expected,
                         "%s, %d tokens, row %d, top-k %d, top-p %g, min-p %g, temperature %g: "
                         "token %d, expected %d",
                         kernels.name, n, i, params.top_k, (double)params.top_p,
                         (double)params.min_p, (double)params.temperature, got, expected);
        }
        nano_sampler_deinit(&sampler);
    }
}

Test(candidates, every_draw_is_that_of_a_plain_walk)
{
    for (int tier = 0; tier < NANO_NUM_CPU_TIERS; tier++)
        if (nano_cpu_supports((enum nano_cpu_tier)tier))
            check_tier((enum nano_cpu_tier)tier);
}

/* Near the border between two tokens the kernel's sums do not decide. */
Test(candidates, a_close_call_is_left_to_the_exact_sum)
{
    float logits[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    struct nano_kernels kernels;
    nano_kernels_init(&kernels, NANO_CPU_REF);
    struct nano_logits row = {&kernels, logits, 4, 0.0f, 1.0f};
    cr_assert_eq(nano_candidates_draw_from_all(&row, 0.3), 1);
    cr_assert_eq(nano_candidates_draw_from_all(&row, 0.999), 3);
    cr_assert_eq(nano_candidates_draw_from_all(&row, 0.0), -1);
    cr_assert_eq(nano_candidates_draw_from_all(&row, 0.5 - 1e-9), -1);
    cr_assert_eq(nano_candidates_draw_from_all(&row, 0.5 + 1e-9), -1);
    cr_assert_eq(nano_candidates_draw_from_all(&row, 0.25), -1);
}
