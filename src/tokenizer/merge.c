/* Merging. */
#include "tokenizer/merge.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"

/* Up to this many symbols, looking at all pairs for every merge beats a heap. */
#define MAX_SCANNED 32

#define EMPTY_KEY UINT64_MAX
#define DEAD INT32_MIN /* a symbol that its left neighbour has absorbed */

static uint64_t pair_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static size_t pair_slot(const struct nano_pair_table *table, uint64_t key)
{
    uint64_t mixed = key * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(mixed ^ mixed >> 32) & (table->capacity - 1);
}

/* The pair's slot, or the empty one where it belongs. */
static struct nano_pair *find_slot(const struct nano_pair_table *table, uint64_t key)
{
    size_t slot = pair_slot(table, key);
    while (table->slots[slot].key != key && table->slots[slot].key != EMPTY_KEY)
        slot = (slot + 1) & (table->capacity - 1);
    return &table->slots[slot];
}

static bool allocate_slots(struct nano_pair_table *table, size_t capacity)
{
    struct nano_pair *slots = nano_mem_alloc(capacity, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < capacity; i++)
        slots[i] = (struct nano_pair){EMPTY_KEY, NANO_PAIR_NONE, -1};
    table->slots = slots;
    table->capacity = capacity;
    return true;
}

bool nano_pair_table_init(struct nano_pair_table *table, size_t expected_pairs)
{
    size_t capacity = 16;
    while (capacity / 2 < expected_pairs)
        capacity *= 2;
    table->num_pairs = 0;
    return allocate_slots(table, capacity);
}

void nano_pair_table_deinit(struct nano_pair_table *table)
{
    nano_mem_free(table->slots);
    memset(table, 0, sizeof *table);
}

static bool grow_table(struct nano_pair_table *table)
{
    struct nano_pair_table old = *table;
    if (!allocate_slots(table, old.capacity * 2))
        return false;
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slots[i].key != EMPTY_KEY)
            *find_slot(table, old.slots[i].key) = old.slots[i];
    nano_mem_free(old.slots);
    return true;
}

bool nano_pair_table_add(struct nano_pair_table *table, int32_t left, int32_t right, uint32_t rank,
                         int32_t merged)
{
    assert(left >= 0 && right >= 0 && rank != NANO_PAIR_NONE);
    if (table->num_pairs >= table->capacity / 2 && !grow_table(table))
        return false;
    struct nano_pair *slot = find_slot(table, pair_key(left, right));
    if (slot->key == EMPTY_KEY) {
        *slot = (struct nano_pair){pair_key(left, right), rank, merged};
        table->num_pairs++;
    }
    return true;
}

/* An empty slot reads as rank NANO_PAIR_NONE, which is also what two negative ids (whose key is
 * the empty one) find. */
static const struct nano_pair *find_pair(const struct nano_pair_table *table, int32_t left,
                                         int32_t right)
{
    return find_slot(table, pair_key(left, right));
}

static size_t merge_by_scanning(const struct nano_pair_table *table, int32_t *ids, size_t num_ids)
{
    uint32_t ranks[MAX_SCANNED];
    int32_t merged[MAX_SCANNED];
    for (size_t i = 0; i + 1 < num_ids; i++) {
        const struct nano_pair *pair = find_pair(table, ids[i], ids[i + 1]);
        ranks[i] = pair->rank;
        merged[i] = pair->merged;
    }
    while (num_ids > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < num_ids; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == NANO_PAIR_NONE)
            break;
        ids[best] = merged[best];
        size_t tail = num_ids - best - 2;
        memmove(ids + best + 1, ids + best + 2, tail * sizeof *ids);
        if (tail > 0) { /* pair i starts at symbol i; the last symbol starts none */
            memmove(ranks + best + 1, ranks + best + 2, (tail - 1) * sizeof *ranks);
            memmove(merged + best + 1, merged + best + 2, (tail - 1) * sizeof *merged);
        }
        num_ids--;
        if (best > 0) {
            const struct nano_pair *pair = find_pair(table, ids[best - 1], ids[best]);
            ranks[best - 1] = pair->rank;
            merged[best - 1] = pair->merged;
        }
        if (best + 1 < num_ids) {
            const struct nano_pair *pair = find_pair(table, ids[best], ids[best + 1]);
            ranks[best] = pair->rank;
            merged[best] = pair->merged;
        }
    }
    return num_ids;
}

static void sift_down(uint64_t *heap, size_t size, size_t i)
{
    uint64_t moved = heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= size)
            break;
        if (child + 1 < size && heap[child + 1] < heap[child])
            child++;
        if (moved <= heap[child])
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moved;
}

static void heap_push(uint64_t *heap, size_t *size, uint64_t value)
{
    size_t i = (*size)++;
    while (i > 0 && value < heap[(i - 1) / 2]) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = value;
}

/* A heap entry says only rank and position. It is outdated if the pair that is there now has
 * another rank; one that became the same rank again is as good as new. */
static size_t merge_by_heap(const struct nano_pair_table *table, struct nano_merge_scratch *scratch,
                            int32_t *ids, size_t num_ids)
{
    uint64_t *heap = scratch->heap;
    uint32_t *previous = scratch->links, *next = scratch->links + num_ids;
    size_t size = 0;
    for (size_t i = 0; i < num_ids; i++) {
        previous[i] = (uint32_t)i - 1; /* of the first: UINT32_MAX, as next of the last */
        next[i] = i + 1 < num_ids ? (uint32_t)i + 1 : UINT32_MAX;
        if (i + 1 == num_ids)
            continue;
        uint32_t rank = find_pair(table, ids[i], ids[i + 1])->rank;
        if (rank != NANO_PAIR_NONE)
            heap[size++] = (uint64_t)rank << 32 | i;
    }
    for (size_t i = size / 2; i-- > 0;)
        sift_down(heap, size, i);
    while (size > 0) {
        uint32_t rank = (uint32_t)(heap[0] >> 32), left = (uint32_t)heap[0];
        heap[0] = heap[--size];
        if (size > 0)
            sift_down(heap, size, 0);
        uint32_t right = ids[left] == DEAD ? UINT32_MAX : next[left];
        if (right == UINT32_MAX)
            continue;
        const struct nano_pair *pair = find_pair(table, ids[left], ids[right]);
        if (pair->rank != rank)
            continue;
        ids[left] = pair->merged;
        ids[right] = DEAD;
        next[left] = next[right];
        if (next[left] != UINT32_MAX) {
            previous[next[left]] = left;
            rank = find_pair(table, ids[left], ids[next[left]])->rank;
            if (rank != NANO_PAIR_NONE)
                heap_push(heap, &size, (uint64_t)rank << 32 | left);
        }
        if (previous[left] != UINT32_MAX) {
            rank = find_pair(table, ids[previous[left]], ids[left])->rank;
            if (rank != NANO_PAIR_NONE)
                heap_push(heap, &size, (uint64_t)rank << 32 | previous[left]);
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < num_ids; i++)
        if (ids[i] != DEAD)
            ids[kept++] = ids[i];
    return kept;
}

bool nano_merge(const struct nano_pair_table *table, struct nano_merge_scratch *scratch,
                int32_t *ids, size_t *num_ids)
{
    if (*num_ids <= MAX_SCANNED) {
        *num_ids = merge_by_scanning(table, ids, *num_ids);
        return true;
    }
    assert(*num_ids <= INT32_MAX);
    /* Every merge takes one entry out and puts at most two in. */
    if (!nano_mem_grow((void **)&scratch->heap, &scratch->heap_capacity, 2 * *num_ids,
                       sizeof *scratch->heap) ||
        !nano_mem_grow((void **)&scratch->links, &scratch->links_capacity, 2 * *num_ids,
                       sizeof *scratch->links))
        return false;
    *num_ids = merge_by_heap(table, scratch, ids, *num_ids);
    return true;
}

void nano_merge_scratch_deinit(struct nano_merge_scratch *scratch)
{
    nano_mem_free(scratch->heap);
    nano_mem_free(scratch->links);
    memset(scratch, 0, sizeof *scratch);
}
