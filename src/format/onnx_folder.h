/* Model folders with an ONNX graph, as Optimum, transformers.js and onnxruntime-genai lay them out.
 */
#ifndef NANO_FORMAT_ONNX_FOLDER_H
#define NANO_FORMAT_ONNX_FOLDER_H

#include "format/weights.h"

/* Whether a path is called like an ONNX file, or is a folder with a graph and no safetensors. */
bool nano_onnx_is_path(const char *path);

/* Weights without tensors but with `onnx`, and with the metadata of the files beside the graph:
 * tokenizer, token ids, sampling. Of a folder the graph is the one that genai_config.json names,
 * else model.onnx, decoder_model_merged.onnx, decoder_with_past_model.onnx or decoder_model.onnx,
 * in it or in its folder onnx. *out is closed on failure. */
enum nano_status nano_onnx_open(struct nano_weights *out, const char *path, struct nano_error *err);

#endif
