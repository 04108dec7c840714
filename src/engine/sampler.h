/* Sampler: from one row of logits to one token, and its log-probabilities.
 *
 * Order: logit bias, repetition, presence and frequency penalties, bans (min_tokens), temperature,
 * then top-k, min-p and top-p over what is left, then one draw. The draw for output position i of
 * completion c is number i of the Philox stream keyed by (seed, c), so it depends on nothing else:
 * not on the batch, the step or the thread.
 *
 * The object is shared by the runner's threads: each call takes one of num_threads scratch areas.
 */
#ifndef NANO_ENGINE_SAMPLER_H
#define NANO_ENGINE_SAMPLER_H

#include "base/error.h"
#include "runner/runner.h"
#include "simd/kernels.h"

struct nano_sampler_scratch;

struct nano_sampler {
    const struct nano_kernels *kernels;
    int64_t vocab_size;
    int num_scratch;
    struct nano_sampler_scratch *scratch; /* [num_scratch] */
};

size_t nano_sampler_bytes(int64_t vocab_size, int num_threads);
enum nano_status nano_sampler_init(struct nano_sampler *sampler, const struct nano_kernels *kernels,
                                   int64_t vocab_size, int num_threads, struct nano_error *err);
void nano_sampler_deinit(struct nano_sampler *sampler);

/* What a draw depends on. */
struct nano_sampler_input {
    const struct nano_sampling_params *params;
    const int32_t *tokens; /* prompt and output so far */
    int num_prompt_tokens, num_tokens;
    int completion;        /* 0 … n-1 */
    const int32_t *banned; /* tokens that cannot be drawn */
    int num_banned;
};

/* True when the answer is always the first of the largest logits and nothing else is asked for. */
bool nano_sampling_is_greedy(const struct nano_sampling_params *params);

/* True when the answer is a draw that depends on the logits and a nano_draw alone, once min_tokens
 * tokens are there. */
bool nano_sampling_is_draw(const struct nano_sampling_params *params);

/* The draw for output position `position` of a completion. */
struct nano_draw nano_sampling_draw(const struct nano_sampling_params *params, int completion,
                                    int position);

/* The token of a draw; runners that draw give the same one. */
int32_t nano_sampler_draw(struct nano_sampler *sampler, const struct nano_draw *draw,
                          const float *logits);

/* Draws a token; changes logits. With params->logprobs >= 0 it fills *logprobs, whose entries go to
 * top[params->logprobs]. */
int32_t nano_sampler_sample(struct nano_sampler *sampler, const struct nano_sampler_input *input,
                            float *logits, struct nano_token_logprobs *logprobs,
                            struct nano_top_logprob *top);

/* Log-probability of `token` under the unmodified logits, and of the num_top most likely tokens. */
void nano_sampler_logprobs(struct nano_sampler *sampler, const float *logits, int32_t token,
                           int num_top, struct nano_token_logprobs *out,
                           struct nano_top_logprob *top);

/* Two 64-bit words number `counter` of the stream (key, stream): Philox4x32-10 (Salmon et al.,
 * "Parallel random numbers: as easy as 1, 2, 3", SC 2011). */
void nano_philox(uint64_t key, uint64_t stream, uint64_t counter, uint64_t out[2]);

#endif
