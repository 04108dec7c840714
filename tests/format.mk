# The builder of GGUF files is for other modules' tests too: add its two files to their SOURCES.
GGUF_BUILDER = tests/gguf_builder.c tests/gguf_builder.h

check_PROGRAMS += tests/test_gguf tests/test_weights tests/test_synthetic tests/fuzz/fuzz_gguf
tests_test_gguf_SOURCES = tests/test_gguf.c $(GGUF_BUILDER)
tests_test_gguf_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_gguf_LDADD = $(TEST_LIBS)
tests_test_weights_SOURCES = tests/test_weights.c $(GGUF_BUILDER)
tests_test_weights_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_weights_LDADD = $(TEST_LIBS)
tests_test_synthetic_SOURCES = tests/test_synthetic.c
tests_test_synthetic_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_synthetic_LDADD = $(TEST_LIBS)

tests_fuzz_fuzz_gguf_SOURCES = tests/fuzz/fuzz_gguf.c tests/fuzz/replay.c
tests_fuzz_fuzz_gguf_LDADD = $(NANO_LAYERS) $(NANO_LIBS)
EXTRA_DIST += tests/fuzz/corpus
