noinst_LTLIBRARIES += libformat.la
libformat_la_CFLAGS = $(AM_CFLAGS) $(XXHASH_CFLAGS)
libformat_la_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
libformat_la_SOURCES = \
  src/format/gguf.c src/format/gguf.h \
  src/format/gguf_part.c src/format/gguf_part.h \
  src/format/gguf_reader.c src/format/gguf_reader.h \
  src/format/gguf_save.c \
  src/format/gguf_writer.c src/format/gguf_writer.h \
  src/format/gguf_tensors.c src/format/gguf_tensors.h \
  src/format/hf_classes.c \
  src/format/hf_config.c src/format/hf_config.h \
  src/format/hf_files.c src/format/hf_files.h \
  src/format/hf_folder.c src/format/hf_folder.h \
  src/format/hf_generation.c src/format/hf_generation.h \
  src/format/hf_json.c src/format/hf_json.h \
  src/format/hf_names.c src/format/hf_names.h \
  src/format/hf_rope.c src/format/hf_rope.h \
  src/format/hf_tensors.c src/format/hf_tensors.h \
  src/format/hf_tokenizer.c src/format/hf_tokenizer.h \
  src/format/imatrix.c src/format/imatrix.h \
  src/format/imatrix_legacy.c src/format/imatrix_legacy.h \
  src/format/imatrix_make.c \
  src/format/imatrix_save.c \
  src/format/little_endian.h \
  src/format/lora_file.c src/format/lora_file.h \
  src/format/meta_build.c src/format/meta_build.h \
  src/format/metadata.c \
  src/format/onnx_decoder.c src/format/onnx_decoder.h \
  src/format/onnx_folder.c src/format/onnx_folder.h \
  src/format/onnx_graph.c src/format/onnx_graph.h \
  src/format/quant_mix.def \
  src/format/quant_mix.c src/format/quant_mix.h \
  src/format/quant_rules.c \
  src/format/requantize.c src/format/requantize.h \
  src/format/safetensors.c src/format/safetensors.h \
  src/format/synthetic.c src/format/synthetic.h \
  src/format/synthetic_fill.c src/format/synthetic_fill.h \
  src/format/synthetic_meta.c src/format/synthetic_meta.h \
  src/format/synthetic_shape.c src/format/synthetic_shape.h \
  src/format/tensor_rows.c \
  src/format/tok_build.c src/format/tok_build.h \
  src/format/tok_config.c src/format/tok_config.h \
  src/format/tok_files.h \
  src/format/tok_json.c src/format/tok_json.h \
  src/format/tok_pre.c src/format/tok_pre.h \
  src/format/tok_sentencepiece.c \
  src/format/tok_tiktoken.c \
  src/format/weights.c src/format/weights.h
