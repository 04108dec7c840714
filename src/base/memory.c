/* Memory: checked allocation, the fail-nth hook and the no-allocation check. */
#include "base/memory.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "nanovllm.h"

static _Atomic uint64_t num_allocations;
static _Atomic uint64_t fail_at; /* 0: never */

/* From this size on an aligned block is mapped on its own, so that huge pages can back it. */
#define MAPPED_BYTES ((size_t)4 << 20)

#ifndef NDEBUG
static _Thread_local int forbid_depth;

void nano_mem_forbid_begin(void)
{
    forbid_depth++;
}

void nano_mem_forbid_end(void)
{
    forbid_depth--;
}
#endif

static bool may_allocate(void)
{
    assert(forbid_depth == 0 && "an engine step must not allocate");
    uint64_t n = atomic_fetch_add_explicit(&num_allocations, 1, memory_order_relaxed) + 1;
    uint64_t limit = atomic_load_explicit(&fail_at, memory_order_relaxed);
    return limit == 0 || n < limit;
}

uint64_t nano_mem_fail_after(uint64_t n)
{
    uint64_t count = atomic_exchange(&num_allocations, 0);
    atomic_store(&fail_at, n);
    return count;
}

bool nano_mem_size(size_t a, size_t b, size_t c, size_t *out)
{
    if (b != 0 && a > SIZE_MAX / b)
        return false;
    if (a * b > SIZE_MAX - c)
        return false;
    *out = a * b + c;
    return true;
}

void *nano_mem_alloc(size_t count, size_t size)
{
    size_t num_bytes;
    if (!nano_mem_size(count, size, 0, &num_bytes) || !may_allocate())
        return NULL;
    return malloc(num_bytes ? num_bytes : 1);
}

void *nano_mem_calloc(size_t count, size_t size)
{
    size_t num_bytes;
    if (!nano_mem_size(count, size, 0, &num_bytes) || !may_allocate())
        return NULL;
    return calloc(num_bytes ? num_bytes : 1, 1);
}

void *nano_mem_realloc(void *memory, size_t count, size_t size)
{
    size_t num_bytes;
    if (!nano_mem_size(count, size, 0, &num_bytes) || !may_allocate())
        return NULL;
    return realloc(memory, num_bytes ? num_bytes : 1);
}

void nano_mem_free(void *memory)
{
    free(memory);
}

void nano_free(void *memory)
{
    nano_mem_free(memory);
}

char *nano_mem_strdup(const char *text, size_t num_bytes)
{
    char *copy = num_bytes < SIZE_MAX ? nano_mem_alloc(num_bytes + 1, 1) : NULL;
    if (!copy)
        return NULL;
    if (num_bytes)
        memcpy(copy, text, num_bytes);
    copy[num_bytes] = '\0';
    return copy;
}

void *nano_mem_alloc_aligned(size_t num_bytes)
{
    if (num_bytes > SIZE_MAX - NANO_CACHE_LINE || !may_allocate())
        return NULL;
    if (num_bytes >= MAPPED_BYTES)
        return nano_os_map_anonymous(num_bytes);
    size_t rounded = (num_bytes + NANO_CACHE_LINE) / NANO_CACHE_LINE * NANO_CACHE_LINE;
    void *memory = aligned_alloc(NANO_CACHE_LINE, rounded);
    if (memory)
        memset(memory, 0, rounded);
    return memory;
}

void nano_mem_free_aligned(void *memory, size_t num_bytes)
{
    if (memory && num_bytes >= MAPPED_BYTES)
        nano_os_unmap(memory, num_bytes);
    else
        free(memory);
}

bool nano_mem_grow(void **array, size_t *capacity, size_t needed, size_t element_bytes)
{
    if (needed <= *capacity)
        return true;
    size_t grown = *capacity > SIZE_MAX / 2 ? needed : *capacity * 2;
    if (grown < needed)
        grown = needed;
    if (grown < 8)
        grown = 8;
    void *moved = nano_mem_realloc(*array, grown, element_bytes);
    if (!moved)
        return false;
    *array = moved;
    *capacity = grown;
    return true;
}
