/* SentencePiece's precompiled character map: prefixes of a text and what replaces them.
 *
 * A little-endian u32 with the size of a double array (Darts' format: a u32 per unit), the array,
 * and the replacements as zero-terminated strings that the array's values point to. */
#ifndef NANO_TOKENIZER_CHARSMAP_H
#define NANO_TOKENIZER_CHARSMAP_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/error.h"

struct nano_charsmap {
    unsigned char *bytes; /* NULL: there is none */
    const unsigned char *units, *replacements;
    size_t num_units, replacement_bytes;
};

/* Copies and checks the sizes; "" is an empty map. */
enum nano_status nano_charsmap_init(struct nano_charsmap *map, const void *bytes, size_t num_bytes,
                                    const char *label, struct nano_error *err);
enum nano_status nano_charsmap_init_base64(struct nano_charsmap *map, const char *text,
                                           size_t num_bytes, const char *label,
                                           struct nano_error *err);
void nano_charsmap_deinit(struct nano_charsmap *map);

/* What replaces a prefix of the text: the longest one that the map has, or the shortest. Returns
 * the prefix's length, 0 if there is none. */
size_t nano_charsmap_find(const struct nano_charsmap *map, const char *text, size_t num_bytes,
                          bool longest, const char **replacement, size_t *replacement_bytes);

/* The whole text as huggingface/tokenizers does it: clusters of less than six bytes by their
 * shortest prefix, then character by character. False without memory. */
bool nano_charsmap_apply(const struct nano_charsmap *map, const char *text, size_t num_bytes,
                         struct nano_buffer *out);

#endif
