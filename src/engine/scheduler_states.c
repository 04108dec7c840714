/* Recurrent states of sequences.
 *
 *   tokens   │ block │ block │ block │ block │ blo
 *                            ▲       ▲       ▲
 *                            │       │       └ the newest end of a block: kept until the next one
 *                            │       └ the last block of the prompt: its next answer, or turn
 *                            └ where other prompts have gone another way
 *
 * A state stands for all tokens up to a position and cannot go back, so whoever shall begin in the
 * middle needs one that was kept there. Copies are made between steps. */
#include <assert.h>

#include "engine/scheduler_blocks.h"

/* Whoever waits would have to compute the same tokens again. */
bool nano_scheduler_awaits_state(const struct nano_scheduler *s, const struct nano_prefix *prefix)
{
    if (prefix->num_known == prefix->num_entries)
        return false;
    const int num_tokens = prefix->num_known * s->config.kv.block_size;
    for (int i = 0; i < s->num_running; i++) {
        const struct nano_sequence *seq = s->running[i];
        if (seq->num_computed_tokens < num_tokens && seq->branch_tokens == num_tokens &&
            seq->branch_hash == prefix->known_hash)
            return true;
    }
    for (int i = 0; i < s->step.batch.num_seqs; i++) {
        const struct nano_batch_seq *seq = &s->step.seqs[i];
        if (seq->first_position + seq->num_tokens == num_tokens &&
            s->step.scheduled[i]->shares_blocks &&
            s->step.scheduled[i]->block_hash == prefix->known_hash)
            return true;
    }
    return false;
}

void nano_scheduler_begin_state(struct nano_scheduler *s, struct nano_sequence *seq,
                                const struct nano_prefix *prefix)
{
    struct nano_block_manager *m = &s->blocks;
    int32_t kept = -1;
    if (prefix->num_entries > 0) {
        kept = m->blocks[seq->block_table[prefix->num_entries - 1]].state;
        nano_state_slots_touch(&m->states, kept);
    }
    /* If there was no other slot it is the kept one itself, which is as good. */
    seq->state_slot = nano_block_take_state(m);
    assert(seq->state_slot >= 0);
    if (kept >= 0 && kept != seq->state_slot)
        s->copy_state(s->runner_state, kept, seq->state_slot);
    if (prefix->num_known > prefix->num_entries) {
        seq->branch_tokens = prefix->num_known * s->config.kv.block_size;
        seq->branch_hash = prefix->known_hash;
    }
}

/* Tokens in the last block of the prompt that another one can begin with, and before it. */
static int last_boundary(const struct nano_scheduler *s, const struct nano_sequence *seq)
{
    return (seq->num_tokens - 1) / s->config.kv.block_size * s->config.kv.block_size;
}

int nano_scheduler_cut_chunk(const struct nano_scheduler *s, const struct nano_sequence *seq,
                             int num_tokens)
{
    if (s->config.kv.num_states == 0 || !seq->shares_blocks)
        return num_tokens;
    const int begin = seq->num_computed_tokens, boundary = last_boundary(s, seq);
    int end = begin + num_tokens;
    if (begin < seq->branch_tokens && seq->branch_tokens < end)
        end = seq->branch_tokens;
    if (begin < boundary && boundary < end)
        end = boundary;
    const int whole_blocks = end / s->config.kv.block_size * s->config.kv.block_size;
    if (end < boundary && whole_blocks > begin)
        end = whole_blocks;
    return end - begin;
}

void nano_scheduler_keep_state(struct nano_scheduler *s, struct nano_sequence *seq)
{
    struct nano_block_manager *m = &s->blocks;
    const int block_size = s->config.kv.block_size, num_tokens = seq->num_computed_tokens;
    if (!seq->shares_blocks || num_tokens % block_size != 0)
        return;
    const int entry = num_tokens / block_size - 1;
    const int32_t block = nano_block_find(m, 0, seq->block_hash, seq->parent_hash,
                                          seq->tokens + (size_t)entry * (size_t)block_size);
    if (block < 0)
        return;
    if (seq->rolling_entry >= 0 && seq->block_table[seq->rolling_entry] >= 0)
        nano_block_drop_state(m, seq->block_table[seq->rolling_entry]);
    seq->rolling_entry = -1;
    if (m->blocks[block].state >= 0) {
        nano_state_slots_touch(&m->states, m->blocks[block].state);
        return;
    }
    const int32_t slot = nano_block_keep_state(m, block);
    if (slot < 0)
        return;
    s->copy_state(s->runner_state, seq->state_slot, slot);
    const bool stays = seq->in_prefill &&
                       (num_tokens == seq->branch_tokens || num_tokens == last_boundary(s, seq));
    if (!stays && block == seq->block_table[entry])
        seq->rolling_entry = entry;
}
