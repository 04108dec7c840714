/* rope_theta, rope_scaling and rope_parameters of config.json. */
#ifndef NANO_FORMAT_HF_ROPE_H
#define NANO_FORMAT_HF_ROPE_H

#include "format/hf_config.h"

/* Adds the keys; Llama 3's scaling goes to the model, for nano_hf_rope_factors. */
void nano_hf_rope_read(struct nano_hf_model *model, struct nano_hf_json *config,
                       struct nano_meta_builder *builder);

/* What the frequency of each pair is divided by under Llama 3's scaling: pairs that turn often
 * within the original context keep theirs, slow ones are slowed by the whole factor, between them
 * it goes over smoothly. */
void nano_hf_rope_factors(const struct nano_hf_model *model, float *factors, int64_t num_pairs);

#endif
