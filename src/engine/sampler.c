/* Sampler. */
#include "engine/sampler.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/memory.h"
#include "engine/candidates.h"

struct nano_sampler_scratch {
    atomic_flag taken;
    struct nano_candidate *candidates; /* [vocab_size] */
    float *raw;                        /* [vocab_size]: logits before they are changed */
    int32_t *counts;                   /* [vocab_size]: all zero between calls */
    float *weights;                    /* [vocab_size] */
};

size_t nano_sampler_bytes(int64_t vocab_size, int num_threads)
{
    size_t per_token = sizeof(struct nano_candidate) + 2 * sizeof(float) + sizeof(int32_t);
    return (size_t)num_threads *
           ((size_t)vocab_size * per_token + sizeof(struct nano_sampler_scratch));
}

enum nano_status nano_sampler_init(struct nano_sampler *sampler, const struct nano_kernels *kernels,
                                   int64_t vocab_size, int num_threads, struct nano_error *err)
{
    *sampler = (struct nano_sampler){.kernels = kernels, .vocab_size = vocab_size};
    sampler->scratch = nano_mem_calloc((size_t)num_threads, sizeof *sampler->scratch);
    if (!sampler->scratch)
        goto fail;
    sampler->num_scratch = num_threads;
    for (int i = 0; i < num_threads; i++) {
        struct nano_sampler_scratch *s = &sampler->scratch[i];
        atomic_flag_clear(&s->taken);
        s->candidates = nano_mem_alloc((size_t)vocab_size, sizeof *s->candidates);
        s->raw = nano_mem_alloc((size_t)vocab_size, sizeof *s->raw);
        s->counts = nano_mem_calloc((size_t)vocab_size, sizeof *s->counts);
        s->weights = nano_mem_alloc((size_t)vocab_size, sizeof *s->weights);
        if (!s->candidates || !s->raw || !s->counts || !s->weights)
            goto fail;
    }
    return NANO_OK;
fail:
    nano_sampler_deinit(sampler);
    return nano_error_no_memory(err, "the sampler", nano_sampler_bytes(vocab_size, num_threads));
}

void nano_sampler_deinit(struct nano_sampler *sampler)
{
    for (int i = 0; i < sampler->num_scratch; i++) {
        nano_mem_free(sampler->scratch[i].candidates);
        nano_mem_free(sampler->scratch[i].raw);
        nano_mem_free(sampler->scratch[i].counts);
        nano_mem_free(sampler->scratch[i].weights);
    }
    nano_mem_free(sampler->scratch);
    *sampler = (struct nano_sampler){0};
}

/* There are as many areas as threads that can ask at once, so one is free after at most a round. */
static struct nano_sampler_scratch *take_scratch(struct nano_sampler *sampler)
{
    for (int i = 0;; i = i + 1 < sampler->num_scratch ? i + 1 : 0)
        if (!atomic_flag_test_and_set_explicit(&sampler->scratch[i].taken, memory_order_acquire))
            return &sampler->scratch[i];
}

static void give_scratch(struct nano_sampler_scratch *scratch)
{
    atomic_flag_clear_explicit(&scratch->taken, memory_order_release);
}

void nano_philox(uint64_t key, uint64_t stream, uint64_t counter, uint64_t out[2])
{
    uint32_t c[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), (uint32_t)stream,
                     (uint32_t)(stream >> 32)};
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0];
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ k0, (uint32_t)p1,
                            (uint32_t)(p0 >> 32) ^ c[3] ^ k1, (uint32_t)p0};
        memcpy(c, next, sizeof c);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = (uint64_t)c[1] << 32 | c[0];
    out[1] = (uint64_t)c[3] << 32 | c[2];
}

static bool has_penalties(const struct nano_sampling_params *p)
{
    return p->repetition_penalty != 1.0f || p->presence_penalty != 0.0f ||
           p->frequency_penalty != 0.0f;
}

bool nano_sampling_is_greedy(const struct nano_sampling_params *p)
{
    return p->temperature == 0.0f && !has_penalties(p) && p->num_logit_bias == 0 &&
           p->min_tokens == 0 && p->logprobs < 0;
}

bool nano_sampling_is_draw(const struct nano_sampling_params *p)
{
    return p->temperature > 0.0f && !has_penalties(p) && p->num_logit_bias == 0 &&
           p->logprobs < 0 && (p->top_p < 1.0f || p->top_k <= NANO_MAX_DRAW_TOP_K);
}

struct nano_draw nano_sampling_draw(const struct nano_sampling_params *p, int completion,
                                    int position)
{
    uint64_t random[2];
    nano_philox(p->seed, (uint64_t)completion, (uint64_t)position, random);
    return (struct nano_draw){.temperature = p->temperature,
                              .top_k = p->top_k,
                              .top_p = p->top_p,
                              .min_p = p->min_p,
                              .uniform = (double)(random[0] >> 11) * 0x1p-53};
}

void nano_sampler_logprobs(struct nano_sampler *sampler, const float *logits, int32_t token,
                           int num_top, struct nano_token_logprobs *out,
                           struct nano_top_logprob *top)
{
    double log_sum = sampler->kernels->log_sum_exp(logits, sampler->vocab_size);
    *out = (struct nano_token_logprobs){.token_id = token,
                                        .logprob = (float)(logits[token] - log_sum)};
    if (num_top <= 0)
        return;
    struct nano_sampler_scratch *s = take_scratch(sampler);
    size_t k = (size_t)num_top < (size_t)sampler->vocab_size ? (size_t)num_top
                                                             : (size_t)sampler->vocab_size;
    struct nano_logits row = {
        .kernels = sampler->kernels, .values = logits, .vocab_size = sampler->vocab_size};
    size_t count = nano_candidates_collect(&row, -INFINITY, k, s->candidates);
    nano_candidates_sort(s->candidates, count);
    for (size_t i = 0; i < count; i++)
        top[i] = (struct nano_top_logprob){s->candidates[i].token,
                                           (float)(s->candidates[i].logit - log_sum)};
    give_scratch(s);
    out->top = top;
    out->num_top = (int)count;
}

static void apply_penalties(const struct nano_sampler_input *in, float *logits, int32_t *counts)
{
    const struct nano_sampling_params *p = in->params;
    for (int i = in->num_prompt_tokens; i < in->num_tokens; i++)
        counts[in->tokens[i]]++;
    for (int i = 0; i < in->num_tokens; i++) {
        int32_t token = in->tokens[i];
        if (counts[token] < 0)
            continue; /* this token has been treated */
        float *logit = &logits[token];
        *logit = *logit > 0.0f ? *logit / p->repetition_penalty : *logit * p->repetition_penalty;
        if (counts[token] > 0)
            *logit -= p->presence_penalty + p->frequency_penalty * (float)counts[token];
        counts[token] = -1;
    }
    for (int i = 0; i < in->num_tokens; i++)
        counts[in->tokens[i]] = 0;
}

static bool modifies_logits(const struct nano_sampler_input *in)
{
    return in->params->num_logit_bias > 0 || has_penalties(in->params) || in->num_banned > 0;
}

static void modify(const struct nano_sampler_input *in, float *logits, int32_t *counts)
{
    const struct nano_sampling_params *p = in->params;
    for (int i = 0; i < p->num_logit_bias; i++)
        logits[p->logit_bias[i].token_id] += p->logit_bias[i].bias;
    if (has_penalties(p))
        apply_penalties(in, logits, counts);
    for (int i = 0; i < in->num_banned; i++)
        logits[in->banned[i]] = -INFINITY;
}

/* The first token whose weight, added to those before it, exceeds `uniform` of all; -1 if rounding
 * left a sliver of the total, or nothing qualified. */
static int32_t draw_candidate(const struct nano_logits *row, const struct nano_candidate *c,
                              size_t count, double uniform, float *weights)
{
    double total = 0.0;
    for (size_t i = 0; i < count; i++) {
        weights[i] = nano_candidate_weight(row, c[i].logit);
        total += (double)weights[i];
    }
    double rest = uniform * total;
    for (size_t i = 0; i < count; i++) {
        rest -= (double)weights[i];
        if (rest < 0.0)
            return c[i].token;
    }
    return -1;
}

static int32_t draw(const struct nano_sampler *sampler, const struct nano_draw *p,
                    const float *logits, struct nano_sampler_scratch *s)
{
    int64_t best = sampler->kernels->argmax(logits, sampler->vocab_size);
    float max = logits[best];
    if (p->temperature == 0.0f || !isfinite(max))
        return (int32_t)best;
    struct nano_logits row = {.kernels = sampler->kernels,
                              .values = logits,
                              .vocab_size = sampler->vocab_size,
                              .max = max,
                              .scale = 1.0f / p->temperature};
    float floor = p->min_p > 0.0f ? max + logf(p->min_p) * p->temperature : -INFINITY;
    size_t k = p->top_k > 0 && p->top_k < sampler->vocab_size ? (size_t)p->top_k : 0, count;
    struct nano_candidate *c = s->candidates;
    int32_t token = -1;
    bool takes_all = k == 0 && p->min_p <= 0.0f;
    if (takes_all && p->top_p >= 1.0f)
        token = nano_candidates_draw_from_all(&row, p->uniform);
    if (token >= 0)
        return token;
    if (takes_all && p->top_p < 1.0f) {
        c = nano_candidates_top_p(&row, p->top_p, c, &count);
    } else {
        count = nano_candidates_collect(&row, floor, k, c);
        if (p->top_p < 1.0f)
            c = nano_candidates_keep_top_p(&row, p->top_p, c, &count);
    }
    token = draw_candidate(&row, c, count, p->uniform, s->weights);
    return token >= 0 ? token : (int32_t)best;
}

int32_t nano_sampler_draw(struct nano_sampler *sampler, const struct nano_draw *p,
                          const float *logits)
{
    struct nano_sampler_scratch *s = take_scratch(sampler);
    int32_t token = draw(sampler, p, logits, s);
    give_scratch(s);
    return token;
}

int32_t nano_sampler_sample(struct nano_sampler *sampler, const struct nano_sampler_input *in,
                            float *logits, struct nano_token_logprobs *logprobs,
                            struct nano_top_logprob *top)
{
    struct nano_sampler_scratch *s = take_scratch(sampler);
    bool wants_logprobs = in->params->logprobs >= 0, modifies = modifies_logits(in);
    if (wants_logprobs && modifies)
        memcpy(s->raw, logits, (size_t)sampler->vocab_size * sizeof *logits);
    if (modifies)
        modify(in, logits, s->counts);
    struct nano_draw d =
        nano_sampling_draw(in->params, in->completion, in->num_tokens - in->num_prompt_tokens);
    int32_t token = draw(sampler, &d, logits, s);
    if (wants_logprobs && modifies)
        memcpy(logits, s->raw, (size_t)sampler->vocab_size * sizeof *logits);
    give_scratch(s);
    if (wants_logprobs)
        nano_sampler_logprobs(sampler, logits, token, in->params->logprobs, logprobs, top);
    return token;
}
