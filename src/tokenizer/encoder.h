/* Encoder: the state of one encode call.
 *
 * Holds the ids written so far, the working memory of merging, and a cache from short words to
 * their ids, which saves most of the merging: texts repeat their words. The cache is direct-mapped,
 * an entry holds all it needs, and it lives as long as the call. */
#ifndef NANO_TOKENIZER_ENCODER_H
#define NANO_TOKENIZER_ENCODER_H

#include "base/error.h"
#include "tokenizer/merge.h"
#include "tokenizer/normalizer.h"

#define NANO_MAX_CACHED_BYTES 16
#define NANO_MAX_CACHED_IDS 3

struct nano_cached_word {
    uint64_t low, high; /* the word's bytes: its first and its last ones, which may overlap */
    int32_t ids[NANO_MAX_CACHED_IDS];
    uint8_t num_ids;
    uint8_t word_bytes; /* the length of the word that the slot is meant for */
    uint8_t num_bytes;  /* the same once its ids are in it, 0 before */
};

/* Where the best path to a place in a word comes from (Unigram). */
struct nano_unigram_node {
    double score;
    uint32_t begin; /* of the token that ends here */
    int32_t id;     /* -1: no token ends here */
    uint32_t end;   /* of the path's token that begins here */
};

struct nano_encoder {
    const nano_tokenizer *tokenizer;
    int32_t *ids;
    size_t num_ids, ids_capacity;
    struct nano_merge_scratch scratch;
    char *bytes; /* working memory for a rewritten word */
    size_t bytes_capacity;
    struct nano_normalizer_scratch normalizer;
    struct nano_unigram_node *nodes;
    size_t nodes_capacity;
    bool prefix_space; /* SPM: a space goes before the next text */
    struct nano_cached_word *cache;
    size_t cache_capacity; /* a power of two, or 0 */
};

/* Makes room for `count` more ids. */
enum nano_status nano_encoder_reserve(struct nano_encoder *encoder, size_t count,
                                      struct nano_error *err);

/* Makes encoder->bytes at least this long; its content is lost. */
enum nano_status nano_encoder_reserve_bytes(struct nano_encoder *encoder, size_t num_bytes,
                                            struct nano_error *err);

enum nano_status nano_encoder_push(struct nano_encoder *encoder, int32_t id,
                                   struct nano_error *err);

/* Appends the ids of one word. */
typedef enum nano_status (*nano_encode_word_fn)(struct nano_encoder *encoder, const char *word,
                                                size_t num_bytes, struct nano_error *err);

/* Appends the word's ids from the cache, or else by `encode`, and remembers them. */
enum nano_status nano_encoder_cached(struct nano_encoder *encoder, const char *word,
                                     size_t num_bytes, nano_encode_word_fn encode,
                                     struct nano_error *err);

#endif
