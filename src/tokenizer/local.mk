noinst_LTLIBRARIES += libtokenizer.la
libtokenizer_la_CFLAGS = $(AM_CFLAGS) $(XXHASH_CFLAGS) $(PCRE2_CFLAGS)
libtokenizer_la_SOURCES = \
  src/tokenizer/bpe.c src/tokenizer/bpe.h \
  src/tokenizer/byte_char.c src/tokenizer/byte_char.h \
  src/tokenizer/encode.c src/tokenizer/encoder.h \
  src/tokenizer/merge.c src/tokenizer/merge.h \
  src/tokenizer/pre_patterns.c src/tokenizer/pre_patterns.h \
  src/tokenizer/pre_scan.c src/tokenizer/pre_scan.h \
  src/tokenizer/pretokenizer.c src/tokenizer/pretokenizer.h \
  src/tokenizer/special_finder.c src/tokenizer/special_finder.h \
  src/tokenizer/spm.c src/tokenizer/spm.h \
  src/tokenizer/token_stream.c \
  src/tokenizer/tokenizer.c src/tokenizer/tokenizer.h src/tokenizer/tokenizer_internal.h \
  src/tokenizer/vocab.c src/tokenizer/vocab.h \
  src/tokenizer/vocab_special.c
