/* LoRA adapters with random weights: as files, and merged into the weights that they change. */
#ifndef NANO_TESTS_LORA_FIXTURE_H
#define NANO_TESTS_LORA_FIXTURE_H

#include "format/lora_file.h"
#include "gguf_builder.h"
#include "models/adapter.h"

/* Of every matrix of a model but token_embd.weight, unless `lookup`; or only of those whose name
 * has `only` in it, or that a linear op of the program has. */
struct lora_spec {
    int rank;
    float alpha; /* 0: no key */
    enum nano_format format;
    const char *only; /* NULL: all */
    bool lookup;
    const struct nano_program *program; /* NULL: all */
    uint64_t seed;
};

#define LORA_PATH_BYTES 64

/* Everything but tensors: what makes a file an adapter. */
void lora_metadata(struct gguf_builder *builder, const char *architecture);

/* Writes the file to a new path, which is the caller's to remove. */
void lora_write(char path[LORA_PATH_BYTES], const struct nano_weights *model,
                const struct lora_spec *spec);

/* Writes what a builder has to a new path. */
void lora_write_file(char path[LORA_PATH_BYTES], struct gguf_builder *builder);

/* Adds scale times the adapter to the model's F32 matrices, which are copied first. */
void lora_merge(struct nano_weights *model, const struct lora_spec *spec, double scale);

/* A file's pairs as an adapter of the model; parts are the caller's to free. */
struct nano_adapter lora_adapter(const struct nano_lora_file *file,
                                 const struct nano_weights *model, float scale);

#endif
