/* Metadata from the text of a tokenizer.json, for tests of the pipeline. */
#ifndef TESTS_HF_FIXTURE_H
#define TESTS_HF_FIXTURE_H

#include <stdbool.h>

#include "format/weights.h"

/* What the importer makes of it; the weights are zeroed before and closed with nano_weights_close,
 * also when the importer refuses it. */
bool hf_fixture(struct nano_weights *weights, const char *json, size_t num_bytes,
                struct nano_error *err);

#endif
