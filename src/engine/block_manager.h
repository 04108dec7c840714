/* Block manager: hands out the ids of KV blocks and of recurrent states; it never touches their
 * bytes.
 *
 *   block_table of a sequence:  [ 7 | 3 | 9 | 12 ]      a block holds block_size tokens
 *                                 └───┴── full blocks: their content has a hash, chained to all
 *                                         tokens before it, so equal hashes mean equal prefixes
 *
 *   ref_count > 0   in use by that many sequences
 *   ref_count == 0  in the free list, least recently used first; one whose content is known can be
 *                   found and taken back until the list's order makes it somebody else's
 *
 * Blocks of all KV groups are of one pool. Equal tokens of different groups are different content.
 *
 * A recurrent state that stands at the end of a block can be kept: it belongs to the block's
 * content and goes with it, or earlier, when its slot is needed.
 *
 * Invariants (nano_block_manager_check): a block is in the free list if and only if its ref_count
 * is 0; a block is in the hash table if and only if it is `cached`, under its own hash; a kept slot
 * and its block name each other, and that block is cached.
 *
 * It belongs to one thread and allocates only in _init. */
#ifndef NANO_ENGINE_BLOCK_MANAGER_H
#define NANO_ENGINE_BLOCK_MANAGER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/state_slots.h"

struct nano_block {
    int32_t ref_count;
    int32_t prev, next;   /* free list; -1 at the ends */
    int32_t bucket_next;  /* next block of the same hash bucket; -1 at the end */
    uint64_t hash;        /* of the tokens of this block and all before it */
    uint64_t parent_hash; /* of the tokens before it */
    int32_t state;        /* slot of the recurrent state at the block's end; -1: none is kept */
    uint8_t group;        /* of cached ones: KV group of the content */
    bool cached;          /* in the hash table */
};

struct nano_block_manager {
    int num_blocks, block_size;
    struct nano_block *blocks;
    int32_t *tokens;  /* [num_blocks, block_size] of cached blocks: compared on a hit */
    int32_t *buckets; /* heads of the hash chains */
    uint32_t bucket_mask;
    int32_t free_head, free_tail;
    int num_free;
    int num_free_cached; /* free ones whose content can still be found */
    int num_shared;      /* ref_count > 1 */
    int max_used;
    struct nano_state_slots states;
};

/* Bytes that _init allocates. */
size_t nano_block_manager_bytes(int num_blocks, int block_size, int num_states);

enum nano_status nano_block_manager_init(struct nano_block_manager *manager, int num_blocks,
                                         int block_size, int num_states, struct nano_error *err);
void nano_block_manager_deinit(struct nano_block_manager *manager);

/* The hash of a full block: block_size tokens, chained to the hash of what stands before them (a
 * salt for the first block). XXH3, 64 bits. */
uint64_t nano_block_hash(uint64_t parent_hash, const int32_t *tokens, int block_size);

/* The block with this content, or -1. Its reference count is not changed. */
int32_t nano_block_find(const struct nano_block_manager *manager, int group, uint64_t hash,
                        uint64_t parent_hash, const int32_t *tokens);

/* A block with unspecified content and one reference: the least recently used free one, which is
 * forgotten. -1 when none is free. */
int32_t nano_block_allocate(struct nano_block_manager *manager);

/* Adds a reference, also to a free block that nano_block_find gave. */
void nano_block_acquire(struct nano_block_manager *manager, int32_t block);

/* Drops a reference. */
void nano_block_release(struct nano_block_manager *manager, int32_t block);

/* The same of a block whose content hardly anybody will look for: it is the next to be taken. */
void nano_block_discard(struct nano_block_manager *manager, int32_t block);

/* Makes a referenced block findable by its content. If another block has that content already, that
 * one stays the findable one. */
void nano_block_publish(struct nano_block_manager *manager, int32_t block, int group, uint64_t hash,
                        uint64_t parent_hash, const int32_t *tokens);

/* Forgets the content of every block, kept states included; references stay. */
void nano_block_manager_forget(struct nano_block_manager *manager);

/* A slot for a sequence's live state, if need be that of the kept state that was not used for
 * longest; -1 when all are live. nano_state_slots_release gives it back. */
int32_t nano_block_take_state(struct nano_block_manager *manager);

/* A slot for a copy of the state at the end of a cached block that has none yet; -1 when all slots
 * are live. The caller copies. */
int32_t nano_block_keep_state(struct nano_block_manager *manager, int32_t block);

/* Forgets a block's kept state, if there is one. */
void nano_block_drop_state(struct nano_block_manager *manager, int32_t block);

/* True if the invariants hold (tests and debug builds; linear in num_blocks). */
bool nano_block_manager_check(const struct nano_block_manager *manager);

#endif
