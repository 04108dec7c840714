/* Weights presented in a smaller format than they are stored in. */
#ifndef NANO_FORMAT_REQUANTIZE_H
#define NANO_FORMAT_REQUANTIZE_H

#include "format/weights.h"

/* Every matrix that the format makes smaller is from now on quantised when it is read. As in
 * llama.cpp's quantiser, a matrix that makes logits is Q6_K where the others are smaller than Q8_0,
 * rows that are no whole blocks take the next format of blocks of 32, and what decides between
 * experts or is a convolution stays. An unknown format is an error. */
enum nano_status nano_weights_quantize(struct nano_weights *weights, const char *format_name,
                                       struct nano_error *err);

#endif
