/* A batch as steps of the graph: sequences that decode run together, prompts one by one. */
#include <stdlib.h>

#include "base/os.h"
#include "runner/onnx/onnx_state.h"

/* Longer chunks gain nothing from running with others. */
#define MAX_GROUP_TOKENS 65

static void find_outputs(struct nano_onnx_runner *r, const struct nano_batch *batch)
{
    int o = 0;
    for (int s = 0; s < batch->num_seqs; s++) {
        r->first_output[s] = o;
        while (o < batch->num_outputs &&
               batch->outputs[o].row < batch->seqs[s].first_token + batch->seqs[s].num_tokens)
            o++;
    }
    r->first_output[batch->num_seqs] = o;
}

/* ---- who comes after whom ---- */

/* A sequence may begin with blocks that another one of the batch, before it, computes. Returns the
 * highest level. */
static int find_levels(struct nano_onnx_runner *r, const struct nano_batch *batch)
{
    const int block_size = r->kv.block_size;
    int highest = 0;
    for (int s = 0; s < batch->num_seqs; s++) {
        const struct nano_batch_seq *seq = &batch->seqs[s];
        const int begin = seq->first_position, end = begin + seq->num_tokens;
        r->level[s] = 0;
        for (int e = 0; e * block_size < begin; e++) {
            const int32_t writer = r->writer[seq->block_table[e]];
            if (writer >= 0 && r->level[writer] >= r->level[s])
                r->level[s] = r->level[writer] + 1;
        }
        for (int e = begin / block_size; e * block_size < end; e++)
            r->writer[seq->block_table[e]] = s;
        highest = r->level[s] > highest ? r->level[s] : highest;
    }
    for (int s = 0; s < batch->num_seqs; s++) {
        const struct nano_batch_seq *seq = &batch->seqs[s];
        for (int e = seq->first_position / block_size;
             e * block_size < seq->first_position + seq->num_tokens; e++)
            r->writer[seq->block_table[e]] = -1;
    }
    return highest;
}

/* ---- one sequence ---- */

/* How many of the tokens from `done` on the graph computes at once. */
static int piece_size(const struct nano_onnx_runner *r, const struct nano_batch *batch, int s,
                      int done)
{
    const struct nano_batch_seq *seq = &batch->seqs[s];
    const bool several = seq->first_position + done > 0 ? r->traits.chunks : r->traits.prompts;
    int count = several ? seq->num_tokens - done : 1;
    /* Where only the last token has logits, a piece ends where some are wanted. */
    for (int o = r->first_output[s]; r->decoder.last_logits_only && o < r->first_output[s + 1];
         o++) {
        const int end = batch->outputs[o].row - seq->first_token + 1 - done;
        if (end > 0 && end < count)
            count = end;
    }
    return count;
}

static enum nano_status run_alone(struct nano_onnx_runner *r, struct nano_batch *batch, int s,
                                  struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    const struct nano_batch_seq *seq = &batch->seqs[s];
    for (int done = 0, count; done < seq->num_tokens; done += count) {
        struct nano_onnx_region past, present;
        count = piece_size(r, batch, s, done);
        const uint64_t start_ns = nano_os_clock_ns();
        nano_onnx_kv_gather(&r->kv, seq, seq->first_position + done, count, &past);
        nano_onnx_count(r, NANO_ONNX_PHASE_GATHER, start_ns);
        present = nano_onnx_kv_present(&r->kv, &past, count);
        const struct nano_onnx_step step = {batch, &seq, &s, 1, done, count};
        NANO_TRY(nano_onnx_run_step(r, &step, &past, &present, err));
    }
fail:
    return status;
}

/* ---- sequences that run together ---- */

static bool can_group(const struct nano_onnx_runner *r, int num_tokens)
{
    return num_tokens == 1 || (num_tokens <= MAX_GROUP_TOKENS && r->traits.prompts &&
                               r->traits.chunks && !r->kv.in_place && !r->decoder.last_logits_only);
}

/* The number of tokens of those that run together: one, as long as any has one. */
static int group_tokens(const struct nano_onnx_runner *r, const struct nano_batch *batch)
{
    int num_tokens = 0;
    for (int s = 0; s < batch->num_seqs; s++) {
        const int count = batch->seqs[s].num_tokens;
        if (r->level[s] == 0 && can_group(r, count) && (num_tokens == 0 || count == 1))
            num_tokens = count;
    }
    return num_tokens;
}

static int by_row(const void *a, const void *b)
{
    const struct nano_onnx_member *x = a, *y = b;
    const unsigned row_x = (unsigned)x->row, row_y = (unsigned)y->row; /* -1 comes last */
    return row_x != row_y ? (row_x > row_y) - (row_x < row_y)
                          : (x->index > y->index) - (x->index < y->index);
}

static int by_length(const void *a, const void *b)
{
    const struct nano_onnx_member *x = a, *y = b;
    return x->length != y->length ? (x->length < y->length) - (x->length > y->length)
                                  : (x->index > y->index) - (x->index < y->index);
}

/* How many of the members, the longest first, run together. */
static int group_size(const struct nano_onnx_runner *r, const struct nano_onnx_member *members,
                      int count, int num_tokens)
{
    int longest = 0;
    for (int i = 0; i < count; i++)
        longest = members[i].length > longest ? members[i].length : longest;
    int64_t most = r->kv.lane_columns / ((int64_t)longest + num_tokens);
    if (most > r->max_rows / num_tokens)
        most = r->max_rows / num_tokens;
    if (!r->traits.batches)
        most = 1;
    return most < count ? (int)most : count;
}

static enum nano_status run_together(struct nano_onnx_runner *r, struct nano_batch *batch,
                                     const struct nano_onnx_member *members, int count,
                                     int num_tokens, struct nano_error *err)
{
    for (int i = 0; i < count; i++) {
        r->seqs[i] = &batch->seqs[members[i].index];
        r->indices[i] = members[i].index;
        r->found[i] = members[i].row;
    }
    const uint64_t start_ns = nano_os_clock_ns();
    nano_onnx_kv_keep(&r->kv, r->seqs, r->found, count, num_tokens);
    nano_onnx_count(r, NANO_ONNX_PHASE_GATHER, start_ns);
    const struct nano_onnx_region past = r->kv.kept,
                                  present = nano_onnx_kv_present(&r->kv, &past, num_tokens);
    const struct nano_onnx_step step = {batch, r->seqs, r->indices, count, 0, num_tokens};
    const enum nano_status status = nano_onnx_run_step(r, &step, &past, &present, err);
    if (status == NANO_OK)
        nano_onnx_kv_advance(&r->kv, &present, r->seqs, num_tokens);
    else
        nano_onnx_kv_drop(&r->kv);
    return status;
}

/* Those whose past is kept come as they are kept. If there is no room for all side by side, those
 * of similar length go together, and what is kept is of use to the last ones only. */
static enum nano_status run_members(struct nano_onnx_runner *r, struct nano_batch *batch, int count,
                                    int num_tokens, struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    struct nano_onnx_member *members = r->members;
    if (group_size(r, members, count, num_tokens) < count)
        qsort(members, (size_t)count, sizeof *members, by_length);
    else
        qsort(members, (size_t)count, sizeof *members, by_row);
    for (int size; count > 0; members += size, count -= size) {
        size = group_size(r, members, count, num_tokens);
        for (int i = 0; i < size; i++)
            members[i].row = nano_onnx_kv_find_row(&r->kv, &batch->seqs[members[i].index]);
        NANO_TRY(run_together(r, batch, members, size, num_tokens, err));
    }
fail:
    return status;
}

static enum nano_status run_with_past(struct nano_onnx_runner *r, struct nano_batch *batch,
                                      struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    const int highest = find_levels(r, batch), num_tokens = group_tokens(r, batch);
    int count = 0;
    for (int s = 0; s < batch->num_seqs; s++) {
        const struct nano_batch_seq *seq = &batch->seqs[s];
        if (r->level[s] > 0)
            continue;
        if (seq->num_tokens == num_tokens)
            r->members[count++] = (struct nano_onnx_member){s, seq->first_position,
                                                            nano_onnx_kv_find_row(&r->kv, seq)};
        else
            NANO_TRY(run_alone(r, batch, s, err));
    }
    if (count > 0)
        NANO_TRY(run_members(r, batch, count, num_tokens, err));
    for (int level = 1; level <= highest; level++)
        for (int s = 0; s < batch->num_seqs; s++)
            if (r->level[s] == level)
                NANO_TRY(run_alone(r, batch, s, err));
fail:
    return status;
}

/* ---- without a past ---- */

static void remember_tokens(struct nano_onnx_runner *r, const struct nano_batch *batch)
{
    const int block_size = r->kv.block_size;
    for (int s = 0; s < batch->num_seqs; s++) {
        const struct nano_batch_seq *seq = &batch->seqs[s];
        for (int t = 0; t < seq->num_tokens; t++) {
            const int position = seq->first_position + t;
            r->kv.tokens[(int64_t)seq->block_table[position / block_size] * block_size +
                         position % block_size] = batch->tokens[seq->first_token + t];
        }
    }
}

/* Every wanted row in a run of its own, in which it is the last. */
static enum nano_status run_outputs(struct nano_onnx_runner *r, struct nano_batch *batch, int s,
                                    struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    const struct nano_batch_seq *seq = &batch->seqs[s];
    const int begin = r->first_output[s], end = r->first_output[s + 1];
    for (int o = begin; o < end; o++) {
        const struct nano_onnx_step step = {
            batch, &seq, &s, 1, 0, batch->outputs[o].row - seq->first_token + 1};
        r->first_output[s] = o;
        r->first_output[s + 1] = o + 1;
        status = nano_onnx_run_step(r, &step, NULL, NULL, err);
        r->first_output[s] = begin;
        r->first_output[s + 1] = end;
        if (status != NANO_OK)
            break;
    }
    return status;
}

/* Padding stands behind the shorter ones. */
static enum nano_status run_without_past(struct nano_onnx_runner *r, struct nano_batch *batch,
                                         struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    int count = 0;
    remember_tokens(r, batch);
    for (int s = 0; s < batch->num_seqs; s++) {
        const struct nano_batch_seq *seq = &batch->seqs[s];
        if (r->decoder.last_logits_only)
            NANO_TRY(run_outputs(r, batch, s, err));
        else if (r->first_output[s] < r->first_output[s + 1])
            r->members[count++] =
                (struct nano_onnx_member){s, seq->first_position + seq->num_tokens, -1};
    }
    qsort(r->members, (size_t)count, sizeof *r->members, by_length);
    for (int first = 0, size; first < count; first += size) {
        const struct nano_onnx_member *members = r->members + first;
        int64_t most = r->traits.batches ? r->max_rows / members->length : 1;
        size = most < count - first ? (int)most : count - first;
        for (int i = 0; i < size; i++) {
            r->seqs[i] = &batch->seqs[members[i].index];
            r->indices[i] = members[i].index;
        }
        const struct nano_onnx_step step = {batch, r->seqs, r->indices, size, 0, 0};
        NANO_TRY(nano_onnx_run_step(r, &step, NULL, NULL, err));
    }
fail:
    return status;
}

enum nano_status nano_onnx_run_batch(struct nano_onnx_runner *r, struct nano_batch *batch,
                                     struct nano_error *err)
{
    find_outputs(r, batch);
    return r->decoder.num_kv > 0 ? run_with_past(r, batch, err) : run_without_past(r, batch, err);
}
