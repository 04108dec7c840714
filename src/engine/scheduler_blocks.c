/* Blocks of a sequence. */
#include "engine/scheduler_blocks.h"

#include <assert.h>

static inline int32_t *table_of(const struct nano_sequence *seq, int group)
{
    return seq->block_table + (ptrdiff_t)group * seq->table_stride;
}

void nano_scheduler_find_prefix(const struct nano_scheduler *s, const struct nano_sequence *seq,
                                struct nano_prefix *out)
{
    const struct nano_kv_shape *kv = &s->config.kv;
    uint64_t hash = seq->request->salt;
    *out = (struct nano_prefix){.hash = hash, .known_hash = hash};
    const bool needs_first_rows =
        seq->wants_prompt_logprobs || (seq->embedding && seq->pooling != NANO_POOLING_LAST);
    if (!seq->shares_blocks || needs_first_rows)
        return;
    int num_found[NANO_MAX_KV_GROUPS] = {0}; /* up to here without a gap */
    const int limit = (seq->num_tokens - 1) / kv->block_size;
    for (int i = 0; i < limit; i++) {
        const int32_t *tokens = seq->tokens + (size_t)i * (size_t)kv->block_size;
        const uint64_t parent_hash = hash;
        bool enough = true;
        hash = nano_block_hash(parent_hash, tokens, kv->block_size);
        for (int g = 0; g < kv->num_groups; g++) {
            int32_t block = nano_block_find(&s->blocks, g, hash, parent_hash, tokens);
            if (block < 0 && kv->windows[g] == 0)
                return;
            table_of(seq, g)[i] = block;
            num_found[g] = block < 0 ? 0 : num_found[g] + 1;
            enough &= num_found[g] > i - nano_kv_first_entry(kv, g, (i + 1) * kv->block_size);
        }
        if (!enough)
            continue;
        out->num_known = i + 1;
        out->known_hash = hash;
        const int32_t block = seq->block_table[i];
        if (kv->num_states > 0 && (block < 0 || s->blocks.blocks[block].state < 0))
            continue;
        out->num_entries = i + 1;
        out->hash = hash;
    }
}

bool nano_scheduler_has_room(const struct nano_scheduler *s, const struct nano_sequence *seq,
                             const struct nano_prefix *prefix)
{
    const struct nano_kv_shape *kv = &s->config.kv;
    const int num_entries = nano_kv_entries(kv, seq->num_tokens);
    int64_t needed = (int64_t)s->num_running * kv->num_groups, num_free = s->blocks.num_free;
    for (int g = 0; g < kv->num_groups; g++) {
        const int first = nano_kv_first_entry(kv, g, prefix->num_entries * kv->block_size);
        for (int i = first; i < prefix->num_entries; i++)
            num_free -= s->blocks.blocks[table_of(seq, g)[i]].ref_count == 0;
        needed += nano_kv_most_held(kv, g, num_entries - first) - (prefix->num_entries - first);
    }
    return needed <= num_free;
}

void nano_scheduler_begin_blocks(struct nano_scheduler *s, struct nano_sequence *seq,
                                 const struct nano_prefix *prefix)
{
    const struct nano_kv_shape *kv = &s->config.kv;
    const int num_entries = nano_kv_entries(kv, seq->num_tokens);
    seq->num_blocks = prefix->num_entries;
    for (int g = 0; g < kv->num_groups; g++) {
        int32_t *table = table_of(seq, g);
        const int first = nano_kv_first_entry(kv, g, prefix->num_entries * kv->block_size);
        for (int i = 0; i < first; i++)
            table[i] = -1;
        for (int i = first; i < prefix->num_entries; i++)
            nano_block_acquire(&s->blocks, table[i]);
    }
    /* After all of the prefix, which others must not get. */
    for (int g = 0; g < kv->num_groups; g++)
        for (int i = prefix->num_entries; kv->windows[g] == 0 && i < num_entries; i++)
            table_of(seq, g)[i] = nano_block_allocate(&s->blocks);
    seq->num_full_blocks = num_entries;
    if (kv->num_windowed == 0)
        seq->num_blocks = num_entries;
}

int nano_scheduler_entry_blocks(const struct nano_scheduler *s, const struct nano_sequence *seq)
{
    const struct nano_kv_shape *kv = &s->config.kv;
    const bool ahead = kv->num_windowed > 0 && seq->num_blocks < seq->num_full_blocks;
    return ahead ? kv->num_windowed : kv->num_groups;
}

void nano_scheduler_add_entry(struct nano_scheduler *s, struct nano_sequence *seq)
{
    const struct nano_kv_shape *kv = &s->config.kv;
    const bool ahead = kv->num_windowed > 0 && seq->num_blocks < seq->num_full_blocks;
    for (int g = 0; g < kv->num_groups; g++)
        if (!ahead || kv->windows[g] > 0)
            table_of(seq, g)[seq->num_blocks] = nano_block_allocate(&s->blocks);
    seq->num_blocks++;
    if (!ahead)
        seq->num_full_blocks = seq->num_blocks;
}

void nano_scheduler_drop_entry(struct nano_scheduler *s, struct nano_sequence *seq)
{
    assert(seq->num_blocks == seq->num_full_blocks);
    seq->num_blocks--;
    seq->num_full_blocks--;
    for (int g = 0; g < s->config.kv.num_groups; g++)
        nano_block_release(&s->blocks, table_of(seq, g)[seq->num_blocks]);
}

void nano_scheduler_leave_blocks(struct nano_scheduler *s, struct nano_sequence *seq)
{
    const struct nano_kv_shape *kv = &s->config.kv;
    for (int g = 0; g < kv->num_groups; g++) {
        int32_t *table = table_of(seq, g);
        const int end = nano_kv_first_entry(kv, g, seq->num_computed_tokens);
        int begin = end;
        while (begin > 0 && table[begin - 1] >= 0)
            begin--;
        for (int i = begin; i < end; i++) {
            /* Others may begin like this prompt; the middle of an answer is no beginning. */
            if (i * kv->block_size < seq->num_prompt_tokens)
                nano_block_release(&s->blocks, table[i]);
            else
                nano_block_discard(&s->blocks, table[i]);
            table[i] = -1;
        }
    }
}

void nano_scheduler_release(struct nano_scheduler *s, struct nano_sequence *seq)
{
    const struct nano_kv_shape *kv = &s->config.kv;
    int num_full = kv->num_windowed > 0 ? seq->num_full_blocks : seq->num_blocks;
    /* Backwards, so that the end of a prefix is forgotten before its beginning. */
    for (int i = num_full - 1; i >= 0; i--)
        for (int g = 0; g < kv->num_groups; g++) {
            const int32_t block = table_of(seq, g)[i];
            if ((i < seq->num_blocks || kv->windows[g] == 0) && block >= 0)
                nano_block_release(&s->blocks, block);
        }
    if (kv->num_states > 0)
        nano_state_slots_release(&s->blocks.states, seq->state_slot);
    seq->num_blocks = seq->num_published = seq->num_full_blocks = 0;
    seq->num_computed_tokens = seq->branch_tokens = 0;
    seq->rolling_entry = -1;
    seq->block_hash = seq->request->salt;
    seq->in_prefill = true;
}
