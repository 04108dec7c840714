/* Tensors of a model folder under GGUF's names, in GGUF's layout. */
#ifndef NANO_FORMAT_HF_TENSORS_H
#define NANO_FORMAT_HF_TENSORS_H

#include "format/hf_config.h"
#include "format/hf_files.h"

/* Fills weights->tensors. Matrices that are as GGUF has them point into the files; rows in another
 * order and F8 are made when read; vectors are converted to F32. */
enum nano_status nano_hf_tensors_make(struct nano_weights *weights,
                                      const struct nano_hf_model *model,
                                      const struct nano_hf_files *files, struct nano_error *err);

#endif
