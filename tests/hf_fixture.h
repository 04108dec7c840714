/* Metadata from the text of a tokenizer.json, for tests of the pipeline. */
#ifndef TESTS_HF_FIXTURE_H
#define TESTS_HF_FIXTURE_H

#include <stdbool.h>

#include "format/weights.h"

/* tokenizer.ggml.tokens, .scores, .merges and nanovllm.tokenizer.pipeline; the weights are zeroed
 * before and closed with nano_weights_close. False if the text is no tokenizer.json with a
 * vocabulary. Aborts without memory. */
bool hf_fixture(struct nano_weights *weights, const char *json, size_t num_bytes);

#endif
