/* Attention plan: the work items of a step, the same for all layers of a KV group.
 *
 * A chunk is some queries: several of one sequence, or, where consecutive sequences of the batch
 * each have one query and see the same blocks of the group, one of each. A chunk is one item, or
 * has its positions cut into ranges of NANO_ATTENTION_SPLIT: because it is a large part of the
 * step's work, or because some ranges lie whole in shared blocks and in everybody's window and are
 * done for all of its queries at once. */
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

static int larger(int a, int b)
{
    return a > b ? a : b;
}

static int num_ranges(int num_positions)
{
    return (num_positions + NANO_ATTENTION_SPLIT - 1) / NANO_ATTENTION_SPLIT;
}

int nano_cpu_first_seen(int window, int position)
{
    return window && position >= window ? position - window + 1 : 0;
}

void nano_cpu_attention_size(struct nano_cpu_attention *attention, const struct nano_cpu_runner *r)
{
    const struct nano_runner_config *c = &r->config;
    int num_q_heads = 1;
    *attention = (struct nano_cpu_attention){.max_kv_heads = 1, .min_kv_heads = INT_MAX};
    for (int i = 0; i < r->program->num_ops; i++) {
        const struct nano_op *op = &r->program->ops[i];
        if (op->kind != NANO_OP_ATTENTION)
            continue;
        const size_t floats =
            (size_t)op->num_heads * r->kernels.attention_partial_floats(op->v_head_dim);
        attention->unit_floats = floats > attention->unit_floats ? floats : attention->unit_floats;
        attention->bidirectional |= op->bidirectional;
        attention->min_kv_heads = smaller(attention->min_kv_heads, op->num_kv_heads);
        attention->max_kv_heads = larger(attention->max_kv_heads, op->num_kv_heads);
        num_q_heads = larger(num_q_heads, op->num_heads / op->num_kv_heads);
    }
    attention->max_queries = smaller(NANO_ATTENTION_ROWS / num_q_heads, MAX_QUERIES);
    attention->max_queries = larger(attention->max_queries, 1);
    attention->max_chunks = c->max_num_seqs + c->max_num_batched_tokens / attention->max_queries;
    attention->max_units = num_ranges(c->max_model_len) +
                           UNITS_PER_SEQ * (smaller(c->max_num_seqs, SEQS_WITH_UNITS) - 1);
    attention->max_items = attention->max_chunks + attention->max_units;
}

/* What a plan is made from and for. */
struct planner {
    const struct nano_cpu_runner *r;
    const struct nano_cpu_attention *sizes;
    struct nano_cpu_attention_plan *plan;
    const struct nano_batch *batch;
    int group;
};

/* Ranges [begin, end) that every query of a group sees whole and has in the same blocks; those that
 * some query sees something of are [first, last). */
struct shared_ranges {
    int begin, end;
    int first, last;
};

static int first_seen(const struct planner *p, int position)
{
    return nano_cpu_first_seen(p->plan->window, position);
}

static struct shared_ranges ranges_of(const struct planner *p, const struct nano_batch_seq *seq)
{
    const int seen = first_seen(p, seq->first_position), end = seq->first_position + 1;
    return (struct shared_ranges){.begin = num_ranges(seen),
                                  .end = end / NANO_ATTENTION_SPLIT,
                                  .first = seen / NANO_ATTENTION_SPLIT,
                                  .last = num_ranges(end)};
}

/* With one sequence more, one query each. */
static struct shared_ranges share(const struct planner *p, const struct nano_batch_seq *a,
                                  const struct nano_batch_seq *b, struct shared_ranges ranges)
{
    const struct shared_ranges more = ranges_of(p, b);
    const int32_t *table_a = a->block_table + p->group * a->table_stride;
    const int32_t *table_b = b->block_table + p->group * b->table_stride;
    const int64_t block_size = p->r->config.block_size;
    ranges.first = smaller(ranges.first, more.first);
    ranges.last = larger(ranges.last, more.last);
    ranges.begin = larger(ranges.begin, more.begin);
    ranges.end = smaller(ranges.end, more.end);
    int64_t block = (int64_t)ranges.begin * NANO_ATTENTION_SPLIT / block_size;
    while (block * block_size < (int64_t)ranges.end * NANO_ATTENTION_SPLIT &&
           table_a[block] == table_b[block])
        block++;
    const int64_t num_shared = block * block_size / NANO_ATTENTION_SPLIT;
    ranges.end = num_shared < ranges.end ? (int)num_shared : ranges.end;
    return ranges;
}

/* How many sequences from seqs[0] on make one chunk, and the ranges that they share. */
static int find_group(const struct planner *p, const struct nano_batch_seq *seqs, int num_seqs,
                      struct shared_ranges *out)
{
    int count = 1;
    *out = ranges_of(p, &seqs[0]);
    while (count < num_seqs && count < p->sizes->max_queries && seqs[count].num_tokens == 1) {
        const struct shared_ranges more = share(p, &seqs[0], &seqs[count], *out);
        const int common = more.end - more.begin, before = out->end - out->begin;
        if (common <= 0 || (count > 1 && 2 * common < before) ||
            (int64_t)(more.last - more.first) * (count + 1) >
                p->sizes->max_units - p->plan->num_units)
            break;
        *out = more;
        count++;
    }
    return count;
}

static void add_item(struct nano_cpu_attention_plan *plan, struct nano_cpu_attention_item item)
{
    plan->chunks[item.chunk].num_items++;
    plan->items[plan->num_items++] = item;
}

/* One query of each of `count` sequences. */
static void add_group(const struct planner *p, int first_seq, int count,
                      const struct shared_ranges *shared)
{
    struct nano_cpu_attention_plan *plan = p->plan;
    const struct nano_batch_seq *seqs = &p->batch->seqs[first_seq];
    const int chunk = plan->num_chunks++;
    plan->chunks[chunk] = (struct nano_cpu_chunk){.first_row = seqs->first_token,
                                                  .num_queries = count,
                                                  .in_ranges = true,
                                                  .first_range = shared->first,
                                                  .first_unit = plan->num_units};
    for (int range = shared->begin; range < shared->end; range++)
        add_item(plan, (struct nano_cpu_attention_item){.chunk = chunk,
                                                        .seq = first_seq,
                                                        .num_queries = count,
                                                        .num_positions =
                                                            (range + 1) * NANO_ATTENTION_SPLIT,
                                                        .range = range});
    for (int i = 0; i < count; i++) {
        const struct shared_ranges own = ranges_of(p, &seqs[i]);
        for (int range = own.first; range < own.last; range++)
            if (range < shared->begin || range >= shared->end)
                add_item(plan,
                         (struct nano_cpu_attention_item){.chunk = chunk,
                                                          .seq = first_seq + i,
                                                          .first_query = i,
                                                          .num_queries = 1,
                                                          .first_position = seqs[i].first_position,
                                                          .range = range});
    }
    plan->num_units += (shared->last - shared->first) * count;
}

/* Queries [first, first + count) of a sequence, in ranges if there are units for them. */
static void add_chunk(const struct planner *p, int seq, int first, int count, bool in_ranges)
{
    struct nano_cpu_attention_plan *plan = p->plan;
    const struct nano_batch_seq *s = &p->batch->seqs[seq];
    const bool both = p->sizes->bidirectional;
    const int chunk = plan->num_chunks++, first_position = s->first_position + first;
    const int num_positions = both ? s->first_position + s->num_tokens : first_position + count;
    const int first_range = both ? 0 : first_seen(p, first_position) / NANO_ATTENTION_SPLIT;
    const int ranges = num_ranges(num_positions) - first_range;
    in_ranges =
        in_ranges && ranges > 1 && (int64_t)ranges * count <= p->sizes->max_units - plan->num_units;
    plan->chunks[chunk] = (struct nano_cpu_chunk){.first_row = s->first_token + first,
                                                  .num_queries = count,
                                                  .in_ranges = in_ranges,
                                                  .first_range = first_range,
                                                  .first_unit = plan->num_units};
    for (int range = 0; range < (in_ranges ? ranges : 1); range++)
        add_item(plan, (struct nano_cpu_attention_item){.chunk = chunk,
                                                        .seq = seq,
                                                        .num_queries = count,
                                                        .first_position = first_position,
                                                        .num_positions = both ? num_positions : 0,
                                                        .range = first_range + range});
    if (in_ranges)
        plan->num_units += ranges * count;
}

/* About log2 of an item's work. */
static int cost_of(const struct planner *p, const struct nano_cpu_attention_item *item)
{
    int begin = 0, end = item->num_positions;
    if (!end) {
        begin = first_seen(p, item->first_position);
        end = item->first_position + item->num_queries;
    }
    if (p->plan->chunks[item->chunk].in_ranges) {
        begin = larger(begin, item->range * NANO_ATTENTION_SPLIT);
        end = smaller(end, (item->range + 1) * NANO_ATTENTION_SPLIT);
    }
    const uint64_t cost = (uint64_t)(end - begin) * (uint64_t)item->num_queries;
    return 63 - __builtin_clzll(cost | 1);
}

/* Large items first, so that threads end together. */
static void sort_items(const struct planner *p)
{
    struct nano_cpu_attention_plan *plan = p->plan;
    int next[NUM_COSTS + 1] = {0};
    for (int i = 0; i < plan->num_items; i++)
        next[NUM_COSTS - 1 - cost_of(p, &plan->items[i]) + 1]++;
    for (int i = 0; i < NUM_COSTS; i++)
        next[i + 1] += next[i];
    for (int i = 0; i < plan->num_items; i++)
        plan->order[next[NUM_COSTS - 1 - cost_of(p, &plan->items[i])]++] = i;
}

/* (query, position) pairs of queries [first, first + count) of a sequence. */
static uint64_t num_pairs(const struct planner *p, const struct nano_batch_seq *seq, int first,
                          int count)
{
    const uint64_t window = (uint64_t)p->plan->window,
                   begin = (uint64_t)(seq->first_position + first), end = begin + (uint64_t)count;
    if (p->sizes->bidirectional)
        return (uint64_t)count * (uint64_t)(seq->first_position + seq->num_tokens);
    /* Those before the window is full see one position more each. */
    const uint64_t full = !window || end < window ? end : begin > window ? begin : window;
    return (full * (full + 1) - begin * (begin + 1)) / 2 + (end - full) * window;
}

static void make_plan(const struct planner *p)
{
    struct nano_cpu_attention_plan *plan = p->plan;
    const struct nano_batch *batch = p->batch;
    plan->num_chunks = plan->num_items = plan->num_units = 0;
    plan->num_pairs = 0;
    for (int s = 0; s < batch->num_seqs; s++)
        plan->num_pairs += num_pairs(p, &batch->seqs[s], 0, batch->seqs[s].num_tokens);
    const int num_threads = p->r->config.num_threads;
    const uint64_t largest =
        plan->num_pairs * (uint64_t)p->sizes->min_kv_heads / (uint64_t)(LARGEST_ITEM * num_threads);
    for (int s = 0, count; s < batch->num_seqs; s += count) {
        const struct nano_batch_seq *seq = &batch->seqs[s];
        struct shared_ranges shared;
        count = 1;
        if (seq->num_tokens == 1 && !p->sizes->bidirectional)
            count = find_group(p, seq, batch->num_seqs - s, &shared);
        if (count > 1) {
            add_group(p, s, count, &shared);
            continue;
        }
        for (int first = 0; first < seq->num_tokens; first += p->sizes->max_queries) {
            const int queries = smaller(seq->num_tokens - first, p->sizes->max_queries);
            add_chunk(p, s, first, queries,
                      num_threads > 1 && num_pairs(p, seq, first, queries) > largest);
        }
    }
    sort_items(p);
}

void nano_cpu_attention_prepare(struct nano_cpu_runner *r, const struct nano_batch *batch)
{
    for (int g = 0; g < r->program->num_kv_groups; g++)
        make_plan(&(struct planner){.r = r,
                                    .sizes = &r->attention,
                                    .plan = &r->attention.plans[g],
                                    .batch = batch,
                                    .group = g});
}
