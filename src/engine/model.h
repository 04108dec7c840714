/* Model: an opened model file as the engine sees it behind the public nano_model.
 *
 * Owns the weights (mapped files), the tokenizer and the strings of nano_model_info. Opening checks
 * the container only: whether the architecture is known and its tensors fit is found out when a
 * program is built from it, so that `info` and `tokenize` work on files that no runner can run. */
#ifndef NANO_ENGINE_MODEL_H
#define NANO_ENGINE_MODEL_H

#include "format/weights.h"
#include "models/program.h"
#include "nanovllm.h"

#define NANO_MODEL_META_VALUE_BYTES 1024

struct nano_model {
    struct nano_weights weights;
    struct nano_model_config config; /* zeros where the file's architecture is unknown */
    nano_tokenizer *tokenizer;       /* NULL: tokenizer_error says why */
    struct nano_error tokenizer_error;
    struct nano_model_info info;
    char meta_type[64]; /* what nano_model_get_metadata printed last */
    char meta_value[NANO_MODEL_META_VALUE_BYTES];
};

#endif
