/* Writes weights with GGUF's names as a folder of Hugging Face's kind: their names, their order of
 * rows, their types. It shares nothing with the reader. */
#ifndef TESTS_HF_WRITER_H
#define TESTS_HF_WRITER_H

#include "format/weights.h"

struct hf_writer {
    const char *dtype; /* "F32", "F16", "BF16" or, for matrices, "F8_E4M3" with scales */
    int num_shards;    /* 1: model.safetensors */
    const char
        *config; /* fields, with a comma behind each, that are put into config.json; or NULL */
};

/* Tensors must be F32. Aborts the test on errors. */
void hf_write(const struct hf_writer *writer, const struct nano_weights *weights,
              const char *folder);

/* A file of the folder. */
void hf_write_file(const char *folder, const char *name, const void *bytes, size_t num_bytes);

/* A new empty folder, and its end with all its files. */
void hf_make_folder(char out[64]);
void hf_remove_folder(const char *folder);

#endif
