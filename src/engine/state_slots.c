/* State slots: a free list and a list of kept ones in the order of their last use. */
#include "engine/state_slots.h"

#include <assert.h>

#include "base/memory.h"

size_t nano_state_slots_bytes(int num_slots)
{
    return (size_t)num_slots * sizeof(struct nano_state_slot);
}

enum nano_status nano_state_slots_init(struct nano_state_slots *s, int num_slots,
                                       struct nano_error *err)
{
    *s = (struct nano_state_slots){.first_free = -1, .oldest = -1, .newest = -1};
    if (num_slots == 0)
        return NANO_OK;
    s->slots = nano_mem_alloc((size_t)num_slots, sizeof *s->slots);
    if (!s->slots)
        return nano_error_no_memory(err, "the table of states", nano_state_slots_bytes(num_slots));
    s->num_slots = s->num_free = num_slots;
    for (int32_t i = num_slots - 1; i >= 0; i--) {
        s->slots[i] = (struct nano_state_slot){.block = -1, .prev = -1, .next = s->first_free};
        s->first_free = i;
    }
    return NANO_OK;
}

void nano_state_slots_deinit(struct nano_state_slots *s)
{
    nano_mem_free(s->slots);
    *s = (struct nano_state_slots){0};
}

static void unlink_kept(struct nano_state_slots *s, int32_t id)
{
    struct nano_state_slot *slot = &s->slots[id];
    if (slot->prev >= 0)
        s->slots[slot->prev].next = slot->next;
    else
        s->oldest = slot->next;
    if (slot->next >= 0)
        s->slots[slot->next].prev = slot->prev;
    else
        s->newest = slot->prev;
    s->num_kept--;
}

static void link_newest(struct nano_state_slots *s, int32_t id)
{
    struct nano_state_slot *slot = &s->slots[id];
    slot->prev = s->newest;
    slot->next = -1;
    if (s->newest >= 0)
        s->slots[s->newest].next = id;
    else
        s->oldest = id;
    s->newest = id;
    s->num_kept++;
}

int32_t nano_state_slots_take(struct nano_state_slots *s, int32_t *evicted_block)
{
    *evicted_block = -1;
    int32_t id = s->first_free;
    if (id >= 0) {
        s->first_free = s->slots[id].next;
        s->num_free--;
    } else if ((id = s->oldest) >= 0) {
        unlink_kept(s, id);
        *evicted_block = s->slots[id].block;
        s->slots[id].block = -1;
    }
    return id;
}

void nano_state_slots_release(struct nano_state_slots *s, int32_t id)
{
    struct nano_state_slot *slot = &s->slots[id];
    if (slot->block >= 0)
        unlink_kept(s, id);
    slot->block = -1;
    slot->next = s->first_free;
    s->first_free = id;
    s->num_free++;
}

void nano_state_slots_keep(struct nano_state_slots *s, int32_t id, int32_t block)
{
    assert(s->slots[id].block < 0);
    s->slots[id].block = block;
    link_newest(s, id);
}

void nano_state_slots_touch(struct nano_state_slots *s, int32_t id)
{
    unlink_kept(s, id);
    link_newest(s, id);
}

bool nano_state_slots_check(const struct nano_state_slots *s)
{
    int num_free = 0, num_kept = 0;
    for (int32_t id = s->first_free; id >= 0; id = s->slots[id].next)
        if (s->slots[id].block >= 0 || ++num_free > s->num_slots)
            return false;
    int32_t previous = -1;
    for (int32_t id = s->oldest; id >= 0; id = s->slots[id].next) {
        if (s->slots[id].block < 0 || s->slots[id].prev != previous || ++num_kept > s->num_slots)
            return false;
        previous = id;
    }
    return previous == s->newest && num_free == s->num_free && num_kept == s->num_kept;
}
