/* Model folders as Hugging Face's tools download them: config.json, safetensors, tokenizer files.
 */
#ifndef NANO_FORMAT_HF_FOLDER_H
#define NANO_FORMAT_HF_FOLDER_H

#include "format/meta_build.h"

/* Weights with GGUF's names, layouts and keys. Without safetensors files only what the tokenizer
 * says is there. *out is closed on failure. */
enum nano_status nano_hf_folder_open(struct nano_weights *out, const char *folder,
                                     struct nano_error *err);

/* The last part of a path as general.name. */
void nano_hf_add_name(struct nano_meta_builder *builder, const char *path);

#endif
