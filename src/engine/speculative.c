/* Speculative decoding: the index of n-grams and the length of proposals. */
#include "engine/speculative.h"

#include <stdbool.h>

/* How many earlier occurrences are looked at for the longest match. */
#define MAX_CANDIDATES 8
#define FIRST_ACCEPTANCE 0.5f
/* Weight of one more observation. */
#define ACCEPTANCE_STEP 0.125f
/* A row that is less likely than this to give a token is not worth its work, whatever it costs. */
#define MIN_CHANCE 0.1

static uint32_t num_heads(int max_length)
{
    uint32_t count = 16;
    while (count < (uint32_t)max_length / 2)
        count *= 2;
    return count;
}

size_t nano_draft_size(int max_length)
{
    return (size_t)max_length + num_heads(max_length);
}

void nano_draft_init(struct nano_draft *draft, const struct nano_speculative_config *config,
                     int32_t *memory, int max_length)
{
    *draft = (struct nano_draft){.config = config,
                                 .next = memory,
                                 .head = memory + max_length,
                                 .mask = num_heads(max_length) - 1,
                                 .end = config->prompt_lookup_min,
                                 .predicted = -1,
                                 .acceptance = FIRST_ACCEPTANCE};
}

/* The chain of the n-gram that ends right before `end`. */
static int32_t *chain_of(const struct nano_draft *draft, const int32_t *tokens, int end)
{
    uint32_t hash = 0;
    for (int i = end - draft->config->prompt_lookup_min; i < end; i++)
        hash = (hash ^ (uint32_t)tokens[i]) * 0x9E3779B1u;
    return &draft->head[(hash ^ hash >> 15) & draft->mask];
}

void nano_draft_index(struct nano_draft *draft, const int32_t *tokens, int num_tokens)
{
    for (; draft->end < num_tokens; draft->end++) {
        int32_t *head = chain_of(draft, tokens, draft->end);
        draft->next[draft->end] = *head;
        *head = draft->end;
    }
}

/* The position behind the longest earlier occurrence of the newest tokens, the last of equally long
 * ones; 0 if there is none. */
static int find_match(const struct nano_draft *draft, const int32_t *tokens, int num_tokens)
{
    int best = 0, best_length = draft->config->prompt_lookup_min - 1;
    int longest = draft->config->prompt_lookup_max;
    int32_t candidate = *chain_of(draft, tokens, num_tokens);
    for (int i = 0; i < MAX_CANDIDATES && candidate > 0; i++, candidate = draft->next[candidate]) {
        int length = 0;
        while (length < longest && length < candidate &&
               tokens[candidate - 1 - length] == tokens[num_tokens - 1 - length])
            length++;
        if (length > best_length) {
            best = candidate;
            best_length = length;
            if (length == longest)
                break;
        }
    }
    return best;
}

/* The row behind i proposals gives a token only if all of them are right. */
static int worthwhile(const struct nano_draft *draft, int limit, double row_cost)
{
    double least = row_cost > MIN_CHANCE ? row_cost : MIN_CHANCE;
    double chance = (double)draft->acceptance;
    int count = 0;
    while (count < limit && chance > least) {
        chance *= (double)draft->acceptance;
        count++;
    }
    return count;
}

int nano_draft_propose(struct nano_draft *draft, int32_t *tokens, int num_tokens, int limit,
                       double row_cost)
{
    draft->num_proposed = 0;
    draft->predicted = -1;
    if (num_tokens < draft->config->prompt_lookup_min)
        return 0;
    nano_draft_index(draft, tokens, num_tokens);
    int match = find_match(draft, tokens, num_tokens);
    if (match == 0)
        return 0;
    draft->predicted = tokens[match];
    if (limit > draft->config->num_speculative_tokens)
        limit = draft->config->num_speculative_tokens;
    draft->num_proposed = worthwhile(draft, limit, row_cost);
    for (int i = 0; i < draft->num_proposed; i++)
        tokens[num_tokens + i] = tokens[match + i]; /* it may run into its own beginning */
    return draft->num_proposed;
}

static void learn(struct nano_draft *draft, bool was_right)
{
    draft->acceptance += ACCEPTANCE_STEP * ((was_right ? 1.0f : 0.0f) - draft->acceptance);
}

void nano_draft_observe(struct nano_draft *draft, int32_t first_token, int num_accepted)
{
    if (draft->predicted < 0)
        return;
    if (draft->num_proposed == 0)
        learn(draft, first_token == draft->predicted);
    for (int i = 0; i < num_accepted; i++)
        learn(draft, true);
    if (num_accepted < draft->num_proposed)
        learn(draft, false);
    draft->predicted = -1;
    draft->num_proposed = 0;
}
