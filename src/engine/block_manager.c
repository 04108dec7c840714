/* Block manager: free list, hash table and reference counts over one array of blocks. */
#include "engine/block_manager.h"

#include <assert.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/memory.h"

static uint32_t num_buckets(int num_blocks)
{
    uint32_t count = 16;
    while (count < 2 * (uint32_t)num_blocks)
        count *= 2;
    return count;
}

size_t nano_block_manager_bytes(int num_blocks, int block_size, int num_states)
{
    size_t per_block = sizeof(struct nano_block) + (size_t)block_size * sizeof(int32_t);
    return (size_t)num_blocks * per_block + num_buckets(num_blocks) * sizeof(int32_t) +
           nano_state_slots_bytes(num_states);
}

enum nano_status nano_block_manager_init(struct nano_block_manager *m, int num_blocks,
                                         int block_size, int num_states, struct nano_error *err)
{
    *m = (struct nano_block_manager){.num_blocks = num_blocks, .block_size = block_size};
    uint32_t count = num_buckets(num_blocks);
    m->blocks = nano_mem_calloc((size_t)num_blocks, sizeof *m->blocks);
    m->tokens = nano_mem_alloc((size_t)num_blocks * (size_t)block_size, sizeof *m->tokens);
    m->buckets = nano_mem_alloc(count, sizeof *m->buckets);
    if (!m->blocks || !m->tokens || !m->buckets ||
        nano_state_slots_init(&m->states, num_states, err) != NANO_OK) {
        nano_block_manager_deinit(m);
        return nano_error_no_memory(err, "block tables",
                                    nano_block_manager_bytes(num_blocks, block_size, num_states));
    }
    m->bucket_mask = count - 1;
    memset(m->buckets, 0xFF, count * sizeof *m->buckets);
    for (int i = 0; i < num_blocks; i++) {
        m->blocks[i].prev = i - 1;
        m->blocks[i].next = i + 1 < num_blocks ? i + 1 : -1;
        m->blocks[i].state = -1;
    }
    m->free_head = num_blocks > 0 ? 0 : -1;
    m->free_tail = num_blocks - 1;
    m->num_free = num_blocks;
    return NANO_OK;
}

void nano_block_manager_deinit(struct nano_block_manager *m)
{
    nano_mem_free(m->blocks);
    nano_mem_free(m->tokens);
    nano_mem_free(m->buckets);
    nano_state_slots_deinit(&m->states);
    *m = (struct nano_block_manager){0};
}

uint64_t nano_block_hash(uint64_t parent_hash, const int32_t *tokens, int block_size)
{
    return XXH3_64bits_withSeed(tokens, (size_t)block_size * sizeof *tokens, parent_hash);
}

static int32_t *tokens_of(const struct nano_block_manager *m, int32_t block)
{
    return m->tokens + (size_t)block * (size_t)m->block_size;
}

/* The groups' buckets of one hash lie apart. */
static int32_t *bucket_of(const struct nano_block_manager *m, int group, uint64_t hash)
{
    return &m->buckets[((uint32_t)hash + (uint32_t)group * 0x9E3779B1u) & m->bucket_mask];
}

int32_t nano_block_find(const struct nano_block_manager *m, int group, uint64_t hash,
                        uint64_t parent_hash, const int32_t *tokens)
{
    for (int32_t id = *bucket_of(m, group, hash); id >= 0; id = m->blocks[id].bucket_next) {
        const struct nano_block *block = &m->blocks[id];
        if (block->hash == hash && block->parent_hash == parent_hash && block->group == group &&
            memcmp(tokens_of(m, id), tokens, (size_t)m->block_size * sizeof *tokens) == 0)
            return id;
    }
    return -1;
}

static void forget(struct nano_block_manager *m, int32_t id)
{
    struct nano_block *block = &m->blocks[id];
    int32_t *link = bucket_of(m, block->group, block->hash);
    while (*link != id)
        link = &m->blocks[*link].bucket_next;
    *link = block->bucket_next;
    nano_block_drop_state(m, id);
    block->cached = false;
    if (block->ref_count == 0)
        m->num_free_cached--;
}

static void remove_free(struct nano_block_manager *m, int32_t id)
{
    struct nano_block *block = &m->blocks[id];
    if (block->prev >= 0)
        m->blocks[block->prev].next = block->next;
    else
        m->free_head = block->next;
    if (block->next >= 0)
        m->blocks[block->next].prev = block->prev;
    else
        m->free_tail = block->prev;
    m->num_free--;
    if (block->cached)
        m->num_free_cached--;
    int used = m->num_blocks - m->num_free;
    if (used > m->max_used)
        m->max_used = used;
}

/* Content that may be looked for goes to the end of the list; what is at the front is taken first.
 */
static void insert_free(struct nano_block_manager *m, int32_t id, bool at_end)
{
    struct nano_block *block = &m->blocks[id];
    m->num_free_cached += block->cached;
    if (at_end) {
        block->prev = m->free_tail;
        block->next = -1;
        if (m->free_tail >= 0)
            m->blocks[m->free_tail].next = id;
        else
            m->free_head = id;
        m->free_tail = id;
    } else {
        block->prev = -1;
        block->next = m->free_head;
        if (m->free_head >= 0)
            m->blocks[m->free_head].prev = id;
        else
            m->free_tail = id;
        m->free_head = id;
    }
    m->num_free++;
}

int32_t nano_block_allocate(struct nano_block_manager *m)
{
    int32_t id = m->free_head;
    if (id < 0)
        return -1;
    remove_free(m, id);
    struct nano_block *block = &m->blocks[id];
    block->ref_count = 1;
    if (block->cached)
        forget(m, id);
    return id;
}

void nano_block_acquire(struct nano_block_manager *m, int32_t id)
{
    struct nano_block *block = &m->blocks[id];
    if (block->ref_count == 0)
        remove_free(m, id);
    else if (block->ref_count == 1)
        m->num_shared++;
    block->ref_count++;
}

static void drop_reference(struct nano_block_manager *m, int32_t id, bool at_end)
{
    struct nano_block *block = &m->blocks[id];
    assert(block->ref_count > 0);
    block->ref_count--;
    if (block->ref_count == 1)
        m->num_shared--;
    else if (block->ref_count == 0)
        insert_free(m, id, at_end);
}

void nano_block_release(struct nano_block_manager *m, int32_t id)
{
    drop_reference(m, id, m->blocks[id].cached);
}

void nano_block_discard(struct nano_block_manager *m, int32_t id)
{
    drop_reference(m, id, false);
}

void nano_block_publish(struct nano_block_manager *m, int32_t id, int group, uint64_t hash,
                        uint64_t parent_hash, const int32_t *tokens)
{
    struct nano_block *block = &m->blocks[id];
    assert(block->ref_count > 0 && !block->cached);
    if (nano_block_find(m, group, hash, parent_hash, tokens) >= 0)
        return;
    block->hash = hash;
    block->parent_hash = parent_hash;
    block->group = (uint8_t)group;
    block->cached = true;
    memcpy(tokens_of(m, id), tokens, (size_t)m->block_size * sizeof *tokens);
    int32_t *bucket = bucket_of(m, group, hash);
    block->bucket_next = *bucket;
    *bucket = id;
}

void nano_block_manager_forget(struct nano_block_manager *m)
{
    for (int32_t id = 0; id < m->num_blocks; id++)
        if (m->blocks[id].cached)
            forget(m, id);
}

int32_t nano_block_take_state(struct nano_block_manager *m)
{
    int32_t evicted;
    int32_t slot = nano_state_slots_take(&m->states, &evicted);
    if (evicted >= 0)
        m->blocks[evicted].state = -1;
    return slot;
}

int32_t nano_block_keep_state(struct nano_block_manager *m, int32_t id)
{
    struct nano_block *block = &m->blocks[id];
    assert(block->cached && block->state < 0);
    int32_t slot = nano_block_take_state(m);
    if (slot >= 0) {
        block->state = slot;
        nano_state_slots_keep(&m->states, slot, id);
    }
    return slot;
}

void nano_block_drop_state(struct nano_block_manager *m, int32_t id)
{
    struct nano_block *block = &m->blocks[id];
    if (block->state >= 0)
        nano_state_slots_release(&m->states, block->state);
    block->state = -1;
}

static bool check_block(const struct nano_block_manager *m, int32_t id)
{
    const struct nano_block *block = &m->blocks[id];
    const int32_t *tokens = tokens_of(m, id);
    if (block->ref_count < 0)
        return false;
    if (block->state >= 0 && (!block->cached || m->states.slots[block->state].block != id))
        return false;
    return !block->cached ||
           (nano_block_find(m, block->group, block->hash, block->parent_hash, tokens) == id &&
            nano_block_hash(block->parent_hash, tokens, m->block_size) == block->hash);
}

bool nano_block_manager_check(const struct nano_block_manager *m)
{
    int num_free = 0, num_free_cached = 0, num_shared = 0, num_cached = 0;
    int32_t previous = -1;
    for (int32_t id = m->free_head; id >= 0; id = m->blocks[id].next) {
        const struct nano_block *block = &m->blocks[id];
        if (block->ref_count != 0 || block->prev != previous || ++num_free > m->num_blocks)
            return false;
        num_free_cached += block->cached;
        previous = id;
    }
    if (previous != m->free_tail)
        return false;
    int num_unreferenced = 0, num_kept = 0;
    for (int32_t id = 0; id < m->num_blocks; id++) {
        const struct nano_block *block = &m->blocks[id];
        num_unreferenced += block->ref_count == 0;
        num_shared += block->ref_count > 1;
        num_cached += block->cached;
        num_kept += block->state >= 0;
        if (!check_block(m, id))
            return false;
    }
    int num_in_table = 0;
    for (uint32_t b = 0; b <= m->bucket_mask; b++)
        for (int32_t id = m->buckets[b]; id >= 0; id = m->blocks[id].bucket_next)
            if (++num_in_table > m->num_blocks)
                return false;
    return num_free == m->num_free && num_unreferenced == num_free &&
           num_free_cached == m->num_free_cached && num_shared == m->num_shared &&
           num_in_table == num_cached && num_kept == m->states.num_kept &&
           nano_state_slots_check(&m->states);
}
