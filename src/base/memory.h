/* Memory: every allocation of the library goes through here.
 *
 * Sizes are checked for overflow, tests can make the n-th allocation fail, and a thread can declare
 * that it must not allocate (the engine's step, once it runs): debug builds abort if it does. */
#ifndef NANO_BASE_MEMORY_H
#define NANO_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NANO_CACHE_LINE 64

/* Up to whole cache lines; num_bytes is at most SIZE_MAX - NANO_CACHE_LINE. */
static inline size_t nano_mem_round_up(size_t num_bytes)
{
    return (num_bytes + NANO_CACHE_LINE - 1) / NANO_CACHE_LINE * NANO_CACHE_LINE;
}

/* count x size bytes, uninitialised; NULL when there is no memory or the product overflows.
 * A zero size gives a valid pointer. Released with nano_mem_free. */
void *nano_mem_alloc(size_t count, size_t size);

/* The same, zeroed. */
void *nano_mem_calloc(size_t count, size_t size);

/* Grows or shrinks; on failure the old memory is untouched and NULL is returned. */
void *nano_mem_realloc(void *memory, size_t count, size_t size);

void nano_mem_free(void *memory);

/* Copies `num_bytes` bytes and adds a zero byte. */
char *nano_mem_strdup(const char *text, size_t num_bytes);

/* num_bytes at a multiple of NANO_CACHE_LINE, zeroed. From 4 MiB on they are
 * nano_os_map_anonymous's: huge pages where the system has them, taken when touched. Released with
 * nano_mem_free_aligned and the same size. */
void *nano_mem_alloc_aligned(size_t num_bytes);
void nano_mem_free_aligned(void *memory, size_t num_bytes);

/* Makes room for `needed` elements in a growable array: doubles *capacity and moves *array. False,
 * and nothing changed, without memory. */
bool nano_mem_grow(void **array, size_t *capacity, size_t needed, size_t element_bytes);

/* a x b + c without overflow; false when it does not fit. */
bool nano_mem_size(size_t a, size_t b, size_t c, size_t *out);

/* Test hook: the n-th allocation from now (1 = the next) and all after it fail, in every thread;
 * 0 switches it off. Returns how many allocations were made since the last call. */
uint64_t nano_mem_fail_after(uint64_t n);

/* Marks the calling thread as one that must not allocate; nests. Checked where NDEBUG is not set.
 */
#ifdef NDEBUG
#define nano_mem_forbid_begin() ((void)0)
#define nano_mem_forbid_end() ((void)0)
#else
void nano_mem_forbid_begin(void);
void nano_mem_forbid_end(void);
#endif

#endif
