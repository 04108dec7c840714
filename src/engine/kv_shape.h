/* KV shape: what a program asks of blocks and recurrent states, and how many blocks a sequence
 * needs.
 *
 *   group 0, sees everything   [b][b][b][b][b][b]
 *   group 1, a window          [ ][ ][ ][b][b][b]     what every token to come is too far from
 *                                       └─┴── a step's tokens, and what they see
 *
 * A group of layers has a block table of its own for each sequence; tables are parallel: entry i of
 * each is for tokens i * block_size …, and a block of any group can serve any other. */
#ifndef NANO_ENGINE_KV_SHAPE_H
#define NANO_ENGINE_KV_SHAPE_H

#include <stdint.h>

#include "models/program.h"

struct nano_kv_shape {
    int block_size;
    int num_groups, num_windowed;    /* groups, and of them those with a window */
    int windows[NANO_MAX_KV_GROUPS]; /* tokens that one sees, itself included; 0: all */
    int max_chunk;                   /* tokens of a sequence in one step */
    int num_states;                  /* slots for recurrent states; 0: there are none */
};

/* Entries of a table for num_tokens tokens. */
static inline int nano_kv_entries(const struct nano_kv_shape *shape, int num_tokens)
{
    return (num_tokens + shape->block_size - 1) / shape->block_size;
}

/* The first entry of a group's table that the token at `position` sees; 0 without a window. */
int nano_kv_first_entry(const struct nano_kv_shape *shape, int group, int position);

/* The blocks of a group that a sequence holds at most at once, in num_entries entries. */
int nano_kv_most_held(const struct nano_kv_shape *shape, int group, int num_entries);

/* The blocks that a sequence of num_tokens tokens holds at most at once, in all groups. */
int64_t nano_kv_sequence_blocks(const struct nano_kv_shape *shape, int num_tokens);

/* The tokens of the longest sequence that num_blocks blocks hold, at most max_tokens. */
int nano_kv_longest_sequence(const struct nano_kv_shape *shape, int num_blocks, int max_tokens);

#endif
