/* State slots: who has which slot of the runner's recurrent states.
 *
 *   live   of a running sequence; the runner changes it in every step
 *   kept   a copy, as it was at the end of a block, for sequences that begin with the same tokens;
 *          the one that was not used for longest makes room for others
 *   free
 *
 * It belongs to one thread and allocates only in _init. */
#ifndef NANO_ENGINE_STATE_SLOTS_H
#define NANO_ENGINE_STATE_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct nano_state_slot {
    int32_t block;      /* at whose end a kept one stands; -1: live or free */
    int32_t prev, next; /* kept: oldest first; free: next only */
};

struct nano_state_slots {
    int num_slots, num_free, num_kept;
    struct nano_state_slot *slots;
    int32_t first_free, oldest, newest; /* -1: none */
};

size_t nano_state_slots_bytes(int num_slots);
enum nano_status nano_state_slots_init(struct nano_state_slots *slots, int num_slots,
                                       struct nano_error *err);
void nano_state_slots_deinit(struct nano_state_slots *slots);

/* A slot that becomes live: a free one, else the oldest kept one, whose block is then
 * *evicted_block (else -1). -1: all are live. */
int32_t nano_state_slots_take(struct nano_state_slots *slots, int32_t *evicted_block);

/* A live or kept slot becomes free. */
void nano_state_slots_release(struct nano_state_slots *slots, int32_t slot);

/* A live slot becomes the newest kept one. */
void nano_state_slots_keep(struct nano_state_slots *slots, int32_t slot, int32_t block);

/* A kept slot becomes the newest. */
void nano_state_slots_touch(struct nano_state_slots *slots, int32_t slot);

/* True if lists and counts agree (tests). */
bool nano_state_slots_check(const struct nano_state_slots *slots);

#endif
