#include "runner/cuda/cuda_attention_plan.h"

#include "simd/kernels.h"

enum {
    LARGEST_ITEM = 4, /* a tile with more than this part of a block's share of the work is split */
    SHORT = 8         /* sequences of so few tokens get partial rows first: they gain most */
};

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* Some queries of a sequence, and the positions that they see. */
struct tile {
    int first_row, num_queries, first_position;
    int begin, end;
};

static int first_seen(const struct nano_cuda_attention_plan_args *args, int position)
{
    return !args->bidirectional && args->window > 0 && args->window <= position
               ? position - args->window + 1
               : 0;
}

static int end_seen(const struct nano_cuda_attention_plan_args *args,
                    const struct nano_cuda_attention_seq *seq, int position)
{
    return args->bidirectional ? seq->first_position + seq->num_tokens : position + 1;
}

/* From token `first` of the sequence on. */
static struct tile tile_at(const struct nano_cuda_attention_plan_args *args,
                           const struct nano_cuda_attention_seq *seq, int first)
{
    const int count = smaller(args->num_queries, seq->num_tokens - first),
              position = seq->first_position + first;
    return (struct tile){.first_row = seq->first_row + first,
                         .num_queries = count,
                         .first_position = position,
                         .begin = first_seen(args, position),
                         .end = end_seen(args, seq, position + count - 1)};
}

static int range_of(int position)
{
    return position / NANO_ATTENTION_SPLIT;
}

static int num_ranges(const struct tile *tile)
{
    return range_of(tile->end - 1) - range_of(tile->begin) + 1;
}

/* Positions that tiles go through, all together. */
static int64_t total_work(const struct nano_cuda_attention_plan_args *args)
{
    int64_t sum = 0;
    for (int i = 0; i < args->num_seqs; i++)
        for (int first = 0; first < args->seqs[i].num_tokens; first += args->num_queries) {
            const struct tile tile = tile_at(args, &args->seqs[i], first);
            sum += tile.end - tile.begin;
        }
    return sum;
}

static void add_item(struct nano_cuda_attention_plan *plan,
                     const struct nano_cuda_attention_seq *seq, const struct tile *tile, int begin,
                     int end, int partial)
{
    plan->items[plan->num_items++] =
        (struct nano_cuda_attention_item){.table = seq->table,
                                          .first_row = tile->first_row,
                                          .num_queries = tile->num_queries,
                                          .first_position = tile->first_position,
                                          .begin = begin,
                                          .end = end,
                                          .seq_end = seq->first_position + seq->num_tokens,
                                          .partial = partial};
}

/* An item for each range, and a merge for each row: of the ranges that the row itself sees. */
static void add_split(struct nano_cuda_attention_plan *plan,
                      const struct nano_cuda_attention_plan_args *args,
                      const struct nano_cuda_attention_seq *seq, const struct tile *tile)
{
    const int first = range_of(tile->begin), count = num_ranges(tile);
    for (int i = 0; i < count; i++) {
        const int begin = (first + i) * NANO_ATTENTION_SPLIT;
        add_item(plan, seq, tile, begin > tile->begin ? begin : tile->begin,
                 smaller(begin + NANO_ATTENTION_SPLIT, tile->end),
                 plan->num_partials + i * tile->num_queries);
    }
    for (int i = 0; i < tile->num_queries; i++) {
        const int position = tile->first_position + i;
        const int own_first = range_of(first_seen(args, position)),
                  own_last = range_of(end_seen(args, seq, position) - 1);
        plan->merges[plan->num_merges++] = (struct nano_cuda_attention_merge){
            .row = tile->first_row + i,
            .partial = plan->num_partials + (own_first - first) * tile->num_queries + i,
            .stride = tile->num_queries,
            .count = own_last - own_first + 1};
    }
    plan->num_partials += count * tile->num_queries;
}

static void add_seq(struct nano_cuda_attention_plan *plan,
                    const struct nano_cuda_attention_plan_args *args,
                    const struct nano_cuda_attention_seq *seq, int64_t work)
{
    for (int first = 0; first < seq->num_tokens; first += args->num_queries) {
        const struct tile tile = tile_at(args, seq, first);
        const int ranges = num_ranges(&tile);
        const bool is_large =
            (int64_t)(tile.end - tile.begin) * LARGEST_ITEM * args->num_blocks > work;
        const bool fits =
            (int64_t)ranges * tile.num_queries <= args->max_partials - plan->num_partials;
        if (ranges > 1 && is_large && fits)
            add_split(plan, args, seq, &tile);
        else
            add_item(plan, seq, &tile, tile.begin, tile.end, -1);
    }
}

struct nano_cuda_attention_limits nano_cuda_attention_plan_limits(int max_rows, int max_seqs,
                                                                  int num_queries, int max_partials)
{
    /* A sequence's last tile may be small. What is split into items has a partial row for each. */
    return (struct nano_cuda_attention_limits){
        .max_items = max_rows / num_queries + smaller(max_seqs, max_rows) + max_partials,
        .max_merges = smaller(max_rows, max_partials / 2)};
}

void nano_cuda_attention_plan_make(struct nano_cuda_attention_plan *plan,
                                   const struct nano_cuda_attention_plan_args *args)
{
    const int64_t work = total_work(args);
    plan->num_items = plan->num_merges = plan->num_partials = 0;
    for (int is_long = 0; is_long < 2; is_long++)
        for (int i = 0; i < args->num_seqs; i++)
            if ((args->seqs[i].num_tokens > SHORT) == is_long)
                add_seq(plan, args, &args->seqs[i], work);
}
