/* Special finder: where control and user-defined tokens stand in a text.
 *
 * A trie over their texts. At each position the longest token wins, positions go from left to
 * right; a table of first bytes skips almost all of a plain text. Read-only after init. */
#ifndef NANO_TOKENIZER_SPECIAL_FINDER_H
#define NANO_TOKENIZER_SPECIAL_FINDER_H

#include "tokenizer/vocab.h"

struct nano_trie_edge {
    uint32_t node;  /* 0 is the root, which no edge leads to */
    uint32_t child; /* 0: an empty slot */
    unsigned char byte;
};

struct nano_special_finder {
    const struct nano_vocab *vocab;
    struct nano_trie_edge *edges; /* a hash table of (node, byte); a power of two */
    size_t num_slots;
    int32_t *node_tokens; /* the token that ends at a node, -1: none */
    uint32_t num_nodes;
    unsigned char
        first_bytes[256]; /* 1: a user-defined token begins with it, 2: another one does */
};

enum nano_status nano_special_finder_init(struct nano_special_finder *finder,
                                          const struct nano_vocab *vocab, struct nano_error *err);
void nano_special_finder_deinit(struct nano_special_finder *finder);

/* The first special token in text[begin … num_bytes): its id, with where it begins and ends, or -1.
 * Without parse_special only user-defined tokens count. */
int32_t nano_special_finder_next(const struct nano_special_finder *finder, const char *text,
                                 size_t num_bytes, size_t begin, bool parse_special,
                                 size_t *token_begin, size_t *token_end);

/* Whether whitespace that follows the token belongs to it. */
bool nano_special_strips_after(const struct nano_vocab *vocab, int32_t id);

#endif
