/* LoRA adapter files: GGUF as llama.cpp's convert_lora_to_gguf.py writes them.
 *
 *   general.type "adapter", adapter.type "lora", general.architecture as the model's
 *   adapter.lora.alpha           how much it counts: alpha / rank; 0 or none: 1
 *   NAME.lora_a [cols, rank]     for the model's matrix NAME [cols, rows], to which
 *   NAME.lora_b [rank, rows]     alpha / rank * b x a is added
 *
 * Rows of token_embd.weight [cols, rows] are looked up, so its pair is stored the other way round:
 * lora_a [rank, rows] and lora_b [rank, cols]. */
#ifndef NANO_FORMAT_LORA_FILE_H
#define NANO_FORMAT_LORA_FILE_H

#include "format/weights.h"

/* What any adapter's rank may be. */
#define NANO_LORA_MAX_RANK 4096

struct nano_lora_pair {
    const char *target; /* name of the model's tensor */
    const struct nano_tensor *a, *b;
    int rank;
    bool is_lookup; /* of token_embd.weight */
    float scale;    /* alpha / rank */
};

struct nano_lora_file {
    struct nano_weights weights;
    struct nano_lora_pair *pairs;
    size_t num_pairs;
    size_t num_norms; /* tensors of norms, which are left out, as llama.cpp does */
};

/* Opens and pairs; errors name file, key or tensor. */
enum nano_status nano_lora_file_open(struct nano_lora_file *out, const char *path,
                                     struct nano_error *err);
void nano_lora_file_close(struct nano_lora_file *file);

/* For who wants a model: fails if the weights are an adapter of any kind. */
enum nano_status nano_lora_refuse(const struct nano_weights *weights, struct nano_error *err);

/* Fails unless the model has the adapter's architecture and, in the right shape, all that the
 * adapter changes. */
enum nano_status nano_lora_file_check(const struct nano_lora_file *file,
                                      const struct nano_weights *model, struct nano_error *err);

#endif
