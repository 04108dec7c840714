/* Arena: a list of chunks, each at least as large as all before it together. */
#include "base/arena.h"

#include <string.h>

#include "base/memory.h"

#define ARENA_ALIGN 16
#define FIRST_CHUNK_BYTES 4096

struct nano_arena_chunk {
    struct nano_arena_chunk *next;
    _Alignas(ARENA_ALIGN) unsigned char bytes[];
};

void nano_arena_init(struct nano_arena *arena)
{
    *arena = (struct nano_arena){0};
}

void nano_arena_deinit(struct nano_arena *arena)
{
    for (struct nano_arena_chunk *chunk = arena->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        nano_mem_free(chunk);
    }
    *arena = (struct nano_arena){0};
}

void *nano_arena_alloc(struct nano_arena *arena, size_t count, size_t size)
{
    size_t num_bytes;
    if (!nano_mem_size(count, size, ARENA_ALIGN - 1, &num_bytes))
        return NULL;
    num_bytes -= num_bytes % ARENA_ALIGN;
    if (num_bytes == 0)
        num_bytes = ARENA_ALIGN; /* an address of its own, also in an empty arena */
    if (num_bytes > arena->capacity - arena->used) {
        size_t capacity =
            arena->total_bytes > FIRST_CHUNK_BYTES ? arena->total_bytes : FIRST_CHUNK_BYTES;
        if (capacity < num_bytes)
            capacity = num_bytes;
        size_t chunk_bytes;
        if (!nano_mem_size(capacity, 1, sizeof(struct nano_arena_chunk), &chunk_bytes))
            return NULL;
        struct nano_arena_chunk *chunk = nano_mem_calloc(chunk_bytes, 1);
        if (!chunk)
            return NULL;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        arena->used = 0;
        arena->capacity = capacity;
        arena->total_bytes += chunk_bytes;
    }
    void *memory = arena->chunks->bytes + arena->used;
    arena->used += num_bytes;
    return memory;
}

char *nano_arena_strdup(struct nano_arena *arena, const char *text, size_t num_bytes)
{
    if (num_bytes == (size_t)-1)
        return NULL;
    char *copy = nano_arena_alloc(arena, num_bytes + 1, 1);
    if (copy && num_bytes)
        memcpy(copy, text, num_bytes);
    return copy;
}
