/* What a sequence holds: blocks in its tables, one per KV group, and a slot for its recurrent
 * state.
 *
 * Groups that see everything get the blocks of the whole prompt when it is admitted. Those with a
 * window get theirs chunk by chunk, and give back what no token to come sees; its content can be
 * found until somebody else gets the block. */
#ifndef NANO_ENGINE_SCHEDULER_BLOCKS_H
#define NANO_ENGINE_SCHEDULER_BLOCKS_H

#include "engine/scheduler.h"

/* What of a sequence is in the pool: a prefix of whole blocks. */
struct nano_prefix {
    int num_entries; /* with which it can begin; table entries are filled, references not taken */
    uint64_t hash;   /* of those; the salt when there are none */
    int num_known;   /* of which all groups have what the next token sees; more where only the
                        recurrent state is missing */
    uint64_t known_hash;
};

/* The last token is never part of it: its logits are needed. */
void nano_scheduler_find_prefix(const struct nano_scheduler *scheduler,
                                const struct nano_sequence *sequence, struct nano_prefix *out);

/* True if there are blocks for all that the sequence holds at most until its tokens are computed,
 * and one per group more for each sequence that runs, so that it is not preempted at once. */
bool nano_scheduler_has_room(const struct nano_scheduler *scheduler,
                             const struct nano_sequence *sequence,
                             const struct nano_prefix *prefix);

/* Takes references to the prefix and, in groups without a window, blocks for all tokens. */
void nano_scheduler_begin_blocks(struct nano_scheduler *scheduler, struct nano_sequence *sequence,
                                 const struct nano_prefix *prefix);

/* Free blocks that the next table entry takes. */
int nano_scheduler_entry_blocks(const struct nano_scheduler *scheduler,
                                const struct nano_sequence *sequence);

/* Takes them; they must be there. */
void nano_scheduler_add_entry(struct nano_scheduler *scheduler, struct nano_sequence *sequence);

/* Gives the last entry's blocks back, which hold nothing that is computed. */
void nano_scheduler_drop_entry(struct nano_scheduler *scheduler, struct nano_sequence *sequence);

/* Gives back what lies behind the windows of the next token. */
void nano_scheduler_leave_blocks(struct nano_scheduler *scheduler, struct nano_sequence *sequence);

/* Gives everything back, the state's slot included; the next prefill begins at token 0. */
void nano_scheduler_release(struct nano_scheduler *scheduler, struct nano_sequence *sequence);

/* ---- recurrent states ---- */

/* True if a running sequence is about to come to the state that could be begun with. */
bool nano_scheduler_awaits_state(const struct nano_scheduler *scheduler,
                                 const struct nano_prefix *prefix);

/* A slot for its state, as it is behind the prefix it begins with. */
void nano_scheduler_begin_state(struct nano_scheduler *scheduler, struct nano_sequence *sequence,
                                const struct nano_prefix *prefix);

/* The part of a prefill's next num_tokens tokens after which a state is worth keeping. */
int nano_scheduler_cut_chunk(const struct nano_scheduler *scheduler,
                             const struct nano_sequence *sequence, int num_tokens);

/* After a step: keeps the state of a sequence that has arrived at the end of a block. */
void nano_scheduler_keep_state(struct nano_scheduler *scheduler, struct nano_sequence *sequence);

#endif
