/* The scheduler's invariants, for tests. */
#include "engine/scheduler_blocks.h"

/* References that a sequence holds in a group; -1 when its table is wrong. */
static int count_held(const struct nano_scheduler *s, const struct nano_sequence *seq, int group)
{
    const struct nano_kv_shape *kv = &s->config.kv;
    const int32_t *table = seq->block_table + (ptrdiff_t)group * seq->table_stride;
    const bool windowed = kv->windows[group] > 0;
    const int num_entries =
        windowed || kv->num_windowed == 0 ? seq->num_blocks : seq->num_full_blocks;
    const int first_seen = nano_kv_first_entry(kv, group, seq->num_computed_tokens);
    int count = 0;
    for (int i = 0; i < num_entries; i++) {
        if (table[i] >= 0 && s->blocks.blocks[table[i]].ref_count < 1)
            return -1;
        if (table[i] < 0 && (!windowed || i >= first_seen))
            return -1;
        count += table[i] >= 0;
    }
    return count <= nano_kv_most_held(kv, group, num_entries) ? count : -1;
}

static bool check_sequence(const struct nano_scheduler *s, const struct nano_sequence *seq)
{
    const struct nano_kv_shape *kv = &s->config.kv;
    if (kv->num_states > 0 && ((uint32_t)seq->state_slot >= (uint32_t)kv->num_states ||
                               s->blocks.states.slots[seq->state_slot].block >= 0))
        return false;
    return seq->state == NANO_SEQUENCE_RUNNING && seq->num_computed_tokens <= seq->num_tokens &&
           seq->num_computed_tokens <= seq->num_blocks * kv->block_size &&
           seq->num_published * kv->block_size <= seq->num_computed_tokens;
}

/* Between two steps the next one's rows stand behind what is computed, in blocks that are there. */
static bool check_ahead(const struct nano_scheduler *s)
{
    const struct nano_scheduled_step *ahead = &s->ahead;
    int num_live = 0;
    for (int i = 0; i < ahead->batch.num_seqs; i++) {
        const struct nano_sequence *seq = ahead->scheduled[i];
        const int position = ahead->seqs[i].first_position;
        if (ahead->targets[i].sequence != seq)
            return false;
        if (!seq)
            continue;
        num_live++;
        if (seq->state != NANO_SEQUENCE_RUNNING || seq->num_computed_tokens != position ||
            seq->num_tokens != position + 1 || seq->num_tokens >= seq->max_length ||
            seq->num_blocks * s->config.kv.block_size <= position)
            return false;
    }
    return num_live == ahead->num_live && (num_live == 0 || num_live == s->num_running);
}

bool nano_scheduler_check(const struct nano_scheduler *s)
{
    if (!check_ahead(s))
        return false;
    int num_references = 0, num_held = 0;
    for (int i = 0; i < s->num_running; i++) {
        const struct nano_sequence *seq = s->running[i];
        if (!check_sequence(s, seq) || (i > 0 && !nano_sequence_before(s->running[i - 1], seq)))
            return false;
        for (int g = 0; g < s->config.kv.num_groups; g++) {
            const int count = count_held(s, seq, g);
            if (count < 0)
                return false;
            num_held += count;
        }
    }
    for (int i = 0; i < s->config.num_blocks; i++)
        num_references += s->blocks.blocks[i].ref_count;
    const struct nano_state_slots *states = &s->blocks.states;
    const int num_live = states->num_slots > 0 ? s->num_running : 0;
    return num_references == num_held && nano_block_manager_check(&s->blocks) &&
           states->num_free + states->num_kept + num_live == states->num_slots;
}
