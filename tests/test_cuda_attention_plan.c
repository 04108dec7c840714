/* Plans of attention: random batches, whose rows see every position once. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "runner/cuda/cuda_attention_plan.h"
#include "simd/kernels.h"
#include "tests/tiny_model.h"

enum { MAX_SEQS = 12, MAX_TOKENS = 70, MAX_ROWS = MAX_SEQS * MAX_TOKENS, MAX_LEN = 2500 };

static uint64_t seed = 7;

static int below(int n)
{
    return (int)(tiny_random(&seed) % (uint64_t)n);
}

struct batch {
    struct nano_cuda_attention_plan_args args;
    struct nano_cuda_attention_seq seqs[MAX_SEQS];
    struct nano_cuda_attention_plan plan;
    struct nano_cuda_attention_limits limits;
    int num_rows;
};

static void make_batch(struct batch *b)
{
    static const int windows[] = {0, 0, 1, 40, 256, 257, 1000};
    *b = (struct batch){0};
    b->args =
        (struct nano_cuda_attention_plan_args){.seqs = b->seqs,
                                               .num_seqs = 1 + below(MAX_SEQS),
                                               .window = windows[below(7)],
                                               .bidirectional = below(5) == 0,
                                               .num_queries = 1 + below(below(2) ? 8 : 64),
                                               .num_blocks = 1 + below(100),
                                               .max_partials = below(3) ? below(2000) : below(20)};
    b->num_rows = 5;
    for (int i = 0; i < b->args.num_seqs; i++) {
        const int tokens = below(2) ? 1 : below(MAX_TOKENS);
        b->seqs[i] = (struct nano_cuda_attention_seq){
            .table = 1000 * i,
            .first_row = b->num_rows,
            .num_tokens = tokens,
            .first_position = b->args.bidirectional ? 0 : below(MAX_LEN - tokens)};
        b->num_rows += tokens;
    }
    b->limits = nano_cuda_attention_plan_limits(b->num_rows, b->args.num_seqs, b->args.num_queries,
                                                b->args.max_partials);
    b->plan.items = malloc((size_t)b->limits.max_items * sizeof *b->plan.items + 1);
    b->plan.merges = malloc((size_t)b->limits.max_merges * sizeof *b->plan.merges + 1);
    nano_cuda_attention_plan_make(&b->plan, &b->args);
    cr_assert_leq(b->plan.num_items, b->limits.max_items);
    cr_assert_leq(b->plan.num_merges, b->limits.max_merges);
    cr_assert_leq(b->plan.num_partials, b->args.max_partials);
}

static void free_batch(struct batch *b)
{
    free(b->plan.items);
    free(b->plan.merges);
}

static const struct nano_cuda_attention_seq *seq_of_row(const struct batch *b, int row)
{
    for (int i = 0; i < b->args.num_seqs; i++)
        if (row >= b->seqs[i].first_row && row < b->seqs[i].first_row + b->seqs[i].num_tokens)
            return &b->seqs[i];
    return NULL;
}

static int row_begin(const struct batch *b, int position)
{
    const int window = b->args.window;
    return b->args.bidirectional || !window || position < window ? 0 : position - window + 1;
}

static int row_end(const struct batch *b, const struct nano_cuda_attention_seq *seq, int position)
{
    return b->args.bidirectional ? seq->first_position + seq->num_tokens : position + 1;
}

static void check_item(const struct batch *b, const struct nano_cuda_attention_item *item)
{
    const struct nano_cuda_attention_seq *seq = seq_of_row(b, item->first_row);
    cr_assert(seq);
    const int last = item->first_row + item->num_queries - 1;
    cr_assert(item->num_queries >= 1 && item->num_queries <= b->args.num_queries);
    cr_assert_eq(seq_of_row(b, last), seq);
    cr_assert_eq(item->table, seq->table);
    cr_assert_eq(item->first_position, seq->first_position + item->first_row - seq->first_row);
    cr_assert_eq(item->seq_end, seq->first_position + seq->num_tokens);
    cr_assert_lt(item->begin, item->end);
    cr_assert_geq(item->begin, row_begin(b, item->first_position));
    cr_assert_leq(item->end, row_end(b, seq, item->first_position + item->num_queries - 1));
    if (item->partial >= 0) {
        cr_assert_eq(item->begin / NANO_ATTENTION_SPLIT, (item->end - 1) / NANO_ATTENTION_SPLIT);
        cr_assert_leq(item->partial + item->num_queries, b->plan.num_partials);
    }
}

/* The item that writes a partial row. */
static const struct nano_cuda_attention_item *writer_of(const struct batch *b, int partial)
{
    const struct nano_cuda_attention_item *found = NULL;
    for (int i = 0; i < b->plan.num_items; i++) {
        const struct nano_cuda_attention_item *item = &b->plan.items[i];
        if (item->partial < 0 || partial < item->partial ||
            partial >= item->partial + item->num_queries)
            continue;
        cr_assert_null(found, "partial row %d is written twice", partial);
        found = item;
    }
    cr_assert(found, "partial row %d is not written", partial);
    return found;
}

/* Goes through what makes a row, in order: [begin, end) of what it sees, without a gap. */
static void check_row(const struct batch *b, int row)
{
    const struct nano_cuda_attention_seq *seq = seq_of_row(b, row);
    const int position = seq->first_position + row - seq->first_row;
    const int begin = row_begin(b, position), end = row_end(b, seq, position);
    int times = 0;
    for (int i = 0; i < b->plan.num_items; i++) {
        const struct nano_cuda_attention_item *item = &b->plan.items[i];
        if (item->partial >= 0 || row < item->first_row ||
            row >= item->first_row + item->num_queries)
            continue;
        cr_assert(item->begin <= begin && item->end >= end);
        times++;
    }
    for (int i = 0; i < b->plan.num_merges; i++) {
        const struct nano_cuda_attention_merge *merge = &b->plan.merges[i];
        if (merge->row != row)
            continue;
        int next = begin;
        for (int k = 0; k < merge->count; k++) {
            const int partial = merge->partial + k * merge->stride;
            const struct nano_cuda_attention_item *item = writer_of(b, partial);
            cr_assert_eq(item->first_row + partial - item->partial, row);
            cr_assert(item->begin <= next && item->end > next, "a gap before %d", next);
            cr_assert(k == 0 || item->begin == next);
            next = item->end;
        }
        cr_assert_geq(next, end);
        times++;
    }
    cr_assert_eq(times, 1, "row %d is written %d times", row, times);
}

Test(cuda_attention_plan, every_row_sees_every_position_once)
{
    for (int i = 0; i < 400; i++) {
        struct batch b;
        make_batch(&b);
        for (int k = 0; k < b.plan.num_items; k++)
            check_item(&b, &b.plan.items[k]);
        for (int row = 0; row < b.num_rows; row++)
            if (seq_of_row(&b, row))
                check_row(&b, row);
        free_batch(&b);
    }
}

static struct nano_cuda_attention_plan plan_one(int num_tokens, int first_position, int num_blocks,
                                                int max_partials,
                                                struct nano_cuda_attention_item *items,
                                                struct nano_cuda_attention_merge *merges)
{
    const struct nano_cuda_attention_seq seq = {.num_tokens = num_tokens,
                                                .first_position = first_position};
    struct nano_cuda_attention_plan plan = {.items = items, .merges = merges};
    nano_cuda_attention_plan_make(
        &plan, &(struct nano_cuda_attention_plan_args){.seqs = &seq,
                                                       .num_seqs = 1,
                                                       .num_queries = 8,
                                                       .num_blocks = num_blocks,
                                                       .max_partials = max_partials});
    return plan;
}

Test(cuda_attention_plan, work_is_split_where_there_is_too_little_of_it)
{
    struct nano_cuda_attention_item items[600];
    struct nano_cuda_attention_merge merges[600];
    struct nano_cuda_attention_plan plan = plan_one(1, 1023, 30, 100, items, merges);
    cr_expect_eq(plan.num_items, 4);
    cr_expect_eq(plan.num_merges, 1);
    cr_expect_eq(plan.num_partials, 4);
    plan = plan_one(1, 1023, 30, 3, items, merges);
    cr_expect_eq(plan.num_items, 1);
    cr_expect_eq(plan.num_merges, 0);
    plan = plan_one(1, 255, 30, 100, items, merges);
    cr_expect_eq(plan.num_items, 1);
    plan = plan_one(4096, 0, 30, 1 << 20, items, merges); /* 512 tiles are enough for 30 blocks */
    cr_expect_eq(plan.num_items, 512);
    cr_expect_eq(plan.num_merges, 0);
}
