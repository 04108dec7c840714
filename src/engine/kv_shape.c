/* KV shape. */
#include "engine/kv_shape.h"

int nano_kv_first_entry(const struct nano_kv_shape *shape, int group, int position)
{
    const int window = shape->windows[group];
    return window > 0 && position >= window ? (position - window + 1) / shape->block_size : 0;
}

int nano_kv_most_held(const struct nano_kv_shape *shape, int group, int num_entries)
{
    const int window = shape->windows[group];
    if (window == 0)
        return num_entries;
    /* The chunk and what its first token sees, wherever in a block they begin. */
    const int64_t span = (int64_t)window - 1 + shape->max_chunk;
    const int64_t most = (span + shape->block_size - 2) / shape->block_size + 1;
    return most < num_entries ? (int)most : num_entries;
}

int64_t nano_kv_sequence_blocks(const struct nano_kv_shape *shape, int num_tokens)
{
    int64_t count = 0;
    for (int g = 0; g < shape->num_groups; g++)
        count += nano_kv_most_held(shape, g, nano_kv_entries(shape, num_tokens));
    return count;
}

int nano_kv_longest_sequence(const struct nano_kv_shape *shape, int num_blocks, int max_tokens)
{
    int fits = 0, too_long = nano_kv_entries(shape, max_tokens) + 1;
    while (fits + 1 < too_long) {
        const int entries = fits + (too_long - fits) / 2;
        int64_t count = 0;
        for (int g = 0; g < shape->num_groups; g++)
            count += nano_kv_most_held(shape, g, entries);
        if (count <= num_blocks)
            fits = entries;
        else
            too_long = entries;
    }
    const int64_t num_tokens = (int64_t)fits * shape->block_size;
    return num_tokens < max_tokens ? (int)num_tokens : max_tokens;
}
