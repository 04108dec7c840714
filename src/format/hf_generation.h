/* generation_config.json, and the token ids of config.json: what ends generation, and the sampling
 * that the model's makers recommend. */
#ifndef NANO_FORMAT_HF_GENERATION_H
#define NANO_FORMAT_HF_GENERATION_H

#include "format/hf_json.h"
#include "format/meta_build.h"

/* `config` stands behind the file, which need not exist. Adds tokenizer.ggml.bos_token_id,
 * .eos_token_id and .padding_token_id where they are not there yet, .eos_token_ids when several
 * tokens end generation, and general.sampling.*. */
enum nano_status nano_hf_generation_read(struct nano_meta_builder *builder, const char *folder,
                                         const json_t *config, struct nano_error *err);

#endif
