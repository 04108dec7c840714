/* Step time: what a step costs, learnt from the steps that ran.
 *
 *   with prefill:   time = decode_ns + ns of a prefill token x prefill tokens
 *   decode only:    time = a line over the number of rows, through the mean of recent steps
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
    /* Steps that only decode: means of rows and time, and how they vary around them. */
    double rows, rows_ns, rows_variance, rows_ns_covariance;
};

/* A step took ns. num_decode_tokens: rows of decoding sequences, num_speculated of them proposed.
 */
void nano_step_time_add(struct nano_step_time *time, int num_prefill_tokens, int num_decode_tokens,
                        int num_speculated, uint64_t ns);

/* How many prefill tokens a step may have beside decoding sequences to take target_ns: at least
 * what keeps prompts going, at most `budget`. */
int nano_step_time_prefill_limit(const struct nano_step_time *time, double target_ns, int budget);

/* The tokens that num_seqs decoding sequences forgo in the time that one more row adds to their
 * step, 0 to 1; 0 while it is not known. */
double nano_step_time_row_cost(const struct nano_step_time *time, int num_seqs);

#endif
