/* Synthetic weights: metadata and vocabulary. */
#ifndef NANO_FORMAT_SYNTHETIC_META_H
#define NANO_FORMAT_SYNTHETIC_META_H

#include "format/synthetic_shape.h"

/* Fills weights->metadata with what a GGUF file of this model says. False without memory. */
bool nano_synthetic_metadata(struct nano_weights *weights, const struct nano_synthetic_shape *shape,
                             enum nano_mix_id mix);

#endif
