/* Decoder: what a tokenizer.json's decoder makes of tokens.
 *
 * What depends on a token alone (and on whether it is the first) is done once for the whole
 * vocabulary and becomes the vocabulary's pieces. What works on the joined text becomes filters,
 * which see one byte after the other and hold back what they cannot decide yet, so that a stream
 * and a whole text come out alike. */
#ifndef NANO_TOKENIZER_DECODER_H
#define NANO_TOKENIZER_DECODER_H

#include "tokenizer/component.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocab.h"

#define NANO_MAX_PATTERN_BYTES 64

enum nano_filter_kind {
    NANO_FILTER_STRIP_START, /* up to `count` times the pattern at the beginning */
    NANO_FILTER_STRIP_END,
    NANO_FILTER_REPLACE /* the pattern becomes the content */
};

struct nano_filter {
    enum nano_filter_kind kind;
    uint32_t count;
    char pattern[NANO_MAX_PATTERN_BYTES], content[NANO_MAX_PATTERN_BYTES];
    uint8_t pattern_bytes, content_bytes;
    uint8_t borders[NANO_MAX_PATTERN_BYTES]; /* of prefix i + 1: its longest proper border */
};

struct nano_decoder { /* read-only after init */
    struct nano_filter filters[NANO_MAX_FILTERS];
    int num_filters;
};

/* Reads the section and writes the pieces; `c->json` NULL: tokens are joined with spaces. */
enum nano_status nano_decoder_init(struct nano_decoder *decoder, const struct nano_component *c,
                                   struct nano_vocab *vocab);

/* Where the filters are in a text; a stream's or a whole decoding's. */
void nano_decoder_start(const struct nano_decoder *decoder, bool at_start,
                        uint32_t states[NANO_MAX_FILTERS]);

/* Receives bytes that are decided. */
typedef void (*nano_filter_out)(void *user_data, char byte);

void nano_decoder_push(const struct nano_decoder *decoder, uint32_t states[NANO_MAX_FILTERS],
                       char byte, nano_filter_out out, void *user_data);
void nano_decoder_finish(const struct nano_decoder *decoder, uint32_t states[NANO_MAX_FILTERS],
                         nano_filter_out out, void *user_data);

/* How many bytes come out at most when num_bytes go in. */
size_t nano_decoder_max_bytes(const struct nano_decoder *decoder, size_t num_bytes);

#endif
