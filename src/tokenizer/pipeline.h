/* Pipeline: a tokenizer.json, read once into what encoding and decoding execute.
 *
 * Each function takes one section of the file; a section that is null gives nothing. */
#ifndef NANO_TOKENIZER_PIPELINE_H
#define NANO_TOKENIZER_PIPELINE_H

#include "tokenizer/component.h"
#include "tokenizer/decoder.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pretokenizer.h"

#define NANO_MAX_TEMPLATE_IDS 16

/* Tokens that are put around a text. */
struct nano_template {
    int32_t prefix[NANO_MAX_TEMPLATE_IDS], suffix[NANO_MAX_TEMPLATE_IDS];
    int num_prefix, num_suffix;
};

enum nano_status nano_pipeline_read_normalizer(const struct nano_component *c,
                                               struct nano_normalizer *out);

/* *byte_level: words are bytes as they are. *byte_chars: words are in the byte-level alphabet. */
enum nano_status nano_pipeline_read_pretokenizer(const struct nano_component *c,
                                                 struct nano_pretokenizer *out, bool *byte_level,
                                                 bool *byte_chars);
enum nano_status nano_pipeline_read_template(const struct nano_component *c, int32_t num_tokens,
                                             struct nano_template *out);

#endif
