/* Attention plan: the work items of a step, the same for all of its layers.
 *
 * A chunk is some queries: several of one sequence, or, where consecutive sequences of the batch
 * each have one query and begin with the same blocks, one of each. A chunk is one item, or has its
 * positions cut into ranges of NANO_ATTENTION_SPLIT: because it is a large part of the step's work,
 * or because the first ranges lie in shared blocks and are done for all of its queries at once. */
#include <limits.h>

#include "runner/cpu/cpu_state.h"

/* A chunk with more than this part of a thread's share of the work is cut into ranges. */
#define LARGEST_ITEM 8
/* How many more queries than one can have ranges at once, with this many ranges each. */
#define UNITS_PER_SEQ 8
#define SEQS_WITH_UNITS 64
#define MAX_QUERIES 64
#define NUM_COSTS 64

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static int num_ranges(int num_positions)
{
    return (num_positions + NANO_ATTENTION_SPLIT - 1) / NANO_ATTENTION_SPLIT;
}

void nano_cpu_attention_size(struct nano_cpu_attention_plan *plan, const struct nano_cpu_runner *r)
{
    const struct nano_runner_config *c = &r->config;
    int num_q_heads = 1;
    *plan = (struct nano_cpu_attention_plan){.max_kv_heads = 1, .min_kv_heads = INT_MAX};
    for (int i = 0; i < r->program->num_ops; i++) {
        const struct nano_op *op = &r->program->ops[i];
        if (op->kind != NANO_OP_ATTENTION)
            continue;
        const size_t floats =
            (size_t)op->num_heads * r->kernels.attention_partial_floats(op->head_dim);
        plan->unit_floats = floats > plan->unit_floats ? floats : plan->unit_floats;
        plan->min_kv_heads = smaller(plan->min_kv_heads, op->num_kv_heads);
        if (op->num_kv_heads > plan->max_kv_heads)
            plan->max_kv_heads = op->num_kv_heads;
        if (op->num_heads / op->num_kv_heads > num_q_heads)
            num_q_heads = op->num_heads / op->num_kv_heads;
    }
    plan->max_queries = smaller(NANO_ATTENTION_ROWS / num_q_heads, MAX_QUERIES);
    plan->max_queries = plan->max_queries > 0 ? plan->max_queries : 1;
    plan->max_chunks = c->max_num_seqs + c->max_num_batched_tokens / plan->max_queries;
    plan->max_units = num_ranges(c->max_model_len) +
                      UNITS_PER_SEQ * (smaller(c->max_num_seqs, SEQS_WITH_UNITS) - 1);
    plan->max_items = plan->max_chunks + plan->max_units;
}

/* How many whole ranges lie in the same blocks for one query each of two sequences. */
static int num_shared_ranges(const struct nano_batch_seq *a, const struct nano_batch_seq *b,
                             int block_size)
{
    const int end = smaller(a->first_position, b->first_position) + 1;
    int num_blocks = 0;
    while ((int64_t)num_blocks * block_size < end &&
           a->block_table[num_blocks] == b->block_table[num_blocks])
        num_blocks++;
    const int64_t num_positions = (int64_t)num_blocks * block_size;
    return (num_positions < end ? (int)num_positions : end) / NANO_ATTENTION_SPLIT;
}

/* How many sequences from seqs[0] on make one chunk, and how many ranges they share. */
static int find_group(const struct nano_cpu_runner *r, const struct nano_batch_seq *seqs,
                      int num_seqs, int *num_shared)
{
    const struct nano_cpu_attention_plan *plan = &r->attention;
    int count = 1, most = num_ranges(seqs[0].first_position + 1), shared = most;
    while (count < num_seqs && count < plan->max_queries && seqs[count].num_tokens == 1) {
        const int common =
            smaller(num_shared_ranges(&seqs[0], &seqs[count], r->config.block_size), shared);
        const int ranges = num_ranges(seqs[count].first_position + 1);
        const int longest = ranges > most ? ranges : most;
        if (common == 0 || (count > 1 && 2 * common < shared) ||
            (int64_t)longest * (count + 1) > plan->max_units - plan->num_units)
            break;
        shared = common;
        most = longest;
        count++;
    }
    *num_shared = shared;
    return count;
}

static void add_item(struct nano_cpu_attention_plan *plan, struct nano_cpu_attention_item item)
{
    plan->chunks[item.chunk].num_items++;
    plan->items[plan->num_items++] = item;
}

/* One query of each of `count` sequences, the first `num_shared` ranges together. */
static void add_group(struct nano_cpu_attention_plan *plan, const struct nano_batch *batch,
                      int first_seq, int count, int num_shared)
{
    const struct nano_batch_seq *seqs = &batch->seqs[first_seq];
    const int chunk = plan->num_chunks++;
    int most = 0;
    plan->chunks[chunk] = (struct nano_cpu_chunk){.first_row = seqs->first_token,
                                                  .num_queries = count,
                                                  .in_ranges = true,
                                                  .first_unit = plan->num_units};
    for (int range = 0; range < num_shared; range++)
        add_item(plan, (struct nano_cpu_attention_item){.chunk = chunk,
                                                        .seq = first_seq,
                                                        .num_queries = count,
                                                        .first_position =
                                                            (range + 1) * NANO_ATTENTION_SPLIT,
                                                        .range = range});
    for (int i = 0; i < count; i++) {
        const int end = num_ranges(seqs[i].first_position + 1);
        most = end > most ? end : most;
        for (int range = num_shared; range < end; range++)
            add_item(plan,
                     (struct nano_cpu_attention_item){.chunk = chunk,
                                                      .seq = first_seq + i,
                                                      .first_query = i,
                                                      .num_queries = 1,
                                                      .first_position = seqs[i].first_position,
                                                      .range = range});
    }
    plan->num_units += most * count;
}

/* Queries [first, first + count) of a sequence, in ranges if there are units for them. */
static void add_chunk(struct nano_cpu_attention_plan *plan, const struct nano_batch *batch, int seq,
                      int first, int count, bool in_ranges)
{
    const struct nano_batch_seq *s = &batch->seqs[seq];
    const int chunk = plan->num_chunks++, first_position = s->first_position + first;
    const int ranges = num_ranges(first_position + count);
    in_ranges =
        in_ranges && ranges > 1 && (int64_t)ranges * count <= plan->max_units - plan->num_units;
    plan->chunks[chunk] = (struct nano_cpu_chunk){.first_row = s->first_token + first,
                                                  .num_queries = count,
                                                  .in_ranges = in_ranges,
                                                  .first_unit = plan->num_units};
    for (int range = 0; range < (in_ranges ? ranges : 1); range++)
        add_item(plan, (struct nano_cpu_attention_item){.chunk = chunk,
                                                        .seq = seq,
                                                        .num_queries = count,
                                                        .first_position = first_position,
                                                        .range = range});
    if (in_ranges)
        plan->num_units += ranges * count;
}

/* About log2 of an item's work. */
static int cost_of(const struct nano_cpu_attention_plan *plan,
                   const struct nano_cpu_attention_item *item)
{
    int num_positions = item->first_position + item->num_queries;
    if (plan->chunks[item->chunk].in_ranges)
        num_positions =
            smaller(num_positions - item->range * NANO_ATTENTION_SPLIT, NANO_ATTENTION_SPLIT);
    const uint64_t cost = (uint64_t)num_positions * (uint64_t)item->num_queries;
    return 63 - __builtin_clzll(cost | 1);
}

/* Large items first, so that threads end together. */
static void sort_items(struct nano_cpu_attention_plan *plan)
{
    int next[NUM_COSTS + 1] = {0};
    for (int i = 0; i < plan->num_items; i++)
        next[NUM_COSTS - 1 - cost_of(plan, &plan->items[i]) + 1]++;
    for (int i = 0; i < NUM_COSTS; i++)
        next[i + 1] += next[i];
    for (int i = 0; i < plan->num_items; i++)
        plan->order[next[NUM_COSTS - 1 - cost_of(plan, &plan->items[i])]++] = i;
}

void nano_cpu_attention_prepare(struct nano_cpu_runner *r, const struct nano_batch *batch,
                                uint64_t num_pairs)
{
    struct nano_cpu_attention_plan *plan = &r->attention;
    const uint64_t largest =
        num_pairs * (uint64_t)plan->min_kv_heads / (uint64_t)(LARGEST_ITEM * r->config.num_threads);
    plan->num_chunks = plan->num_items = plan->num_units = 0;
    for (int s = 0, count; s < batch->num_seqs; s += count) {
        const struct nano_batch_seq *seq = &batch->seqs[s];
        int num_shared;
        count = seq->num_tokens == 1 ? find_group(r, seq, batch->num_seqs - s, &num_shared) : 1;
        if (count > 1) {
            add_group(plan, batch, s, count, num_shared);
            continue;
        }
        for (int first = 0; first < seq->num_tokens; first += plan->max_queries) {
            const int queries = smaller(seq->num_tokens - first, plan->max_queries);
            const uint64_t pairs =
                (uint64_t)queries * (uint64_t)(seq->first_position + first + queries);
            add_chunk(plan, batch, s, first, queries, r->config.num_threads > 1 && pairs > largest);
        }
    }
    sort_items(plan);
}
