/* Block manager: hands out the ids of KV blocks; it never touches KV bytes.
 *
 *   block_table of a sequence:  [ 7 | 3 | 9 | 12 ]      a block holds block_size tokens
 *                                 └───┴── full blocks: their content has a hash, chained to all
 *                                         tokens before it, so equal hashes mean equal prefixes
 *
 *   ref_count > 0   in use by that many sequences
 *   ref_count == 0  in the free list, least recently used first; one whose content is known can be
 *                   found and taken back until the list's order makes it somebody else's
 *
 * Invariants (nano_block_manager_check): a block is in the free list if and only if its ref_count
 * is 0; a block is in the hash table if and only if it is `cached`, under its own hash.
 *
 * It belongs to one thread and allocates only in _init. */
#ifndef NANO_ENGINE_BLOCK_MANAGER_H
#define NANO_ENGINE_BLOCK_MANAGER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct nano_block {
    int32_t ref_count;
    int32_t prev, next;   /* free list; -1 at the ends */
    int32_t bucket_next;  /* next block of the same hash bucket; -1 at the end */
    uint64_t hash;        /* of the tokens of this block and all before it */
    uint64_t parent_hash; /* of the tokens before it */
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
};

/* Bytes that _init allocates. */
size_t nano_block_manager_bytes(int num_blocks, int block_size);

enum nano_status nano_block_manager_init(struct nano_block_manager *manager, int num_blocks,
                                         int block_size, struct nano_error *err);
void nano_block_manager_deinit(struct nano_block_manager *manager);

/* The hash of a full block: block_size tokens, chained to the hash of what stands before them (a
 * salt for the first block). XXH3, 64 bits. */
uint64_t nano_block_hash(uint64_t parent_hash, const int32_t *tokens, int block_size);

/* The block with this content, or -1. Its reference count is not changed. */
int32_t nano_block_find(const struct nano_block_manager *manager, uint64_t hash,
                        uint64_t parent_hash, const int32_t *tokens);

/* A block with unspecified content and one reference: the least recently used free one, which is
 * forgotten. -1 when none is free. */
int32_t nano_block_allocate(struct nano_block_manager *manager);

/* Adds a reference, also to a free block that nano_block_find gave. */
void nano_block_acquire(struct nano_block_manager *manager, int32_t block);

/* Drops a reference. */
void nano_block_release(struct nano_block_manager *manager, int32_t block);

/* Makes a referenced block findable by its content. If another block has that content already, that
 * one stays the findable one. */
void nano_block_publish(struct nano_block_manager *manager, int32_t block, uint64_t hash,
                        uint64_t parent_hash, const int32_t *tokens);

/* Forgets the content of every block; references stay. */
void nano_block_manager_forget(struct nano_block_manager *manager);

/* True if the invariants hold (tests and debug builds; linear in num_blocks). */
bool nano_block_manager_check(const struct nano_block_manager *manager);

#endif
