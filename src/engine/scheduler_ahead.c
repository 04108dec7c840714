/* Running ahead: the next step's batch is filled while one computes.
 *
 *   step    a b c d     one token each, chosen by the runner; d's is its last
 *           │ │ │
 *   ahead   a b c       the tokens of step, which need not be known to be computed with
 *
 * Sequences of `ahead` may end when step's tokens are known: at a stop token or string, or because
 * they were cancelled. Their rows compute all the same, and what comes of them is dropped. Such a
 * dead row writes K and V to one position that no published block covers, for a block is published
 * only when the tokens in it are known to be the sequence's. The block itself is free as soon as
 * the sequence has ended: whoever gets it next is in a batch that begins after this one, and reads
 * only what itself has written, or what was published. */
#include <assert.h>

#include "engine/sampler.h"
#include "engine/scheduler_blocks.h"

bool nano_scheduler_may_run_ahead(const struct nano_scheduler *s)
{
    const struct nano_scheduled_step *step = &s->step;
    if (step->is_ahead)
        return true;
    if (step->num_prefill_tokens > 0 || step->num_speculated_tokens > 0 ||
        step->batch.num_seqs < s->num_running)
        return false;
    for (int i = 0; i < step->batch.num_outputs; i++)
        if (!step->outputs[i].greedy && !step->outputs[i].draws)
            return false;
    return true;
}

/* As the next step would. */
static bool may_admit(const struct nano_scheduler *s)
{
    struct nano_prefix prefix;
    if (s->num_running >= s->config.max_num_seqs)
        return false;
    nano_scheduler_find_prefix(s, s->waiting.first, &prefix);
    return nano_scheduler_has_room(s, s->waiting.first, &prefix);
}

/* Whether its token of the step is its last in any case. */
static bool is_last(const struct nano_sequence *seq)
{
    return seq->num_tokens + 1 >= seq->max_length;
}

/* Of the token behind that of the step, which is at position num_tokens. */
static bool needs_entry(const struct nano_scheduler *s, const struct nano_sequence *seq)
{
    return seq->num_tokens + 1 > seq->num_blocks * s->config.kv.block_size;
}

static void add_row(struct nano_scheduler *s, struct nano_sequence *seq, int step_output)
{
    struct nano_scheduled_step *ahead = &s->ahead;
    const int i = ahead->batch.num_seqs++;
    struct nano_batch_output *output = &ahead->outputs[i];
    if (needs_entry(s, seq))
        nano_scheduler_add_entry(s, seq);
    ahead->tokens[i] = -1 - step_output;
    ahead->seqs[i] = s->step.seqs[step_output];
    ahead->seqs[i].first_token = i;
    ahead->seqs[i].first_position = seq->num_tokens;
    ahead->scheduled[i] = seq;
    output->row = i;
    output->greedy = seq->greedy;
    output->draws = !seq->greedy;
    output->hidden = false;
    if (output->draws)
        output->draw = nano_sampling_draw(&seq->request->params, seq->index,
                                          seq->num_tokens + 1 - seq->num_prompt_tokens);
    ahead->targets[i] = (struct nano_scheduled_output){.sequence = seq};
}

bool nano_scheduler_run_ahead(struct nano_scheduler *s)
{
    struct nano_scheduled_step *ahead = &s->ahead;
    const int num_seqs = s->step.batch.num_seqs;
    int num_going_on = 0, num_ending = 0, num_blocks = 0;
    assert(ahead->batch.num_seqs == 0);
    for (int i = 0; i < num_seqs; i++) {
        struct nano_sequence *seq = s->step.scheduled[i];
        if (!seq)
            continue;
        if (is_last(seq)) {
            num_ending++;
            continue;
        }
        num_going_on++;
        if (!needs_entry(s, seq))
            continue;
        if (s->config.kv.num_windowed > 0)
            nano_scheduler_leave_blocks(s, seq); /* of what the step itself no longer sees */
        num_blocks += nano_scheduler_entry_blocks(s, seq);
    }
    if (num_going_on == 0 || num_blocks > s->blocks.num_free)
        return false;
    if (s->waiting.first && (num_ending > 0 || may_admit(s)))
        return false;
    for (int i = 0; i < num_seqs; i++) {
        struct nano_sequence *seq = s->step.scheduled[i];
        if (seq && !is_last(seq))
            add_row(s, seq, i);
    }
    ahead->batch.num_tokens = ahead->batch.num_outputs = ahead->batch.num_seqs;
    ahead->num_decode_tokens = ahead->num_live = ahead->batch.num_seqs;
    ahead->num_prefill_tokens = ahead->num_speculated_tokens = ahead->num_preempted = 0;
    ahead->is_ahead = true;
    return true;
}

void nano_scheduler_advance(struct nano_scheduler *s)
{
    const struct nano_scheduled_step step = s->step;
    s->step = s->ahead;
    s->ahead = step;
    nano_scheduler_drop_ahead(s);
}

void nano_scheduler_drop_ahead(struct nano_scheduler *s)
{
    s->ahead.batch.num_tokens = s->ahead.batch.num_seqs = s->ahead.batch.num_outputs = 0;
    s->ahead.num_live = 0;
}
