/* Step time: what a step costs, learnt from the steps that ran.
 *
 *   time = decode_ns, what the sequences that decode take together, + token_ns x prefill tokens
 *
 * It sizes the chunks of prompts so that a step keeps to the inter-token latency asked for, and
 * says what a row more costs, which is what speculative decoding must earn. Estimates only change
 * what a step contains, never a token. */
#ifndef NANO_ENGINE_STEP_TIME_H
#define NANO_ENGINE_STEP_TIME_H

#include <stdint.h>

struct nano_step_time {
    double decode_ns;                          /* of a step that only decodes; 0: not seen yet */
    double prefill_ns_sum, prefill_tokens_sum; /* decaying */
};

/* A step with these tokens took ns. num_speculated: proposed tokens among what decodes. */
void nano_step_time_add(struct nano_step_time *time, int num_prefill_tokens, int num_speculated,
                        uint64_t ns);

/* How many prefill tokens a step may have beside decoding sequences to take target_ns: at least
 * what keeps prompts going, at most `budget`. */
int nano_step_time_prefill_limit(const struct nano_step_time *time, double target_ns, int budget);

/* The time of a row more as a part of that of a step that only decodes; 0 while it is not known. */
double nano_step_time_row_cost(const struct nano_step_time *time);

#endif
