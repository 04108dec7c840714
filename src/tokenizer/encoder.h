/* Encoder: the state of one encode call.
 *
 * Holds the ids written so far, the working memory of merging, and a cache from words to ids. The
 * cache needs no copy of either: an entry points at the word's first occurrence in the text and at
 * the ids that were written for it. It is direct-mapped and lives as long as the call. */
#ifndef NANO_TOKENIZER_ENCODER_H
#define NANO_TOKENIZER_ENCODER_H

#include "base/error.h"
#include "tokenizer/merge.h"

#define NANO_MAX_CACHED_BYTES 64 /* longer words are rare enough to be merged every time */

struct nano_cached_word {
    uint32_t text_begin, ids_begin;
    uint8_t num_bytes; /* 0: empty */
    uint8_t num_ids;
};

struct nano_encoder {
    const nano_tokenizer *tokenizer;
    const char *text; /* the whole text */
    int32_t *ids;
    size_t num_ids, ids_capacity;
    struct nano_merge_scratch scratch;
    char *bytes; /* working memory for a rewritten word */
    size_t bytes_capacity;
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

/* Looks the word, which is part of encoder->text, up in the cache; when it is there, appends its
 * ids and returns true with *status set. Otherwise *slot is where it belongs (NULL: not cacheable).
 */
bool nano_encoder_recall(struct nano_encoder *encoder, const char *word, size_t num_bytes,
                         struct nano_cached_word **slot, enum nano_status *status,
                         struct nano_error *err);

/* Remembers that the word's ids are encoder->ids[ids_begin …). */
void nano_encoder_remember(struct nano_encoder *encoder, const char *word, size_t num_bytes,
                           size_t ids_begin, struct nano_cached_word *slot);

#endif
