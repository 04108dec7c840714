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

/* A token that is looked for as it stands, whatever the model would make of its text. */
struct nano_added_token {
    struct nano_string text; /* borrowed */
    int32_t id;
    bool special;        /* found only where special tokens are wanted */
    bool lstrip, rstrip; /* white space before or behind it belongs to it */
    bool single_word;    /* not found next to a character of a word */
};

struct nano_special_finder {
    struct nano_added_token *tokens;
    size_t num_tokens;
    struct nano_trie_edge *edges; /* a hash table of (node, byte); a power of two */
    size_t num_slots;
    int32_t *node_tokens; /* index of the token that ends at a node, -1: none */
    uint32_t num_nodes;
    unsigned char
        first_bytes[256]; /* 1: a token that is not special begins with it, 2: a special one */
};

/* Copies the tokens; of several with one text the first counts. */
enum nano_status nano_special_finder_init(struct nano_special_finder *finder,
                                          const struct nano_added_token *tokens, size_t num_tokens,
                                          struct nano_error *err);

/* The control, unknown and user-defined tokens of a vocabulary. */
enum nano_status nano_special_finder_init_vocab(struct nano_special_finder *finder,
                                                const struct nano_vocab *vocab,
                                                struct nano_error *err);
void nano_special_finder_deinit(struct nano_special_finder *finder);

/* The first token in text[begin … num_bytes): its id, with where it begins and ends (white space
 * that belongs to it included), or -1. Without parse_special only tokens that are not special
 * count.
 */
int32_t nano_special_finder_next(const struct nano_special_finder *finder, const char *text,
                                 size_t num_bytes, size_t begin, bool parse_special,
                                 size_t *token_begin, size_t *token_end);

#endif
