/* Synthetic weights: a named model shape with random values, made in memory. */
#ifndef NANO_FORMAT_SYNTHETIC_H
#define NANO_FORMAT_SYNTHETIC_H

#include "format/weights.h"

/* `spec` is "SHAPE:TYPE": qwen2-0.5b qwen3-0.6b llama-1b qwen3-4b llama-8b moe-8x2; a type of
 * quant_mix.def, in which the tensors have the formats that quantising gives them. Includes a small
 * byte-level vocabulary padded to the shape's size. */
enum nano_status nano_synthetic_open(struct nano_weights *out, const char *spec, uint64_t seed,
                                     struct nano_error *err);

#endif
