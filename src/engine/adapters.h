/* Adapters of an engine: opened, checked against the model and named, before anything is packed. */
#ifndef NANO_ENGINE_ADAPTERS_H
#define NANO_ENGINE_ADAPTERS_H

#include "format/lora_file.h"
#include "models/adapter.h"
#include "nanovllm.h"

struct nano_adapters {
    struct nano_arena arena;
    struct nano_lora_file *files; /* [num_files] */
    int num_files;
    const char **names;            /* [count] */
    struct nano_adapter *adapters; /* [count]: one per name, of all files with it */
    int count;
};

/* Opens the engine's loras; all of them must fit the program, which is of the model. Fine with
 * none, and then also without model and program. */
enum nano_status nano_adapters_open(struct nano_adapters *out,
                                    const struct nano_engine_params *params,
                                    const struct nano_weights *model,
                                    const struct nano_program *program, struct nano_error *err);

/* Lets go of the files, and with them of `adapters`; the names stay. */
void nano_adapters_close_files(struct nano_adapters *adapters);
void nano_adapters_deinit(struct nano_adapters *adapters);

/* 1 + index of a name; 0 for NULL. An unknown name is an error. */
enum nano_status nano_adapters_find(const struct nano_adapters *adapters, const char *name,
                                    int32_t *out, struct nano_error *err);

#endif
