/* Where K and V of a token lie in a pool, the same in every tier.
 *
 * A pool is pages [num_blocks, num_kv_heads]. A page is groups of 16 tokens (of 1 token where
 * block_size is not a multiple of 16). A group of K is [head_dim][tokens], so that one vector holds
 * the same element of several tokens; a group of V is [tokens][v_head_dim]. In Q8_0 the values
 * are int8, and a group ends with one f32 scale per token: value = scale * int8. With v_in_k there
 * is no pool of V: it is read from K's. */
#ifndef NANO_SIMD_KV_LAYOUT_H
#define NANO_SIMD_KV_LAYOUT_H

#include "simd/kernels.h"

enum { NANO_KV_GROUP = 16 };

static inline int nano_kv_group_tokens(const struct nano_kv_layout *kv)
{
    return kv->block_size % NANO_KV_GROUP == 0 ? NANO_KV_GROUP : 1;
}

static inline size_t nano_kv_value_bytes(enum nano_kv_format format)
{
    return format == NANO_KV_FORMAT_F32                                    ? 4
           : format == NANO_KV_FORMAT_Q8_0 || format == NANO_KV_FORMAT_FP8 ? 1
                                                                           : 2;
}

/* Below, dim is head_dim in the pool of K and v_head_dim in that of V. */

/* Bytes of one token of one head. */
static inline size_t nano_kv_token_bytes(const struct nano_kv_layout *kv, int dim)
{
    return (size_t)dim * nano_kv_value_bytes(kv->format) +
           (kv->format == NANO_KV_FORMAT_Q8_0 ? sizeof(float) : 0);
}

/* Bytes of one block: the pages of all heads. */
static inline size_t nano_kv_block_bytes(const struct nano_kv_layout *kv, int dim)
{
    return (size_t)kv->num_kv_heads * (size_t)kv->block_size * nano_kv_token_bytes(kv, dim);
}

/* Where the group of the token at `offset` in a block begins. */
static inline size_t nano_kv_group_offset(const struct nano_kv_layout *kv, int dim, int64_t block,
                                          int offset, int head)
{
    const size_t page = (size_t)block * (size_t)kv->num_kv_heads + (size_t)head;
    const size_t token =
        page * (size_t)kv->block_size + (size_t)(offset - offset % nano_kv_group_tokens(kv));
    return token * nano_kv_token_bytes(kv, dim);
}

/* Where the scales of a group begin in it (Q8_0). */
static inline size_t nano_kv_scales_offset(const struct nano_kv_layout *kv, int dim)
{
    return (size_t)dim * (size_t)nano_kv_group_tokens(kv);
}

#endif
