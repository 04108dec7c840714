noinst_LTLIBRARIES += libformat.la
libformat_la_CFLAGS = $(AM_CFLAGS) $(XXHASH_CFLAGS)
libformat_la_SOURCES = \
  src/format/gguf.c src/format/gguf.h \
  src/format/gguf_part.c src/format/gguf_part.h \
  src/format/little_endian.h \
  src/format/metadata.c \
  src/format/weights.c src/format/weights.h
