noinst_LTLIBRARIES += libtokenizer.la
libtokenizer_la_CFLAGS = $(AM_CFLAGS) $(XXHASH_CFLAGS) $(PCRE2_CFLAGS) $(UTF8PROC_CFLAGS) $(JANSSON_CFLAGS)
libtokenizer_la_SOURCES = \
  src/tokenizer/bpe.c src/tokenizer/bpe.h \
  src/tokenizer/encode.c src/tokenizer/encoder.h \
  src/tokenizer/char_bpe.c src/tokenizer/char_bpe.h \
  src/tokenizer/char_class.c src/tokenizer/char_class.h \
  src/tokenizer/charsmap.c src/tokenizer/charsmap.h \
  src/tokenizer/component.c src/tokenizer/component.h \
  src/tokenizer/decoder.c src/tokenizer/decoder.h \
  src/tokenizer/mark_cuts.c src/tokenizer/mark_cuts.h \
  src/tokenizer/normalizer.c src/tokenizer/normalizer.h \
  src/tokenizer/regex.c src/tokenizer/regex.h \
  src/tokenizer/unigram.c src/tokenizer/unigram.h \
  src/tokenizer/wordpiece.c src/tokenizer/wordpiece.h \
  src/tokenizer/decoder_filters.c \
  src/tokenizer/pipeline_normalizer.c \
  src/tokenizer/pipeline_pre.c \
  src/tokenizer/pipeline_template.c \
  src/tokenizer/regex_syntax.c \
  src/tokenizer/pipeline.c src/tokenizer/pipeline.h \
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
