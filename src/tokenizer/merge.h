/* Merging: the one algorithm behind byte-level BPE and SentencePiece-style BPE.
 *
 *   symbols   t h e r e          the pair of adjacent symbols with the lowest rank becomes one
 *             └─┬─┘              symbol (ties: the leftmost), until no pair is in the table
 *   pairs     (t, h) -> rank, th
 *
 * For byte-level BPE the rank is the line of the merge list; for SentencePiece it is the merged
 * token's place in the order of falling scores, with equal scores at the same place. */
#ifndef NANO_TOKENIZER_MERGE_H
#define NANO_TOKENIZER_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NANO_PAIR_NONE UINT32_MAX /* the rank that no pair has */

struct nano_pair {
    uint64_t key; /* left id << 32 | right id */
    uint32_t rank;
    int32_t merged;
};

struct nano_pair_table { /* read-only once filled: any thread may use it */
    struct nano_pair *slots;
    size_t capacity; /* a power of two, at most half full */
    size_t num_pairs;
};

/* False without memory. */
bool nano_pair_table_init(struct nano_pair_table *table, size_t expected_pairs);
void nano_pair_table_deinit(struct nano_pair_table *table);

/* Ids are >= 0. A pair that is there already keeps its first rank. False without memory. */
bool nano_pair_table_add(struct nano_pair_table *table, int32_t left, int32_t right, uint32_t rank,
                         int32_t merged);

/* Working memory of one encode call; zeroed before its first use. */
struct nano_merge_scratch {
    uint64_t *heap; /* rank << 32 | position of the left symbol: a binary heap, smallest first */
    size_t heap_capacity;
    uint32_t *links; /* previous and next of every symbol */
    size_t links_capacity;
};

void nano_merge_scratch_deinit(struct nano_merge_scratch *scratch);

/* Merges ids[0 … *num_ids) in place, O(n log n). Negative ids merge with nothing. At most INT32_MAX
 * ids. False without memory. */
bool nano_merge(const struct nano_pair_table *table, struct nano_merge_scratch *scratch,
                int32_t *ids, size_t *num_ids);

#endif
