/* Speculative decoding without a second model: what follows an earlier occurrence of the newest
 * tokens is proposed as what comes next (prompt lookup), and verified in one step.
 *
 *   tokens:   … a b c d e … a b c │ d e        the last 3 tokens stood here before: propose d e
 *                   └── n-gram ──┘   proposed, not yet part of the sequence
 *
 * A row of logits behind proposed tokens is sampled as if they were the sequence's own. Its draw
 * counts only if all of them turn out to be what was drawn, and then it is the draw that decoding
 * one by one would have made: proposals never change a token.
 *
 * How many are proposed follows from how often they were right and what a row more costs. Where
 * nothing is proposed, the prediction is still compared with what came: a draft that was switched
 * off by bad luck comes back without having been paid for. */
#ifndef NANO_ENGINE_SPECULATIVE_H
#define NANO_ENGINE_SPECULATIVE_H

#include <stddef.h>
#include <stdint.h>

#define NANO_MAX_SPECULATIVE_TOKENS 64
#define NANO_MAX_NGRAM 64

struct nano_speculative_config {
    int num_speculative_tokens;               /* proposed at most in a step; 0: off */
    int prompt_lookup_min, prompt_lookup_max; /* tokens of an n-gram */
};

/* One sequence's index of its n-grams of prompt_lookup_min tokens: hash chains of the positions
 * behind them, newest first. */
struct nano_draft {
    const struct nano_speculative_config *config; /* borrowed */
    int32_t *head;                                /* [mask + 1]; 0 ends a chain */
    int32_t *next;                                /* [max_length] */
    uint32_t mask;
    int end;           /* positions below are in the index */
    int num_proposed;  /* for the step in work */
    int32_t predicted; /* the token that the step in work should give; -1: none */
    float acceptance;  /* how likely a proposed token is right, from what was seen */
};

/* Memory of a draft whose sequence has at most max_length tokens, in int32_t. */
size_t nano_draft_size(int max_length);

/* `memory` is nano_draft_size(max_length) of zeros. */
void nano_draft_init(struct nano_draft *draft, const struct nano_speculative_config *config,
                     int32_t *memory, int max_length);

/* Takes tokens[0 … num_tokens) into the index; amortised over the tokens it is constant. */
void nano_draft_index(struct nano_draft *draft, const int32_t *tokens, int num_tokens);

/* Writes at most `limit` proposals behind the sequence's num_tokens tokens and returns how many.
 * row_cost: the tokens that all sequences of the step forgo in the time of one more row; a row is
 * worth adding while it is more likely than that to give a token itself. */
int nano_draft_propose(struct nano_draft *draft, int32_t *tokens, int num_tokens, int limit,
                       double row_cost);

/* What came of it: the step's first token, and how many proposals were right. */
void nano_draft_observe(struct nano_draft *draft, int32_t first_token, int num_accepted);

#endif
