/* Candidates: the tokens that a draw chooses among, found without sorting or copying the
 * vocabulary where few of them qualify.
 *
 * Their order is: most likely first, the smaller id first among equals. NaN and minus infinity
 * never qualify. What is kept, and in which order it stands, does not depend on the kernels: where
 * a sum of theirs would decide within its error, the exact sum does. */
#ifndef NANO_ENGINE_CANDIDATES_H
#define NANO_ENGINE_CANDIDATES_H

#include "simd/kernels.h"

struct nano_candidate {
    float logit;
    int32_t token;
};

/* A row of logits and what turns them into weights: exp((logit - max) * scale). */
struct nano_logits {
    const struct nano_kernels *kernels;
    const float *values;
    int64_t vocab_size;
    float max, scale;
};

float nano_candidate_weight(const struct nano_logits *logits, float logit);

/* Collects those with logit >= floor, at most the k first ones (k 0: all); `out` has room for
 * vocab_size. Returns how many. They stand by token, or as a heap when there are k of them. */
size_t nano_candidates_collect(const struct nano_logits *logits, float floor, size_t k,
                               struct nano_candidate *out);

void nano_candidates_sort(struct nano_candidate *candidates, size_t count);

/* Keeps the shortest beginning of the order whose weight is at least top_p of all candidates';
 * returns where it stands, last one first. */
struct nano_candidate *nano_candidates_keep_top_p(const struct nano_logits *logits, float top_p,
                                                  struct nano_candidate *candidates, size_t *count);

/* The same of all tokens, collecting them into `out` first (room for vocab_size). */
struct nano_candidate *nano_candidates_top_p(const struct nano_logits *logits, float top_p,
                                             struct nano_candidate *out, size_t *count);

/* The token in which `uniform`, in [0, 1), falls when the weights of all tokens stand side by side;
 * -1 when that is too close to call without adding up every single one. */
int32_t nano_candidates_draw_from_all(const struct nano_logits *logits, double uniform);

#endif
