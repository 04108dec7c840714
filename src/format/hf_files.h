/* The weight files of a model folder: model.safetensors, or the shards that
 * model.safetensors.index.json names. */
#ifndef NANO_FORMAT_HF_FILES_H
#define NANO_FORMAT_HF_FILES_H

#include "format/safetensors.h"

struct nano_hf_files {
    struct nano_safetensor *tensors; /* of all files, by name; in the weights' arena */
    size_t num_tensors;
};

/* Whether there are weights at all. */
bool nano_hf_files_exist(const char *folder);

/* Maps the files into weights->files. A missing shard and a tensor that is not in the shard where
 * the index has it are errors; tensors that the index does not name are left out. */
enum nano_status nano_hf_files_open(struct nano_hf_files *out, struct nano_weights *weights,
                                    const char *folder, struct nano_error *err);

/* NULL if absent. */
const struct nano_safetensor *nano_hf_files_find(const struct nano_hf_files *files,
                                                 const char *name);

#endif
