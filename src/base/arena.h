/* Arena: many small allocations with one common lifetime (names, metadata, programs).
 * Memory is zeroed and 16-byte aligned; there is no way to free a single piece. */
#ifndef NANO_BASE_ARENA_H
#define NANO_BASE_ARENA_H

#include <stddef.h>

struct nano_arena_chunk;

struct nano_arena {
    struct nano_arena_chunk *chunks; /* newest first */
    size_t used, capacity;           /* of the newest */
    size_t total_bytes;              /* of all */
};

void nano_arena_init(struct nano_arena *arena);
void nano_arena_deinit(struct nano_arena *arena);

/* count x size zeroed bytes; NULL without memory or on overflow. */
void *nano_arena_alloc(struct nano_arena *arena, size_t count, size_t size);

/* A zero-terminated copy of `num_bytes` bytes. */
char *nano_arena_strdup(struct nano_arena *arena, const char *text, size_t num_bytes);

#endif
