/* Tokenizer files of a Hugging Face folder -> metadata in GGUF's keys.
 *
 * The first of these that is there is read: tokenizer.json; tokenizer.model (SentencePiece, or
 * tiktoken as Meta ships it); vocab.json with merges.txt; *.tiktoken of a known name.
 * Beside it: tokenizer_config.json, special_tokens_map.json, added_tokens.json, config.json (ids
 * and vocab_size) and chat_template.jinja or .json.
 *
 * What tokenizer.ggml.* cannot say stands in "nanovllm.tokenizer.pipeline": tokenizer.json without
 * model.vocab and model.merges. */
#ifndef NANO_FORMAT_HF_TOKENIZER_H
#define NANO_FORMAT_HF_TOKENIZER_H

#include "format/meta_build.h"

/* Appends to the builder. A folder without any of these files adds nothing and is no error. Errors
 * name file and field. */
enum nano_status nano_hf_tokenizer_load(struct nano_meta_builder *builder, const char *folder,
                                        struct nano_error *err);

/* The same for one tokenizer.json, SentencePiece or tiktoken file, whatever it is called. */
enum nano_status nano_hf_tokenizer_load_file(struct nano_meta_builder *builder, const char *path,
                                             struct nano_error *err);

/* The same for bytes in memory; `name` begins messages. */
enum nano_status nano_hf_tokenizer_load_memory(struct nano_meta_builder *builder, const void *data,
                                               size_t num_bytes, const char *name,
                                               struct nano_error *err);

/* Whether a path is a folder, or a file that is called like a tokenizer's (.json, .model,
 * .tiktoken, or with a version behind them: .model.v3). */
bool nano_hf_tokenizer_is_path(const char *path);

/* Weights without tensors: only the tokenizer of a folder or of a file. */
enum nano_status nano_hf_tokenizer_open(struct nano_weights *out, const char *path,
                                        struct nano_error *err);

#endif
