/* Synthetic weights: a named model shape with random values, made in memory. */
#ifndef NANO_FORMAT_SYNTHETIC_H
#define NANO_FORMAT_SYNTHETIC_H

#include "format/weights.h"

/* `spec` is "SHAPE:TYPE": a shape of synthetic_shape.c; a type of
 * quant_mix.def, in which the tensors have the formats that quantising gives them. Includes a small
 * byte-level vocabulary padded to the shape's size. */
enum nano_status nano_synthetic_open(struct nano_weights *out, const char *spec, uint64_t seed,
                                     struct nano_error *err);

#endif
