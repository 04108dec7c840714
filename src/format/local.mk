noinst_LTLIBRARIES += libformat.la
libformat_la_CFLAGS = $(AM_CFLAGS) $(XXHASH_CFLAGS)
libformat_la_SOURCES = \
  src/format/gguf.c src/format/gguf.h \
  src/format/gguf_part.c src/format/gguf_part.h \
  src/format/gguf_reader.c src/format/gguf_reader.h \
  src/format/gguf_save.c \
  src/format/gguf_writer.c src/format/gguf_writer.h \
  src/format/gguf_tensors.c src/format/gguf_tensors.h \
  src/format/imatrix.c src/format/imatrix.h \
  src/format/imatrix_legacy.c src/format/imatrix_legacy.h \
  src/format/imatrix_make.c \
  src/format/imatrix_save.c \
  src/format/little_endian.h \
  src/format/meta_build.c src/format/meta_build.h \
  src/format/metadata.c \
  src/format/quant_mix.def \
  src/format/quant_mix.c src/format/quant_mix.h \
  src/format/quant_rules.c \
  src/format/synthetic.c src/format/synthetic.h \
  src/format/synthetic_fill.c src/format/synthetic_fill.h \
  src/format/synthetic_meta.c src/format/synthetic_meta.h \
  src/format/synthetic_shape.c src/format/synthetic_shape.h \
  src/format/tensor_rows.c \
  src/format/weights.c src/format/weights.h
